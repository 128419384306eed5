"""What `fit` and `evaluate` are given besides inputs: labels, teachers' logits, sample weights.

A label may be missing: `y["labeled"]` says which are there.
"""

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

LABEL, LABELED, TEACHER_LOGITS = "label", "labeled", "teacher_logits"
_KEYS = (LABEL, LABELED, TEACHER_LOGITS)


def labels_of(y: Any, task: Task) -> tuple[Tensor, Tensor]:
    """The labels in the task's shape, given plainly or in a dictionary, and which are there.

    Returns:
      Labels, 0 where there is none, and booleans `[b]`, or None if there are all.

    Raises:
      DataError: There are none, or `y` has a key that is not known.
    """
    for key in y if isinstance(y, Mapping) else ():
        if key not in _KEYS:
            raise DataError(
                f"y must have no keys but {', '.join(map(repr, _KEYS))}, got {key!r}"
                f"{did_you_mean(key, _KEYS)}"
            )
    labels = y.get(LABEL) if isinstance(y, Mapping) else y
    if labels is None:
        raise DataError(
            f"labels are needed: give them to fit and evaluate as y, or as y[{LABEL!r}]"
        )
    labels = task.labels(labels)
    labeled = y.get(LABELED) if isinstance(y, Mapping) else None
    if labeled is None:
        return labels, None
    labeled = ops.cast(ops.reshape(labeled, [-1]), "bool")
    there = ops.reshape(labeled, [-1, *[1] * (len(labels.shape) - 1)])
    # Whatever stands in place of a label, such as -1 or NaN, must not get into a loss.
    return ops.where(there, labels, ops.zeros_like(labels)), labeled


def weights_of(sample_weight: Any) -> Tensor:
    """`[b]`, or None: Keras also has weights as `[b, 1]`, and shapes them like `y`."""
    if isinstance(sample_weight, Mapping):
        sample_weight = sample_weight.get(LABEL)
    return None if sample_weight is None else ops.reshape(sample_weight, [-1])


def labeled_weights(sample_weight: Tensor, labeled: Tensor) -> Tensor:
    """Weights `[b]` of what concerns labels: 0 where there is none. None if all are alike."""
    if labeled is None:
        return sample_weight
    there = ops.cast(labeled, "float32")
    return there if sample_weight is None else there * ops.cast(sample_weight, "float32")


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
        there = y.get(LABELED) if isinstance(y, Mapping) else None
        task.check_labels(
            array if there is None else array[_checked_marks(there, examples)],
            columns and task.size(columns),
        )
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"label value of (-?\d+) .* range of \[0, (\d+)\)", error.message)
        if not found:
            raise
        raise unknown_class(*found.groups()) from error


def _checked_marks(labeled: Any, examples: int) -> np.ndarray:
    """Which labels are there, as booleans `[examples]`.

    Raises:
      DataError: It is something else.
    """
    marks = np.asarray(labeled)
    if marks.shape != (examples,) or marks.dtype != bool:
        raise DataError(
            f"y[{LABELED!r}] must be a boolean for each of the {examples} examples of x, got "
            f"{marks.dtype} of the shape {list(marks.shape)}; give True where there is a label"
        )
    return marks
