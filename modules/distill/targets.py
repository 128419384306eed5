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
from modules.tasks.classification import unknown_class
from modules.tasks.protocol import Task

LABEL, TEACHER_LOGITS = "label", "teacher_logits"


def labels_of(y: Any, task: Task) -> Tensor:
    """The labels in the task's shape, given plainly or in a dictionary.

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
            f"labels are needed: give them to fit and evaluate as y, or as y[{LABEL!r}]"
        )
    return task.labels(labels)


def weights_of(sample_weight: Any) -> Tensor:
    """`[b]`, or None: Keras also has weights as `[b, 1]`, and shapes them like `y`."""
    if isinstance(sample_weight, Mapping):
        sample_weight = sample_weight.get(LABEL)
    return None if sample_weight is None else ops.reshape(sample_weight, [-1])


def check_columns(argument: str, values: Tensor, outputs: Tensor) -> None:
    """Hold labels or outputs `[..., c]` to the number of the student's outputs.

    Raises:
      ModelError: Their numbers are known and differ.
    """
    theirs, ours = values.shape[-1], outputs.shape[-1]
    if None not in (theirs, ours) and theirs != ours:
        raise ModelError(
            f"{argument} must have a column for each of the student's {ours} outputs, got "
            f"{theirs} columns; use the same in both"
        )


@contextmanager
def checked_labels(x: Any, y: Any, student: keras.Model, task: Task) -> Iterator[None]:
    """Check labels, those of an array at once, those of a data set as they come.

    Args:
      x: Inputs, an array or a structure of arrays, or a data set.
      y: Labels, plainly or in a dictionary; None with a data set.
      student: Its outputs are counted, if they are known before it is called.
      task: What a label may be.

    Raises:
      DataError: There are more or fewer labels than inputs, or one cannot be a label.
    """
    labels = y.get(LABEL) if isinstance(y, Mapping) else y
    if isinstance(labels, list):
        raise DataError("y must be an array or a data set, got a list; give numpy.array(y)")
    if hasattr(labels, "__array__"):
        columns = (getattr(student, "output_shape", None) or [None])[-1]
        array, examples = np.asarray(labels), len(keras.tree.flatten(x)[0])
        if len(array) != examples:
            raise DataError(
                f"y must have a label for each of the {examples} examples of x, got "
                f"{len(array)}; give both of the same examples"
            )
        task.check_labels(array, columns and task.size(columns))
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"label value of (-?\d+) .* range of \[0, (\d+)\)", error.message)
        if not found:
            raise
        raise unknown_class(*found.groups()) from error
