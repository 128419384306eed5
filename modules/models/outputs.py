"""What a model puts out: logits, of which softmax is taken where it is wanted."""

from __future__ import annotations

import logging
from typing import Any

from modules.data.spec import OutputSpec
from modules.errors import ConfigError, ModelError

_LOG = logging.getLogger("tfx_distill.models")
_REMEDY = "build it without softmax or sigmoid at its end"


def check_logits(model: Any, argument: str) -> None:
    """Refuse what is no model, and a model that ends in probabilities, as far as layers show it.

    Args:
      model: Any; only one with a graph of layers has a last layer.
      argument: What the message calls it.

    Raises:
      ConfigError: It is not a model.
      ModelError: Its last layer applies softmax or sigmoid.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"{argument} must be a keras.Model, got {model!r}; load a file with "
            "keras.saving.load_model"
        )
    if getattr(model, "output_shape", None) is None or not model.layers:
        return
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        check_logits(last, argument)
        return
    if _squashes(last):
        raise ModelError(
            f"{argument} must return logits, but the last layer of {model.name}, {last.name!r}, "
            f"turns them into probabilities; {_REMEDY}, or set "
            "model.layers[-1].activation = keras.activations.linear"
        )


def logits_of(model: Any, output: OutputSpec, argument: str) -> Any:
    """The answer of a model as logits: without softmax or sigmoid, and two of a binary model.

    A softmax or sigmoid at the end is taken off where the graph shows it; one logit z of a binary
    model becomes (0, z), of which the softmax is (1 - sigmoid(z), sigmoid(z)).

    Args:
      model: A functional model, changed in place where its last layer has the activation.
      output: What it is to answer.
      argument: What messages call it.

    Returns:
      The Keras tensor `[b, output.size]`, float32.

    Raises:
      ModelError: Another shape, or probabilities that cannot be turned back.
    """
    from keras import ops

    answers = _flat(model.output)
    widths = {output.size, 1} if output.task == "binary" else {output.size}
    shapes = [tuple(each.shape) for each in answers]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] not in widths:
        what = "values" if output.task == "regression" else "logits"
        raise ModelError(
            f"{argument} must return {what} of shape (None, {output.size}), one for each "
            f"{_unit(output)}, but returns {shapes[0] if len(shapes) == 1 else shapes}; end it "
            f"with Dense({output.size})"
        )
    answer = answers[0]
    if output.task != "regression":
        answer = _without_probabilities(model, answer, argument)
    if answer.dtype != "float32":
        answer = ops.cast(answer, "float32")
    # A pad is a TFLite builtin, for integers too.
    return answer if answer.shape[1] == output.size else ops.pad(answer, [[0, 0], [1, 0]])


def _without_probabilities(model: Any, answer: Any, argument: str) -> Any:
    """The tensor before the softmax or sigmoid that ends a functional model."""
    import keras

    last: Any = next((each for each in model.operations if _output(each) is answer), None)
    inside = isinstance(last, keras.Model)
    while isinstance(last, keras.Model) and hasattr(last, "outputs"):
        last = last.layers[-1]
    if isinstance(last, keras.Model):
        _refuse_probabilities(model, last, argument)
        return answer
    if not _squashes(last):
        return answer
    weighted = hasattr(last, "kernel")
    if inside and not weighted:
        raise ModelError(
            f"{argument} must return logits, but its last layer, {last.name!r} in a nested model, "
            f"turns them into probabilities; {_REMEDY}"
        )
    _LOG.warning(
        "%s: the softmax or sigmoid of its last layer, %s, is taken off, since models return "
        "logits",
        argument,
        last.name,
    )
    if not weighted:
        return last.input
    last.activation = keras.activations.linear
    return answer


def _refuse_probabilities(model: Any, opaque: Any, argument: str) -> None:
    """Judge a model without a graph by its layers and by what it answers to random inputs."""
    import keras
    import numpy as np

    width = model.output_shape[-1]
    if not any(
        _squashes(layer) and getattr(layer, "units", width) == width
        for layer in _all_layers(opaque)
    ):
        return
    rng = np.random.default_rng(0)
    examples = keras.tree.map_structure(
        lambda x: rng.integers(0, 2, (8, *x.shape[1:])).astype(x.dtype), model.input
    )
    answers = np.asarray(model(examples, training=False))
    if answers.min() >= 0 and answers.max() <= 1:
        raise ModelError(
            f"{argument} must return logits, but {opaque.name} seems to return probabilities; "
            f"{_REMEDY}"
        )


def _squashes(layer: Any) -> bool:
    """Whether a layer or operation applies softmax or sigmoid to what it puts out."""
    import keras

    squashing = (keras.activations.softmax, keras.activations.sigmoid)
    plain = not isinstance(layer, keras.layers.Layer)
    return (
        isinstance(layer, keras.layers.Softmax)
        or getattr(layer, "activation", None) in squashing
        or (plain and type(layer).__name__ in ("Softmax", "Sigmoid"))
    )


def _all_layers(model: Any) -> list[Any]:
    found = []
    for layer in model.layers:
        found += [layer, *(_all_layers(layer) if hasattr(layer, "layers") else [])]
    return found


def _output(operation: Any) -> Any:
    """None of what was never called on a Keras tensor."""
    return getattr(operation, "output", None)


def _flat(structure: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(structure))


def _unit(output: OutputSpec) -> str:
    return {"multilabel": "label", "regression": "value"}.get(output.task, "class") + " of the data"
