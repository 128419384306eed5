"""Teachers that are a file with named inputs and outputs: a SavedModel of any kind, or ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules.errors import ConfigError, ModelError
from modules.settings import TeacherSettings
from modules.teachers.raw_features import Features

_IMAGE_RANK = 4
_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(string)": object,
}


@dataclass(frozen=True)
class Argument:
    """An input of the file.

    Attributes:
      name: Its name.
      dtype: NumPy's; `object` is text or bytes.
      shape: With the batch; None where it is open.
    """

    name: str
    dtype: Any
    shape: tuple[int | None, ...]


class SavedModelTeacher:
    """Asks a signature of a SavedModel.

    Args:
      settings: `saved_model`, `signature`, `inputs`, `output`, `pixel_range`.
      path: A local directory.
      names: The raw features.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: The signature, an input or the output is not there.
      ModelError: It cannot be loaded.
    """

    def __init__(self, settings: TeacherSettings, path: str, names: Sequence[str], key: str):
        try:
            # Kept, or its variables are gone.
            self._model = tf.saved_model.load(path)
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise ModelError(
                f"{key}.saved_model {settings.name!r} cannot be loaded: {_line(error)}"
            ) from error
        signatures = self._model.signatures
        if settings.signature not in signatures:
            raise ConfigError(
                f"{key}.signature must be one of {', '.join(signatures) or 'none'}, got "
                f"{settings.signature!r}; correct it"
            )
        self._signature = signatures[settings.signature]
        arguments = [
            Argument(
                name,
                object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype,
                tuple(spec.shape) if spec.shape.rank is not None else (None,),
            )
            for name, spec in self._signature.structured_input_signature[1].items()
        ]
        self._feeding = Feeding(arguments, settings, names, key)
        self._output = chosen_output(list(self._signature.structured_outputs), settings, key)

    def answer(self, features: Features) -> NDArray[Any]:
        """What the signature answers."""
        given = {
            name: tf.constant(value.tolist()) if value.dtype == object else tf.constant(value)
            for name, value in self._feeding.arrays(features).items()
        }
        found: NDArray[Any] = self._signature(**given)[self._output].numpy()
        return found


class OnnxTeacher:
    """Asks an ONNX file.

    Args:
      settings: `onnx`, `inputs`, `output`, `pixel_range`.
      path: A local file.
      names: The raw features.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: onnxruntime is not installed, or an input or the output is not there.
      ModelError: It cannot be loaded.
    """

    def __init__(self, settings: TeacherSettings, path: str, names: Sequence[str], key: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                f"{key}.onnx needs onnxruntime, which is not installed; install it with "
                "pip install 'tfx-distill[onnx]'"
            ) from error
        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"{key}.onnx {settings.name!r} cannot be loaded: {_line(error)}"
            ) from error
        arguments = [
            Argument(
                each.name,
                _onnx_type(each.type, key),
                tuple(size if isinstance(size, int) else None for size in each.shape),
            )
            for each in self._session.get_inputs()
        ]
        self._feeding = Feeding(arguments, settings, names, key)
        outputs = [each.name for each in self._session.get_outputs()]
        self._output = chosen_output(outputs, settings, key)

    def answer(self, features: Features) -> NDArray[Any]:
        """What the file answers."""
        (found,) = self._session.run([self._output], self._feeding.arrays(features))
        return np.asarray(found)


class Feeding:
    """From raw features to the inputs of a file.

    Args:
      arguments: The inputs.
      settings: `inputs` and `pixel_range`.
      names: The raw features.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: An input has no feature.
    """

    def __init__(
        self,
        arguments: Sequence[Argument],
        settings: TeacherSettings,
        names: Sequence[str],
        key: str,
    ):
        self._arguments, self._range, self._key = arguments, settings.pixel_range, key
        self._sources: dict[str, str | tuple[str, ...]] = {
            **{each.name: each.name for each in arguments},
            **settings.inputs,
        }
        if len(arguments) == len(names) == 1 and not settings.inputs:
            self._sources = {arguments[0].name: names[0]}
        inputs = ", ".join(sorted(each.name for each in arguments))
        for name, source in self._sources.items():
            if name not in {each.name for each in arguments}:
                raise ConfigError(
                    f"{key}.inputs must name inputs of the teacher, {inputs}, got {name!r}; "
                    "correct it"
                )
            for feature in [source] if isinstance(source, str) else source:
                if feature not in names:
                    raise ConfigError(
                        f"{key}.inputs must say which feature is {name!r}, an input of the "
                        f"teacher; the features are {', '.join(names)}"
                    )

    def arrays(self, features: Features) -> dict[str, NDArray[Any]]:
        """Arrays as the inputs want them, by their names."""
        return {each.name: self._array(each, features) for each in self._arguments}

    def _array(self, argument: Argument, features: Features) -> NDArray[Any]:
        source = self._sources[argument.name]
        if isinstance(source, str):
            found = features[source]
        else:
            found = np.column_stack([features[each] for each in source])
        if argument.dtype is object:
            return _column(found.astype(object), argument)
        if len(argument.shape) == _IMAGE_RANK and found.dtype == object:
            return decoded(found, argument, self._range)
        try:
            return _column(found.astype(argument.dtype), argument)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self._key}.inputs: the input {argument.name!r} takes numbers of type "
                f"{np.dtype(argument.dtype)}, but {source!r} has others ({_line(error)})"
            ) from error


def _column(values: NDArray[Any], argument: Argument) -> NDArray[Any]:
    """`[b]` as `[b, 1]` where the input wants columns."""
    if values.ndim == 1 and len(argument.shape) > 1:
        return values.reshape(-1, *[1] * (len(argument.shape) - 1))
    return values


def decoded(
    images: Sequence[bytes] | NDArray[Any], argument: Argument, pixels: tuple[float, float]
) -> NDArray[Any]:
    """Encoded images as `[b, height, width, channels]`, stretched to the size of the input."""
    _, height, width, channels = argument.shape
    found = []
    for image in images:
        pixel = tf.io.decode_image(image, channels=channels or 3, expand_animations=False)
        if height and width:
            pixel = tf.image.resize(pixel, (height, width), antialias=True)
        found.append(tf.cast(pixel, tf.float32).numpy())
    stacked = np.stack(found)
    if np.dtype(argument.dtype).kind != "f":
        return np.round(stacked).astype(argument.dtype)
    low, high = pixels
    return (low + stacked * (high - low) / 255).astype(argument.dtype)


def chosen_output(outputs: Sequence[str], settings: TeacherSettings, key: str) -> str:
    """The output that is the answer.

    Raises:
      ConfigError: It is not there, or it is not clear which it is.
    """
    wanted = settings.output or (outputs[0] if len(outputs) == 1 else settings.returns)
    if wanted not in outputs:
        raise ConfigError(
            f"{key}.output must be one of {', '.join(sorted(outputs))}, got {settings.output!r}; "
            "set it"
        )
    return wanted


def _onnx_type(name: str, key: str) -> Any:
    if name not in _ONNX_TYPES:
        raise ConfigError(
            f"{key}.onnx must take inputs of the types {', '.join(_ONNX_TYPES)}, got {name}"
        )
    return _ONNX_TYPES[name]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
