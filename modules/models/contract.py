"""Whatever a builder returned becomes one kind of model: from a dictionary of inputs to logits."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.models.inputs import Inputs, keras_inputs
from modules.models.outputs import logits_of

if TYPE_CHECKING:
    import keras


def conform(model: Any, inputs: Inputs, output: OutputSpec, argument: str) -> keras.Model:
    """A model as the project has them: functional, from a dictionary of inputs to `[b, size]`.

    The layers stay the same ones, under their names. A subclassed model becomes a layer of it.

    Args:
      model: Functional or Sequential, with one input, a list or a dictionary of them; or
        subclassed, called with the dictionary of inputs, or with the tensor of the only one.
      inputs: What it must take.
      output: What it must answer; see `outputs.logits_of` for what is put right.
      argument: What messages call it.

    Raises:
      ModelError: It takes or returns something else.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ModelError(
            f"{argument} must be a keras.Model, but its builder returned {model!r}; return one"
        )
    graph = model if hasattr(model, "operations") else _as_graph(model, inputs, argument)
    given = _by_name(graph, inputs)
    _check_inputs(given, inputs, argument)
    answer = logits_of(graph, output, argument)
    if any(tensor.name != name for name, tensor in given.items()):
        given, answer = _renamed(given, answer, inputs)
    elif answer is graph.output and isinstance(graph.input, dict):
        return graph
    return keras.Model(given, answer, name=model.name)


def _as_graph(model: Any, inputs: Inputs, argument: str) -> Any:
    """A functional model around one without operations of its own."""
    import keras

    if getattr(model, "inputs", None):  # A Sequential model shows its layers.
        return keras.Model(model.inputs, model.outputs, name=model.name)
    given = keras_inputs(inputs)
    forms: list[Any] = [*given.values(), given] if len(given) == 1 else [given]
    failure = None
    for form in forms:
        try:
            with warnings.catch_warnings(action="ignore"):
                return keras.Model(given, model(form), name=model.name)
        except Exception as error:  # noqa: BLE001, the user's code raises whatever it likes
            failure = failure or error
    raise ModelError(
        f"{argument} cannot be called with the inputs {', '.join(given)}: {_cause(failure)}"
    ) from failure


def _cause(error: Any) -> str:
    """Keras puts what the user's code raised in the middle of advice."""
    text = str(error.args[0] if error.args else error)  # str() of a KeyError escapes its lines.
    text = " ".join(re.sub(r"\x1b\[\d+m", "", text).split())
    inner = re.search(r"Error encountered: (.*?) Arguments received", text)
    return f"{type(error).__name__}: {(inner[1] if inner else text)[:300]}"


def _by_name(graph: Any, inputs: Inputs) -> dict[str, Any]:
    """The model's input tensors by name; a single one needs none of its own."""
    if isinstance(graph.input, dict):
        return dict(graph.input)
    if len(graph.inputs) == len(inputs) == 1:
        return dict(zip(inputs, graph.inputs, strict=True))
    return {tensor.name: tensor for tensor in graph.inputs}


def _check_inputs(given: dict[str, Any], inputs: Inputs, argument: str) -> None:
    if given.keys() != inputs.keys():
        raise ModelError(
            f"{argument} must take the inputs {', '.join(sorted(inputs))}, but takes "
            f"{', '.join(sorted(given))}; give each keras.Input the name of its input, and leave "
            "features that no model is to take out with data.exclude"
        )
    for name, spec in inputs.items():
        shape, dtype = tuple(given[name].shape), given[name].dtype
        if shape != (None, *spec.shape) or dtype != spec.dtype:
            raise ModelError(
                f"{argument} must take {name} as {spec.dtype} of shape {(None, *spec.shape)}, but "
                f"takes {dtype} of shape {shape}; build its keras.Input with shape=spec.shape and "
                "dtype=spec.dtype"
            )


def _renamed(given: dict[str, Any], answer: Any, inputs: Inputs) -> tuple[dict[str, Any], Any]:
    """The same layers behind inputs of the right names."""
    import keras

    new = keras_inputs(inputs)
    graph = keras.models.clone_model(
        keras.Model(list(given.values()), answer),
        input_tensors=[new[name] for name in given],
        clone_function=lambda layer: layer,
    )
    return new, graph.output
