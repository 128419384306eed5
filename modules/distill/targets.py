"""What `fit` and `evaluate` are given besides inputs: labels, teachers' logits, sample weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from modules.distill.losses import Tensor
from modules.errors import DataError, ModelError, did_you_mean

LABEL, TEACHER_LOGITS = "label", "teacher_logits"


def labels_of(y: Any) -> Tensor:
    """Class ids `[b]` or probabilities `[b, c]`; some Keras data sets have ids as `[b, 1]`.

    Raises:
      DataError: There are none, or `y` has a key that is not known.
    """
    for key in y if isinstance(y, Mapping) else ():
        if key not in (LABEL, TEACHER_LOGITS):
            raise DataError(
                f"y must have no keys but {LABEL!r} and {TEACHER_LOGITS!r}, got {key!r}"
                f"{did_you_mean(key, (LABEL, TEACHER_LOGITS))}"
            )
    labels = y.get(LABEL) if isinstance(y, Mapping) else y
    if labels is None:
        raise DataError(
            "labels are needed: give fit and evaluate class ids or probabilities as y, or as "
            f"y[{LABEL!r}]"
        )
    has_column = len(labels.shape) == 2 and labels.shape[-1] == 1
    return ops.reshape(labels, [-1]) if has_column else labels


def weights_of(sample_weight: Any) -> Tensor:
    """`[b]`, or None: Keras also has weights as `[b, 1]`, and shapes them like `y`."""
    if isinstance(sample_weight, Mapping):
        sample_weight = sample_weight.get(LABEL)
    return None if sample_weight is None else ops.reshape(sample_weight, [-1])


def check_classes(argument: str, values: Tensor, logits: Tensor) -> None:
    """Hold probabilities or logits `[..., c]` to the number of classes of the student's logits.

    Raises:
      ModelError: Their numbers are known and differ.
    """
    theirs, ours = values.shape[-1], logits.shape[-1]
    if None not in (theirs, ours) and theirs != ours:
        raise ModelError(
            f"{argument} must have a column for each of the student's {ours} classes, got "
            f"{theirs} columns; use the same classes in both"
        )


@contextmanager
def checked_labels(x: Any, y: Any, student: keras.Model) -> Iterator[None]:
    """Check labels, those of an array at once, those of a data set as they come.

    Args:
      x: Inputs, an array or a structure of arrays, or a data set.
      y: Labels, plainly or in a dictionary; None with a data set.
      student: Its outputs are the classes, if they are known before it is called.

    Raises:
      DataError: There are more or fewer labels than inputs, or a class id is out of range.
    """
    labels = y.get(LABEL) if isinstance(y, Mapping) else y
    if isinstance(labels, list):
        raise DataError("y must be an array or a data set, got a list; give numpy.array(y)")
    if hasattr(labels, "__array__"):
        classes = (getattr(student, "output_shape", None) or [None])[-1]
        _check_array(np.asarray(labels), len(keras.tree.flatten(x)[0]), classes)
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"label value of (-?\d+) .* range of \[0, (\d+)\)", error.message)
        if not found:
            raise
        raise _out_of_range(*found.groups()) from error


def _check_array(labels: np.ndarray, examples: int, classes: int | None) -> None:
    if len(labels) != examples:
        raise DataError(
            f"y must have a label for each of the {examples} examples of x, got {len(labels)}; "
            "give both of the same examples"
        )
    if classes and labels.size == examples > 0:
        # Not left to TensorFlow: on a GPU the loss of an unknown class is NaN, without a word.
        for label in (labels.min(), labels.max()):
            if not 0 <= label < classes:
                raise _out_of_range(label, classes)


def _out_of_range(label: Any, classes: Any) -> DataError:
    return DataError(
        f"y must hold class ids from 0 to {int(classes) - 1}, since the student has {classes} "
        f"outputs, got {label}; number the classes from 0, or give the student more outputs"
    )
