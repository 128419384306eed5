"""Specifications of inputs of every kind, and batches of them."""

import numpy as np

from modules.data.spec import InputSpec, OutputSpec

AGE = InputSpec(
    name="age", kind="numeric", feature="age", shape=(), dtype="float32", mean=40, deviation=10
)
INCOME = InputSpec(
    name="income",
    kind="numeric",
    feature="income",
    shape=(),
    dtype="float32",
    mean=3e4,
    deviation=1e4,
)
SEX = InputSpec(
    name="sex", kind="category", feature="sex", shape=(), dtype="int32", vocabulary_size=4
)
CITY = InputSpec(
    name="city", kind="category", feature="city", shape=(), dtype="int32", vocabulary_size=50
)
TAGS = InputSpec(
    name="tags", kind="category", feature="tags", shape=(3,), dtype="int32", vocabulary_size=20
)
FLAGS = InputSpec(
    name="flags", kind="category", feature="flags", shape=(2,), dtype="int32", vocabulary_size=5
)
VECTOR = InputSpec(name="vector", kind="tensor", feature="vector", shape=(2, 3), dtype="float32")
REVIEW = InputSpec(
    name="review", kind="text", feature="review", shape=(12,), dtype="int32", vocabulary_size=100
)
PHOTO = InputSpec(name="photo", kind="image", feature="photo", shape=(16, 16, 3), dtype="uint8")
TABLE = {spec.name: spec for spec in (AGE, INCOME, SEX, CITY, TAGS, FLAGS, VECTOR)}
TEXT = {"review": REVIEW}
MIXTURE = {**TABLE, **TEXT, "photo": PHOTO}
VALUE = OutputSpec(task="regression", size=1, mean=100, deviation=20)


def batch(inputs, count=40, seed=0):
    """Random examples by name; about a third of the ids in lists are padding."""
    rng = np.random.default_rng(seed)
    return {name: _values(rng, spec, (count, *spec.shape)) for name, spec in inputs.items()}


def _values(rng, spec, shape):
    if spec.kind == "image":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if spec.vocabulary_size is None:
        return (rng.normal(size=shape) * spec.deviation + spec.mean).astype(np.float32)
    ids = rng.integers(0, spec.vocabulary_size, shape, dtype=np.int32)
    return (ids * (rng.random(shape) < 0.7)).astype(np.int32) if spec.shape else ids
