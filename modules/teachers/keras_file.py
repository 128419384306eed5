"""A teacher that is a Keras file: fitted to the inputs and classes of the data.

Where it takes them as they are, it stays the model it is, with its layers under their names. Else
it becomes one layer of a model that resizes images, casts, joins columns and sorts classes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from modules import files
from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ConfigError, ModelError
from modules.models.contract import conform
from modules.models.inputs import Inputs, describe, keras_inputs
from modules.models.outputs import check_logits
from modules.settings import TeacherSettings
from modules.teachers.labels import SMALLEST, LabelMap, label_map

if TYPE_CHECKING:
    import keras

_LOG = logging.getLogger("tfx_distill.teacher")
_IMAGE_RANK = 4
_WHITE = 255.0


def load_teacher(
    settings: TeacherSettings, inputs: Inputs, output: OutputSpec, key: str = "teacher"
) -> keras.Model:
    """The model of a Keras file as the project has them: from a dictionary of inputs to logits.

    Args:
      settings: `keras_file`, and how it is to be understood.
      inputs: What it is given.
      output: What it must answer.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: `labels` or `inputs` do not fit.
      ModelError: The file cannot be read, or takes or answers something else.
    """
    model = _read(settings.name, key)
    labels = label_map(settings.labels, output, key)
    argument = f"{key}.keras_file {settings.name!r}"
    plain = not labels.places and not settings.inputs and settings.returns == "logits"
    if plain and _takes(model, inputs):
        return conform(model, inputs, output, argument)
    return _fitted(model, settings, inputs, output, labels, argument)


def _read(path: str, key: str) -> Any:
    import keras

    with files.LocalCopies() as copies:
        try:
            return keras.saving.load_model(copies.to_read(path), compile=False, safe_mode=True)
        # Keras raises whatever it meets in a file, and so do classes of the user's.
        except Exception as error:
            if "safe_mode" in str(error):
                raise ModelError(
                    f"{key}.keras_file must have layers alone, but {path!r} has code of its own in "
                    "a layer such as Lambda, which is not run; replace the layer, or load the "
                    f"file in a function of yours and set {key}.function"
                ) from error
            raise ModelError(
                f"{key}.keras_file must be a model that keras.saving.load_model reads, got "
                f"{path!r}, but: {' '.join(str(error).split())[:300]}; "
                "of a directory with saved_model.pb set saved_model instead"
            ) from error


def _takes(model: Any, inputs: Inputs) -> bool:
    """Whether the model takes the inputs as they are."""
    tensors = _tensors(model, inputs)
    return tensors.keys() == inputs.keys() and all(
        tuple(tensors[name].shape) == (None, *spec.shape) and tensors[name].dtype == spec.dtype
        for name, spec in inputs.items()
    )


def _tensors(model: Any, inputs: Inputs, *, own_names: bool = False) -> dict[str, Any]:
    """The model's input tensors by name; a single one is called as our single one.

    Unless its own name is wanted, since the configuration says it.
    """
    given = getattr(model, "input", None)
    if isinstance(given, dict):
        return dict(given)
    tensors = getattr(model, "inputs", None) or []
    if len(tensors) == len(inputs) == 1 and not own_names:
        return dict(zip(inputs, tensors, strict=True))
    return {tensor.name: tensor for tensor in tensors}


def _fitted(
    model: Any,
    settings: TeacherSettings,
    inputs: Inputs,
    output: OutputSpec,
    labels: LabelMap,
    argument: str,
) -> keras.Model:
    """A model around it."""
    import keras

    tensors = _tensors(model, inputs, own_names=bool(settings.inputs))
    if not tensors:
        raise ModelError(
            f"{argument} must be a functional or Sequential model, whose inputs are known, to be "
            "fitted to the data; save it as one, or set function instead"
        )
    own = {name: _own_input(name, tensor) for name, tensor in tensors.items()}
    width = model.output_shape[-1]
    theirs = output.model_copy(update={"size": labels.size, "classes": ()})
    probabilities = settings.returns == "probabilities"
    if probabilities:
        # Where the graph shows the softmax, it is taken off; else its logarithm is.
        _LOG.info("%s: its probabilities are turned into logits", argument)
    shown = not probabilities or _ends_in_probabilities(model, argument)
    inner = conform(model, own, theirs, argument) if shown else model
    given = keras_inputs(inputs)
    fed = {name: _fed(name, spec, given, settings, argument, inputs) for name, spec in own.items()}
    answer = inner(fed if isinstance(inner.input, dict) else list(fed.values()))
    if not shown:
        answer = _log(answer, output, width)
    return conform(
        keras.Model(given, labels.mapped_tensor(answer), name=model.name), inputs, output, argument
    )


def _own_input(name: str, tensor: Any) -> InputSpec:
    # Not validated: whatever else a file's model takes is cast to.
    return InputSpec.model_construct(
        name=name, kind="tensor", feature=name, shape=tuple(tensor.shape[1:]), dtype=tensor.dtype
    )


def _ends_in_probabilities(model: Any, argument: str) -> bool:
    try:
        check_logits(model, argument)
    except ModelError:
        return True
    return False


def _log(answer: Any, output: OutputSpec, width: int) -> Any:
    """Probabilities as logits."""
    from keras import ops

    likely = ops.log(ops.clip(answer, SMALLEST, 1.0))
    single = output.task == "binary" and width == 1
    if output.task != "multilabel" and not single:
        return likely
    logits = likely - ops.log(ops.clip(1.0 - answer, SMALLEST, 1.0))
    return ops.pad(logits, [[0, 0], [1, 0]]) if single else logits


def _fed(
    name: str,
    wanted: InputSpec,
    given: dict[str, Any],
    settings: TeacherSettings,
    argument: str,
    inputs: Inputs,
) -> Any:
    """One of the model's inputs, made of ours."""
    from keras import ops

    source = settings.inputs.get(name, name)
    names = [source] if isinstance(source, str) else list(source)
    if absent := next((each for each in names if each not in given), None):
        raise ConfigError(
            f"{argument} takes {name!r}: its inputs must say which input of the data that is, got "
            f"{absent!r}; the inputs are {describe(inputs)}"
        )
    if isinstance(source, str):
        tensor = given[source]
        if len(tensor.shape) == _IMAGE_RANK and len(wanted.shape) == _IMAGE_RANK - 1:
            tensor = _pixels(tensor, wanted, settings.pixel_range)
    else:
        columns = [
            ops.cast(ops.reshape(given[each], (-1, int(np.prod(inputs[each].shape)))), wanted.dtype)
            for each in names
        ]
        tensor = ops.concatenate(columns, axis=1)
    if tensor.dtype != wanted.dtype:
        tensor = ops.cast(tensor, wanted.dtype)
    shape = tuple(tensor.shape[1:])
    if len(shape) != len(wanted.shape) or any(
        size not in (None, own) for own, size in zip(shape, wanted.shape, strict=True)
    ):
        if None in wanted.shape or np.prod(shape) != np.prod(wanted.shape):
            raise ModelError(
                f"{argument} takes {name!r} of shape {list(wanted.shape)}, but the data have "
                f"{list(shape)}; set its inputs, or function instead"
            )
        tensor = ops.reshape(tensor, (-1, *wanted.shape))
    return tensor


def _pixels(tensor: Any, wanted: InputSpec, pixels: tuple[float, float]) -> Any:
    """Images in the model's own size, channels and range."""
    from keras import ops

    height, width, channels = wanted.shape
    tensor = ops.cast(tensor, "float32")
    if (height, width) != tuple(tensor.shape[1:3]) and height and width:
        tensor = ops.image.resize(tensor, (height, width))
    if channels == 3 and tensor.shape[3] == 1:
        tensor = ops.concatenate([tensor] * 3, axis=3)
    if channels == 1 and tensor.shape[3] == 3:
        tensor = ops.mean(tensor, axis=3, keepdims=True)
    low, high = pixels
    if pixels != (0.0, _WHITE):
        tensor = tensor * ((high - low) / _WHITE) + low
    return tensor
