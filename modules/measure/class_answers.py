"""Answers of a classifier: logits reduced to a few numbers per example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modules.measure.answers import Answers, checked_weights


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassAnswers(Answers):
    """What one model said about each example of a split, in the order of the split.

    Attributes:
      labels: `[n]` int64, the true classes.
      predicted: `[n]` int64, the class with the largest logit; the lowest index wins a tie.
      confidence: `[n]` float64, softmax probability of the predicted class.
      loss: `[n]` float64, cross-entropy against the label, in nats.
      label_rank: `[n]` int64, how many classes come before the label when they are ordered by
        logit, ties by index: 0 where the label is predicted.
      margin: `[n]` float64, of two classes the second's logit minus the first's; else None.
    """

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]
    label_rank: NDArray[np.int64]
    margin: NDArray[np.float64] | None = None

    @classmethod
    def from_outputs(
        cls, labels: ArrayLike, outputs: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Reduces one batch of logits.

        With `m = max_k z_k` and `S = sum_k exp(z_k - m)`, the loss is `log S - (z_label - m)`
        and the confidence `1 / S`; no exponent is ever positive, so nothing overflows.
        A row with a logit of NaN or +inf gets a NaN confidence and loss rather than an error:
        a diverged model is to be refused by the gate, not to stop the judging. NaN ranks first,
        as `argmax` has it.

        Args:
          labels: `[batch]` integers in `[0, classes)`.
          outputs: Logits `[batch, classes]`, any real dtype; computed in float64.
          weights: `[batch]`, or None.

        Raises:
          ValueError: The shapes do not fit each other or a label is outside the classes.
        """
        label_ids = np.asarray(labels)
        scores = np.asarray(outputs, dtype=np.float64)
        if scores.ndim != 2 or label_ids.shape != scores.shape[:1]:
            raise ValueError(
                "labels must have shape [batch] and logits [batch, classes], "
                f"got {label_ids.shape} and {scores.shape}"
            )
        classes = scores.shape[1]
        if not are_class_ids(label_ids, classes):
            raise ValueError(
                f"labels must be integers from 0 to {classes - 1} for logits with {classes} "
                f"classes, got {np.unique(label_ids)[:20]}"
            )
        label_ids = label_ids.astype(np.int64)  # an empty list arrives as float
        predicted = scores.argmax(axis=1)
        rows = np.arange(len(label_ids))
        with np.errstate(invalid="ignore"):  # inf - inf; the NaN that results is the answer
            shifted = scores - scores[rows, predicted][:, np.newaxis]
            margin = scores[:, 1] - scores[:, 0] if classes == 2 else None
        total = np.exp(shifted).sum(axis=1)
        return cls(
            labels=label_ids,
            weights=checked_weights(weights, len(label_ids)),
            predicted=predicted.astype(np.int64),
            confidence=1.0 / total,
            loss=np.log(total) - shifted[rows, label_ids],
            label_rank=_label_ranks(scores, label_ids),
            margin=margin,
        )

    @property
    def right(self) -> NDArray[np.bool_]:
        """`[n]`, whether the predicted class is the label."""
        return self.predicted == self.labels


def are_class_ids(labels: NDArray[Any], classes: int) -> bool:
    """Whether all labels index a class; a negative one would silently count from the end."""
    if labels.size == 0:
        return True
    is_integer = np.issubdtype(labels.dtype, np.integer)
    return bool(is_integer and labels.min() >= 0 and labels.max() < classes)


def _label_ranks(scores: NDArray[np.float64], label_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes `argmax` would name before the label, were they struck out in turn."""
    own = scores[np.arange(len(label_ids)), label_ids][:, np.newaxis]
    larger = (scores > own) | (np.isnan(scores) & ~np.isnan(own))
    equal = (scores == own) | (np.isnan(scores) & np.isnan(own))
    earlier = np.arange(scores.shape[1]) < label_ids[:, np.newaxis]
    return (larger | (equal & earlier)).sum(axis=1)
