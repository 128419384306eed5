"""Hand-made models over inputs of every kind, with the specification that belongs to them."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.settings import CategoryFeature, ImageFeature, NumericFeature, TextFeature

# Far from 0 in their own deviations, so that no 256 steps from 0 tell them apart.
YEAR = InputSpec(
    name="year", kind="numeric", feature="year", shape=(), dtype="float32", mean=2015, deviation=3
)
# No name that TensorFlow takes in a signature.
LENGTH = InputSpec(
    name="petal length (cm)",
    kind="numeric",
    feature="petal length (cm)",
    shape=(),
    dtype="float32",
    mean=123456.5,
    deviation=7,
)
COLORS = InputSpec(
    name="colors", kind="category", feature="colors", shape=(2,), dtype="int32", vocabulary_size=7
)
REVIEW = InputSpec(
    name="review", kind="text", feature="review", shape=(6,), dtype="int32", vocabulary_size=20
)
PHOTO = InputSpec(name="photo", kind="image", feature="photo", shape=(8, 8, 3), dtype="uint8")
FEATURES = {
    "year": NumericFeature(),
    "petal length (cm)": NumericFeature(),
    "colors": CategoryFeature(max_values=2),
    "review": TextFeature(length=6),
    "photo": ImageFeature(size=8),
}
INPUTS = (COLORS, LENGTH, PHOTO, REVIEW, YEAR)
OUTPUTS = {
    "classification": OutputSpec(task="classification", size=3, classes=("a", "b", "c")),
    "binary": OutputSpec(task="binary", size=2, classes=("no", "yes")),
    "multilabel": OutputSpec(task="multilabel", size=3, classes=("a", "b", "c")),
    "regression": OutputSpec(task="regression", size=1, mean=2010.5, deviation=4),
}


def data_spec(task: str = "classification", inputs: tuple[InputSpec, ...] = INPUTS) -> DataSpec:
    """Of the models that `build` makes."""
    features = {each.feature: FEATURES[each.feature] for each in inputs}
    return DataSpec(inputs=inputs, output=OUTPUTS[task], features=features)


def build(spec: DataSpec, seed: int = 0) -> keras.Model:
    """A functional model over a dictionary of inputs."""
    keras.utils.set_random_seed(seed)
    inputs = {
        each.name: keras.Input(each.shape, dtype=each.dtype, name=each.name) for each in spec.inputs
    }
    parts = [_part(each, inputs[each.name]) for each in spec.inputs]
    x = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    x = keras.layers.Dense(16, activation="relu", name="hidden")(x)
    x = keras.layers.Dense(spec.output.size, name="head")(x)
    if spec.output.task == "regression":
        x = keras.layers.Rescaling(spec.output.deviation, spec.output.mean)(x)
    return keras.Model(inputs, x, name="mixed")


def _part(each: InputSpec, x: keras.KerasTensor) -> keras.KerasTensor:
    if each.kind == "numeric":
        x = keras.ops.expand_dims(x, -1)
        return keras.layers.Rescaling(1 / each.deviation, -each.mean / each.deviation)(x)
    if each.kind == "image":
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
        return keras.layers.Flatten()(keras.layers.Conv2D(4, 3, 2, activation="relu")(x))
    x = keras.layers.Embedding(each.vocabulary_size, 4)(x)
    return keras.layers.GlobalAveragePooling1D()(x) if each.shape else x


def examples(
    count: int, inputs: tuple[InputSpec, ...] = INPUTS, seed: int = 0
) -> dict[str, NDArray[np.generic]]:
    """Inputs as Transform emits them, each `[count, ...]`."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.generic]] = {}
    for each in inputs:
        shape = (count, *each.shape)
        if each.kind == "numeric":
            found[each.name] = rng.normal(each.mean, each.deviation, shape).astype(np.float32)
        elif each.kind == "image":
            found[each.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            found[each.name] = rng.integers(0, each.vocabulary_size, shape, dtype=np.int32)
    return found
