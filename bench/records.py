"""Transformed examples for the benchmarks, written as Transform writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from modules.data.spec import DataSpec, InputSpec, OutputSpec

IMAGE = "image"
Record = tuple[bytes, int, bytes]


def image_spec(shape: tuple[int, int, int], classes: int) -> DataSpec:
    """What is in such examples: raw `uint8` pixels of that shape, and a class."""
    names = tuple(map(str, range(classes)))
    image = InputSpec(name=IMAGE, kind="image", feature=IMAGE, shape=shape, dtype="uint8")
    output = OutputSpec(task="classification", size=classes, classes=names)
    return DataSpec(inputs=(image,), output=output)


def write_records(path: Path, records: Iterable[Record]) -> str:
    """Writes raw pixels, label and id of each example; returns the file's name."""
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP")) as writer:
        for pixels, label, identity in records:
            features = {
                IMAGE: tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                "example_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[identity])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return str(path)
