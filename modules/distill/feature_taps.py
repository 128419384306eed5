"""Features of named layers: recorded during the one forward pass, projected where shapes differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from modules.distill.keras_hooks import recorded
from modules.distill.methods import Term
from modules.errors import ConfigError, ModelError


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


def call_with_features(
    model: keras.Model, layers: Sequence[keras.Layer], inputs: Any, training: bool | None
) -> tuple[Any, list[Any]]:
    """The model's output and those of some of its layers, from one forward pass."""
    with recorded(layers) as outputs:
        result = model(inputs, training=training)
    return result, [outputs[id(layer)] for layer in layers]


class FeaturePairs:
    """The layers of student and first teacher that an objective compares.

    A plain object, which Keras does not look into: layers of the teacher stay untracked.

    Args:
      terms: The objective.
      student: Whose layers are named by `student_layer`.
      teachers: The first one has the layers named by `teacher_layer`.

    Raises:
      ConfigError: A method names a layer that is not there.
      ModelError: There is no teacher to compare with.
    """

    def __init__(
        self, terms: Sequence[Term], student: keras.Model, teachers: Sequence[keras.Model]
    ):
        self.student: dict[str, keras.Layer] = {}
        self.teacher: dict[str, keras.Layer] = {}
        self._models = (student, *teachers[:1])
        self._projected: dict[str, str] = {}
        for index, term in enumerate(terms):
            if not term.method.features:
                continue
            if not teachers:
                raise ModelError(f"{term.name} compares features and needs its teacher's model")
            place, settings = f"methods.{index}", term.settings
            names = str(settings.student_layer), str(settings.teacher_layer)
            self.student[term.name] = find_layer(student, names[0], f"{place}.student_layer")
            self.teacher[term.name] = find_layer(teachers[0], names[1], f"{place}.teacher_layer")
            if term.method.project:
                self._projected[term.name] = place

    def projectors(self) -> dict[str, keras.Model]:
        """New projectors by term, where its method wants one and the shapes differ.

        Raises:
          ConfigError: The ranks of the features differ.
          ModelError: A model does not say what it takes.
        """
        if not self._projected:
            return {}
        shapes = [
            _feature_shapes(model, [layers[name] for name in self._projected])
            for model, layers in zip(self._models, (self.student, self.teacher), strict=True)
        ]
        built = {}
        for (name, place), *pair in zip(self._projected.items(), *shapes, strict=True):
            try:
                model = projector(*pair)
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error
            if model is not None:
                built[name] = model
        return built


def _feature_shapes(
    model: keras.Model, layers: Sequence[keras.Layer]
) -> list[tuple[int | None, ...]]:
    """The shapes of layers' outputs, with None for the batch."""
    try:
        inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        zeros = keras.tree.map_structure(lambda x: ops.zeros((2, *x.shape[1:]), x.dtype), inputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.name} must have inputs of known shape for a method with a projector; build it "
            "from keras.Input"
        ) from error
    features = call_with_features(model, layers, zeros, training=False)[1]
    return [(None, *feature.shape[1:]) for feature in features]


def projector(student_shape: Sequence[int | None], teacher_shape: Sequence[int | None]) -> Any:
    """A learned map from the student's features to the teacher's shape; None where they agree.

    A 1x1 convolution (or dense layer) with batch normalization, after a resize to the teacher's
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
