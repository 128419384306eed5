"""Small data sets of three kinds for the bench of recipes, as Transform would write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf
from records import image_spec

from modules.data.sources.digits import digits
from modules.data.sources.embedded import locate
from modules.data.spec import DataSpec, InputSpec, OutputSpec

# Of the examples beside the eval split: a part that judges; the rest is learned from, and of
# that the usual part chooses the best epoch.
JUDGED = 0.3
_EVALUATED = 0.2
_WORD = re.compile(r"[a-z']+")
_LENGTH, _WORDS = 30, 4000


@dataclass(frozen=True)
class Table:
    """Examples in memory.

    Attributes:
      spec: What is in them.
      inputs: `[n, ...]`, of the only input.
      labels: `[n]`.
    """

    spec: DataSpec
    inputs: np.ndarray
    labels: np.ndarray


def load(case: str, seed: int) -> tuple[Table, Table]:
    """What is learned from and what judges; the part for the last evaluation is left out.

    Args:
      case: A key of `CASES`.
      seed: Decides which example judges.
    """
    table = CASES[case]()
    order = np.random.default_rng(0).permutation(len(table.labels))
    order = order[round(_EVALUATED * len(order)) :]
    order = np.random.default_rng(seed + 1).permutation(order)
    learned, judges = np.split(order, [round((1 - JUDGED) * len(order))])
    return tuple(Table(table.spec, table.inputs[at], table.labels[at]) for at in (learned, judges))


def write(table: Table, path: Path) -> str:
    """Writes a file of transformed examples; returns its name."""
    (spec,) = table.spec.inputs
    regression = table.spec.output.task == "regression"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
        for number, (value, label) in enumerate(zip(table.inputs, table.labels, strict=True)):
            floats, ints = tf.train.FloatList, tf.train.Int64List
            features = {
                spec.name: _feature(value),
                "label": tf.train.Feature(float_list=floats(value=[label]))
                if regression
                else tf.train.Feature(int64_list=ints(value=[int(label)])),
                "example_id": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[str(number).encode()])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(path)


def _feature(value: np.ndarray) -> tf.train.Feature:
    if value.dtype == np.uint8:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
    if value.dtype == np.int32:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value.tolist()))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value.tolist()))


def _images(pairs: list[tuple[bytes, int]]) -> Table:
    pixels = np.stack([tf.io.decode_png(image, channels=1).numpy() for image, _ in pairs])
    labels = np.array([label for _, label in pairs])
    return Table(image_spec(pixels.shape[1:], 10), pixels, labels)


def _shuffled(rows: list[Any], count: int) -> list[Any]:
    """Some of the rows, which may be in the order of their labels."""
    return [rows[at] for at in np.random.default_rng(0).permutation(len(rows))[:count]]


def _digits() -> Table:
    return _images(list(digits()))


def _mnist() -> Table:
    rows = _shuffled(pq.read_table(locate("embedded:mnist.parquet")).to_pylist(), 2000)
    return _images([(row["image"], row["digit"]) for row in rows])


def _numbers(columns: np.ndarray, labels: np.ndarray, task: str) -> Table:
    """Standardized columns `[n, c]`."""
    columns = columns.astype(np.float32)
    columns = (columns - columns.mean(0)) / np.maximum(columns.std(0), 1e-6)
    if task == "regression":
        moments = {"mean": float(labels.mean()), "deviation": float(labels.std())}
        output = OutputSpec(task=task, size=1, **moments)
    else:
        names, labels = np.unique(labels, return_inverse=True)
        output = OutputSpec(task=task, size=len(names), classes=tuple(map(str, names)))
    shape = columns.shape[1:]
    spec = InputSpec(name="x", kind="tensor", feature="x", shape=shape, dtype="float32")
    return Table(DataSpec(inputs=(spec,), output=output), columns, labels)


def _segments() -> Table:
    frame = pq.read_table(locate("embedded:segments.parquet")).to_pandas()
    return _numbers(frame.drop(columns="category").to_numpy(), frame["category"], "classification")


def _rare() -> Table:
    """The segments, of three classes every tenth one alone."""
    table = _segments()
    kept = (table.labels > 2) | (np.arange(len(table.labels)) % 10 == 0)
    return Table(table.spec, table.inputs[kept], table.labels[kept])


def _diamonds() -> Table:
    import pandas as pd

    frame = pq.read_table(locate("embedded:diamonds.parquet")).to_pandas()
    frame = frame.sample(4000, random_state=0)
    columns = pd.get_dummies(frame.drop(columns="price")).to_numpy()
    return _numbers(columns, frame["price"].to_numpy(np.float32), "regression")


def _bundled(name: str, task: str) -> Callable[[], Table]:
    """A table that comes with scikit-learn."""

    def read() -> Table:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")()
        return _numbers(bunch.data, bunch.target, task)

    return read


def _sentiment() -> Table:
    rows = _shuffled(pq.read_table(locate("embedded:sentiment.parquet")).to_pylist(), 4000)
    texts = [_WORD.findall(row["text"].lower()) for row in rows]
    counts = Counter(word for text in texts for word in text)
    ids = {word: index + 2 for index, (word, _) in enumerate(counts.most_common(_WORDS))}
    table = np.zeros((len(texts), _LENGTH), np.int32)
    for row, text in zip(table, texts, strict=True):
        known = [ids.get(word, 1) for word in text[:_LENGTH]]
        row[: len(known)] = known
    spec = InputSpec(
        name="x",
        kind="text",
        feature="x",
        shape=(_LENGTH,),
        dtype="int32",
        vocabulary_size=_WORDS + 2,
    )
    names, labels = np.unique([row["sentiment"] for row in rows], return_inverse=True)
    output = OutputSpec(task="binary", size=2, classes=tuple(map(str, names)))
    return Table(DataSpec(inputs=(spec,), output=output), table, labels)


CASES: dict[str, Callable[[], Table]] = {
    "digits": _digits,
    "mnist": _mnist,
    "segments": _segments,
    "rare": _rare,
    "cancer": _bundled("breast_cancer", "binary"),
    "diamonds": _diamonds,
    "sentiment": _sentiment,
}
