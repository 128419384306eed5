"""Cached soft targets: the teachers' logits for every training example and view, computed once.

An artifact holds one TFRecord file for every file of training examples, record by record in the
same order, and `manifest.json`. A record is the example's id (64 bytes), then for each view and
each teacher a row of float16 logits, or of float32 values. The last view is the example as it is,
for validation. With `top_k` a row is the k largest logits, the level of the rest, and the k class
ids as uint16: every other class is given an equal share of what the teacher gave them together.

Reading streams both files side by side and compares the ids: nothing is held in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from modules.errors import DataError

ID_MISMATCH = "the soft targets have other ids than the examples"
_MANIFEST = "manifest.json"
_ID_BYTES = 64
_FLOAT16_MAX = float(np.finfo(np.float16).max)

# Of one file: name, source, number of examples, bytes.
FileEntry: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What a record holds.

    Attributes:
      classes: Number of logits.
      teachers: Number of teachers.
      views: Augmented views; one more, the example as it is, is always stored behind them.
      top_k: Logits kept of each row, or None for all.
      dtype: Of a number; `float16`, or `float32` without `top_k`.
    """

    classes: int
    teachers: int
    views: int
    top_k: int | None
    dtype: str = "float16"

    @property
    def row_bytes(self) -> int:
        """Bytes of one teacher's answer to one view."""
        if self.top_k is None:
            return self.classes * np.dtype(self.dtype).itemsize
        return 2 * (2 * self.top_k + 1)

    @property
    def record_bytes(self) -> int:
        """Bytes of one example."""
        return _ID_BYTES + (self.views + 1) * self.teachers * self.row_bytes


def write_file(
    directory: str,
    layout: Layout,
    source: str,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    suffix: str = "",
) -> FileEntry:
    """Writes the answers to one file of examples.

    Args:
      directory: Of the artifact; it exists.
      layout: What a record holds.
      source: The path of the file of examples.
      batches: Ids `[b]` and logits `[b, views + 1, teachers, classes]`.
      suffix: Of the name while the file is being written, where several may write the same one.

    Returns:
      The file's entry in the manifest.

    Raises:
      DataError: A logit is not finite.
    """
    name = f"{_name(source)}.answers"
    path, count = os.path.join(directory, name), 0
    with tf.io.TFRecordWriter(path + suffix) as writer:
        for ids, logits in batches:
            if not np.isfinite(logits).all():
                raise DataError(
                    f"a teacher answers values that are not finite to an example of {source}; "
                    "train it with a lower learning rate"
                )
            for identity, row in zip(ids, pack(logits, layout), strict=True):
                writer.write(identity + row)
            count += len(ids)
    if suffix:
        tf.io.gfile.rename(path + suffix, path, overwrite=True)
    size = tf.io.gfile.stat(path).length
    return {"name": name, "source": source, "examples": count, "bytes": size}


def write_manifest(directory: str, layout: Layout, files: Sequence[FileEntry]) -> None:
    """Writes the manifest, without which the artifact holds no soft targets.

    The entries are in the order of the files of examples.
    """
    content = {"layout": asdict(layout), "files": list(files)}
    with tf.io.gfile.GFile(os.path.join(directory, _MANIFEST), "w") as file:
        file.write(json.dumps(content, indent=2))


