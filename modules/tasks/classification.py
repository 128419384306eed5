"""Classification: one of `c` classes, answered by logits `[b, c]`; binary is that of two.

Labels are class ids `[b]` or probabilities `[b, c]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from modules.errors import DataError
from modules.tasks.protocol import Tensor


class Classification:
    """One of several classes."""

    name = "classification"
    score_name = "accuracy"
    has_logits = True
    scale = 1.0

    def size(self, columns: int) -> int:
        """As many classes as columns."""
        return columns

    def widen(self, outputs: Tensor) -> Tensor:
        """Logits as they are."""
        return outputs

    def labels(self, labels: Tensor) -> Tensor:
        """Class ids `[b]`, for which some Keras data sets have `[b, 1]`, or probabilities."""
        has_column = len(labels.shape) == 2 and labels.shape[-1] == 1
        return ops.reshape(labels, [-1]) if has_column else labels

    def check_labels(self, labels: np.ndarray, size: int | None) -> None:
        """Not left to TensorFlow: on a GPU the loss of an unknown class is NaN, without a word."""
        if size and labels.size == len(labels) > 0:
            for label in (labels.min(), labels.max()):
                if not 0 <= label < size:
                    raise unknown_class(label, size)

    def hard_loss(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """Cross-entropy with the labels, `[b]` in nats."""
        if _are_probabilities(labels):
            return keras.losses.categorical_crossentropy(labels, outputs, from_logits=True)
        return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)

    def score(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """1 where the most probable class is the label's most probable one, else 0."""
        truth = ops.argmax(labels, axis=-1) if _are_probabilities(labels) else labels
        right = ops.equal(ops.argmax(outputs, axis=-1), ops.cast(truth, "int32"))
        return ops.cast(right, "float32")

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Softmax of the logits."""
        return ops.softmax(outputs, axis=-1)

    def combine(self, outputs: Tensor, shares: Sequence[float], temperature: Any) -> Tensor:
        """The mean is of softened probabilities, not of logits (You et al. 2017).

        `T * log(mean p^T)` gives it back under a softmax at the same temperature.
        """
        logs = ops.reshape(ops.log(ops.convert_to_tensor(shares)), [1, -1, 1])
        softened = ops.log_softmax(outputs / temperature, axis=-1)
        return temperature * ops.logsumexp(softened + logs, axis=1)


class Binary(Classification):
    """One of two classes; a model may answer with one logit, that of the second class."""

    name = "binary"

    def size(self, columns: int) -> int:
        """Two, even of one column."""
        return max(columns, 2)

    def widen(self, outputs: Tensor) -> Tensor:
        """One logit `[b, 1]` becomes the second of (0, logit)."""
        if outputs.shape[-1] != 1:
            return outputs
        return ops.concatenate([ops.zeros_like(outputs), outputs], axis=-1)


def unknown_class(label: Any, size: Any) -> DataError:
    """What is said of a class id out of range."""
    return DataError(
        f"y must hold class ids from 0 to {int(size) - 1}, since the student has {size} "
        f"outputs, got {label}; number the classes from 0, or give the student more outputs"
    )


def _are_probabilities(labels: Tensor) -> bool:
    return len(labels.shape) == 2
