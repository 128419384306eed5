"""Statistics that judge a classifier, computed from a few numbers per example.

Logits are reduced batch by batch to `Predictions` (four numbers per example), so that judging
needs memory for the examples, never for examples times classes. Nothing here knows what an
example is; NumPy is the only dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model said about each example of a split, in the order of the split.

    Attributes:
        labels: `[n]` int64, the true classes.
        predicted: `[n]` int64, the class with the largest logit; the lowest index wins a tie.
        confidence: `[n]` float64, softmax probability of the predicted class.
        loss: `[n]` float64, cross-entropy against the label, in nats.

    Raises:
        ValueError: the arrays are not vectors of one common length.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {name: array.shape for name, array in vars(self).items()}
        if len(set(shapes.values())) != 1 or self.labels.ndim != 1:
            raise ValueError(f"Predictions needs vectors of one length, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_logits(cls, labels: ArrayLike, logits: ArrayLike) -> Predictions:
        """Reduces one batch of logits.

        With `m = max_k z_k` and `S = sum_k exp(z_k - m)`, the loss is `log S - (z_label - m)`
        and the confidence `1 / S`; no exponent is ever positive, so nothing overflows.
        A row with a logit of NaN or +inf gets a NaN confidence and loss rather than an error:
        a diverged model is to be refused by the gate, not to stop the judging.

        Args:
            labels: `[batch]` integers in `[0, classes)`.
            logits: `[batch, classes]`, any real dtype; computed in float64.

        Raises:
            ValueError: the shapes do not fit each other or a label is outside the classes.
        """
        label_ids = np.asarray(labels)
        scores = np.asarray(logits, dtype=np.float64)
        if scores.ndim != 2 or label_ids.shape != scores.shape[:1]:
            raise ValueError(
                "labels must have shape [batch] and logits [batch, classes], "
                f"got {label_ids.shape} and {scores.shape}"
            )
        classes = scores.shape[1]
        if not _are_class_ids(label_ids, classes):
            raise ValueError(
                f"labels must be integers from 0 to {classes - 1} for logits with {classes} "
                f"classes, got {np.unique(label_ids)[:20]}"
            )
        label_ids = label_ids.astype(np.int64)  # an empty list arrives as float
        predicted = scores.argmax(axis=1)
        rows = np.arange(len(label_ids))
        with np.errstate(invalid="ignore"):  # inf - inf; the NaN that results is the answer
            shifted = scores - scores[rows, predicted][:, np.newaxis]
        total = np.exp(shifted).sum(axis=1)
        return cls(
            labels=label_ids,
            predicted=predicted.astype(np.int64),
            confidence=1.0 / total,
            loss=np.log(total) - shifted[rows, label_ids],
        )

    @classmethod
    def concatenate(cls, batches: Sequence[Predictions]) -> Predictions:
        """Joins batches in the given order.

        Raises:
            ValueError: there is no batch.
        """
        if not batches:
            raise ValueError("batches must hold at least one Predictions, got none")
        return cls(
            labels=np.concatenate([batch.labels for batch in batches]),
            predicted=np.concatenate([batch.predicted for batch in batches]),
            confidence=np.concatenate([batch.confidence for batch in batches]),
            loss=np.concatenate([batch.loss for batch in batches]),
        )


def _are_class_ids(labels: NDArray[Any], classes: int) -> bool:
    """Whether all labels index a class; a negative one would silently count from the end."""
    if labels.size == 0:
        return True
    is_integer = np.issubdtype(labels.dtype, np.integer)
    return bool(is_integer and labels.min() >= 0 and labels.max() < classes)


def _require_examples(predictions: Predictions) -> None:
    if len(predictions) == 0:
        raise ValueError("predictions hold no example, so there is nothing to judge")


def accuracy(predictions: Predictions) -> float:
    """Share of examples whose predicted class is the label, in `[0, 1]`."""
    _require_examples(predictions)
    return float(np.mean(predictions.predicted == predictions.labels))


def mean_loss(predictions: Predictions) -> float:
    """Mean cross-entropy in nats; NaN if it is NaN for any example."""
    _require_examples(predictions)
    return float(np.mean(predictions.loss))


def expected_calibration_error(predictions: Predictions, bins: int = 15) -> float:
    """How far confidence is from accuracy, on average over the examples.

    `ECE = sum_m |B_m| / n * |acc(B_m) - conf(B_m)|`, where bin `B_m` holds the examples with
    confidence in `((m - 1) / bins, m / bins]`: equal widths, open below and closed above, so a
    confidence of exactly 1 is in the last bin. `acc` and `conf` are means over the bin, and
    empty bins add nothing. Since `|B_m|` cancels, the sum runs over
    `|correct_m - confidence_m| / n` with plain sums per bin.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Args:
        predictions: at least one example.
        bins: number of bins; 15 is the paper's.

    Returns:
        A value in `[0, 1]`, or NaN if any confidence is NaN.

    Raises:
        ValueError: there is no example or no bin.
    """
    _require_examples(predictions)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # m / bins rather than a running sum, so that each edge is the float a reader would write.
    inner_edges = np.arange(1, bins) / bins
    # NaN sorts last, into the last bin, and makes that bin's gap and the sum NaN.
    bin_ids = np.searchsorted(inner_edges, predictions.confidence, side="left")
    correct = (predictions.predicted == predictions.labels).astype(np.float64)
    gaps = np.bincount(bin_ids, weights=correct - predictions.confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(predictions))


def agreement(first: Predictions, second: Predictions) -> float:
    """Share of examples on which two models predict the same class, right or wrong.

    Raises:
        ValueError: the two were not made from the same examples in the same order, as far as
            lengths and labels can tell; the share would mean nothing.
    """
    _require_same_examples(first, second)
    _require_examples(first)
    return float(np.mean(first.predicted == second.predicted))


def _require_same_examples(first: Predictions, second: Predictions) -> None:
    if len(first) != len(second):
        raise ValueError(
            "predictions to compare must cover the same examples, "
            f"got {len(first)} and {len(second)}"
        )
    differing = np.flatnonzero(first.labels != second.labels)
    if differing.size:
        at = differing[0]
        raise ValueError(
            "predictions to compare must cover the same examples in the same order, but "
            f"{differing.size} of {len(first)} labels differ, first at index {at} "
            f"({first.labels[at]} and {second.labels[at]})"
        )


def per_class_accuracy(
    predictions: Predictions, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts the examples of each class and the share of them that was predicted right.

    Returns:
        Counts `[classes]` and accuracies `[classes]`; the accuracy is NaN where the count is 0.

    Raises:
        ValueError: a label is outside `[0, classes)`.
    """
    if not _are_class_ids(predictions.labels, classes):
        raise ValueError(
            f"classes is {classes}, but the labels go up to {predictions.labels.max()}"
        )
    right = predictions.predicted == predictions.labels
    counts = np.bincount(predictions.labels, minlength=classes)
    hits = np.bincount(predictions.labels[right], minlength=classes)
    shares = np.full(classes, np.nan)
    np.divide(hits, counts, out=shares, where=counts > 0)
    return counts, shares