class SoftTargetCache:
    """Reads an artifact.

    Args:
      directory: As `write_file` and `write_manifest` left it.

    Raises:
      DataError: Files are missing or do not have the size they were written with.
    """

    def __init__(self, directory: str):
        path = os.path.join(directory, _MANIFEST)
        try:
            with tf.io.gfile.GFile(path) as file:
                content = json.loads(file.read())
            self.layout = Layout(**content["layout"])
            self._files = content["files"]
        except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: no readable description of soft targets ({type(error).__name__})",
                damaged=directory,
            ) from error
        self._directory = directory
        for entry in self._files:
            name = os.path.join(directory, entry["name"])
            size = tf.io.gfile.stat(name).length if tf.io.gfile.exists(name) else "none"
            if size != entry["bytes"]:
                raise DataError(
                    f"{name} must have the {entry['bytes']} bytes it was written with, but has "
                    f"{size}: the soft targets are damaged",
                    damaged=directory,
                )

    @property
    def record_bytes(self) -> int:
        """Bytes of the answers to one example."""
        return self.layout.record_bytes

    def check_fits(self, files: Sequence[str]) -> None:
        """Hold the artifact to the files of examples it is read with.

        Raises:
          DataError: It was made of other files.
        """
        ours = [_name(entry["source"]) for entry in self._files]
        theirs = [_name(file) for file in files]
        if ours != theirs:
            raise DataError(
                f"the soft targets in {self._directory} were made of {len(ours)} other file(s) of "
                f"examples than the {len(theirs)} to train on",
                damaged=self._directory,
            )

    def check_classes(self, classes: int) -> None:
        """Hold the teachers to the data.

        Raises:
          DataError: They distinguish another number of classes.
        """
        if self.layout.classes != classes:
            raise DataError(
                f"the soft targets are of {self.layout.classes} classes, the data of {classes}; "
                "compute them with a teacher of the same data"
            )

    def records(self, files: Sequence[str] | None = None) -> tf.data.Dataset:
        """The answers to these files of examples, or to all, in the order of the examples."""
        by_source = {_name(entry["source"]): entry["name"] for entry in self._files}
        names = by_source.values() if files is None else [by_source[_name(file)] for file in files]
        return tf.data.TFRecordDataset([os.path.join(self._directory, name) for name in names])

    def logits(self, records: tf.Tensor, ids: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Logits `[b, teachers, classes]`, in float32.

        Args:
          records: Strings `[b]`.
          ids: The ids that they must have, strings `[b]`.
          views: Which view, `[b]`; -1 is the image as it is.
        """
        found = tf.strings.substr(records, 0, _ID_BYTES)
        alike = tf.debugging.assert_equal(found, ids, message=ID_MISMATCH)
        layout = self.layout
        with tf.control_dependencies([alike]):
            view = tf.cast(tf.where(views < 0, tf.cast(layout.views, views.dtype), views), tf.int32)
        size = layout.teachers * layout.row_bytes
        row = tf.strings.substr(records, _ID_BYTES + view * size, tf.fill(tf.shape(view), size))
        return unpack(row, layout)


def _name(source: str) -> str:
    """Of a file of examples: that of its split comes first, files of two may be called the same."""
    return "-".join(source.split("/")[-2:])


def pack(logits: np.ndarray, layout: Layout) -> list[bytes]:
    """Logits `[b, views + 1, teachers, classes]` as the tail of each record."""
    if layout.dtype == "float32":
        packed = np.ascontiguousarray(logits, "<f4").view(np.uint8)
        return [row.tobytes() for row in packed]
    clipped = np.clip(logits, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float32)
    if layout.top_k is None:
        packed = clipped.astype("<f2").view(np.uint8)
    else:
        kept = np.argsort(-clipped, axis=-1, kind="stable")[..., : layout.top_k]
        largest = np.take_along_axis(clipped, kept, -1)
        others = clipped.copy()
        np.put_along_axis(others, kept, -np.inf, -1)
        peak = largest[..., :1]
        total = np.exp(others - peak).sum(-1, keepdims=True)
        with np.errstate(divide="ignore"):
            level = peak + np.log(total / max(layout.classes - layout.top_k, 1))
        level = np.maximum(level, -_FLOAT16_MAX)
        values = np.concatenate([largest, level], -1).astype("<f2").view(np.uint8)
        packed = np.concatenate([values, kept.astype("<u2").view(np.uint8)], -1)
    return [row.tobytes() for row in packed]


def unpack(rows: tf.Tensor, layout: Layout) -> tf.Tensor:
    """The inverse for one view, in TensorFlow: strings `[b]` to `[b, teachers, classes]`."""
    if layout.top_k is None:
        flat = tf.io.decode_raw(rows, tf.as_dtype(layout.dtype))
        return tf.cast(tf.reshape(flat, [-1, layout.teachers, layout.classes]), tf.float32)
    k = layout.top_k
    halves = tf.reshape(tf.io.decode_raw(rows, tf.uint16), [-1, layout.teachers, 2 * k + 1])
    values = tf.cast(tf.bitcast(halves[..., : k + 1], tf.float16), tf.float32)
    classes = tf.cast(halves[..., k + 1 :], tf.int32)
    places = tf.one_hot(classes, layout.classes)
    known = tf.einsum("btk,btkc->btc", values[..., :k], places)
    rest = 1 - tf.reduce_sum(places, axis=2)
    return known + rest * values[..., k:]
