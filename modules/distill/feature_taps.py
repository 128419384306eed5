"""Features of named layers: recorded during the one forward pass, projected where shapes differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from modules.errors import ConfigError


def find_layer(model: keras.Model, path: str, argument: str) -> keras.Layer:
    """A layer by its name, in nested models by `outer/inner` or by the inner name alone.

    Raises:
      ConfigError: No such layer; the candidates are listed, the nearest first. Layers that were
        not given a name are counted only: Keras numbers them on through all models of a process.
    """
    layers = dict(_named_layers(model))
    if path in layers:
        return layers[path]
    inner = [name for name in layers if name.rsplit("/", 1)[-1] == path]
    if len(inner) == 1:
        return layers[inner[0]]
    named = [name for name, layer in layers.items() if not _has_automatic_name(layer)]
    near = inner or difflib.get_close_matches(path, named, n=5)
    candidates = near + [name for name in named if name not in near]
    unnamed = [name for name in layers if name not in candidates]
    rest = ""
    if unnamed:
        rest = (
            f"; {len(unnamed)} without a name of their own, such as {unnamed[-1]}, which Keras "
            "numbers otherwise in another build: name the layer where it is built"
        )
    raise ConfigError(
        f"{argument} must name {'one layer' if inner else 'a layer'} of {model.name}, got "
        f"{path!r}; its layers: {', '.join(candidates) or 'none named'}{rest}"
    )


def _has_automatic_name(layer: keras.Layer) -> bool:
    """Whether the name is what Keras makes of the class: `conv2d`, `re_lu_3`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(layer).__name__)
    return re.fullmatch(rf"{re.escape(words.lower())}(_\d+)?", layer.name) is not None


def _named_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    for layer in model.layers:
        yield prefix + layer.name, layer
        if isinstance(layer, keras.Model):
            yield from _named_layers(layer, f"{prefix}{layer.name}/")


class Taps:
    """Records what layers put out whenever they are called, at no cost of a second pass.

    It works in models of any kind, nested ones included, because it wraps the layers' own `call`.
    `installed` takes the wrapping off again, so that nothing of it is exported.
    """

    def __init__(self, layers: Sequence[keras.Layer]):
        self._layers = list({id(layer): layer for layer in layers}.values())
        self._outputs: dict[int, Any] = {}

    def output(self, layer: keras.Layer) -> Any:
        """What the layer put out when it was last called."""
        return self._outputs[id(layer)]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Record while this lasts."""
        originals = [(layer, layer.call) for layer in self._layers]
        for layer, call in originals:
            object.__setattr__(layer, "call", self._recording(layer, call))
        try:
            yield
        finally:
            for layer, _ in originals:
                object.__delattr__(layer, "call")
            self._outputs.clear()

    def _recording(self, layer: keras.Layer, call: Any) -> Any:
        def recording(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            self._outputs[id(layer)] = output
            return output

        return recording


def projector(student_shape: Sequence[int | None], teacher_shape: Sequence[int | None]) -> Any:
    """A learned map from the student's features to the teacher's shape; None where they agree.

    A 1x1 convolution (or dense layer) with batch normalisation, after a resize to the teacher's
    height and width; Romero et al. 2015 (1412.6550).

    Args:
      student_shape: `(batch, …, channels)`, of rank 2 or 4.
      teacher_shape: Likewise, of the same rank.

    Raises:
      ConfigError: The ranks differ.
    """
    if tuple(student_shape[1:]) == tuple(teacher_shape[1:]):
        return None
    if len(student_shape) != len(teacher_shape) or len(student_shape) not in (2, 4):
        raise ConfigError(
            f"student features {tuple(student_shape)} cannot be projected to teacher features "
            f"{tuple(teacher_shape)}: both must be [batch, channels] or both [batch, height, "
            "width, channels]; choose layers that correspond"
        )
    channels = teacher_shape[-1]
    layers: list[Any] = []
    if len(student_shape) == 4:
        if tuple(student_shape[1:3]) != tuple(teacher_shape[1:3]):
            layers.append(keras.layers.Resizing(teacher_shape[1], teacher_shape[2]))
        layers.append(keras.layers.Conv2D(channels, 1, use_bias=False))
    else:
        layers.append(keras.layers.Dense(channels, use_bias=False))
    layers.append(keras.layers.BatchNormalization(momentum=0.9))
    model = keras.Sequential(layers, name="projector")
    model.build(tuple(student_shape))
    return model
