"""Statistics that judge a classifier, computed from a few numbers per example.

Logits are reduced batch by batch to `Predictions` (five numbers per example), so that judging
needs memory for the examples, never for examples times classes. Nothing here knows what an
example is; NumPy is the only dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15  # of the calibration error and the reliability diagram; the number of their paper


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model said about each example of a split, in the order of the split.

    Attributes:
      labels: `[n]` int64, the true classes.
      predicted: `[n]` int64, the class with the largest logit; the lowest index wins a tie.
      confidence: `[n]` float64, softmax probability of the predicted class.
      loss: `[n]` float64, cross-entropy against the label, in nats.
      label_rank: `[n]` int64, how many classes come before the label when they are ordered by
          logit, ties by index: 0 where the label is predicted.

    Raises:
      ValueError: the arrays are not vectors of one common length.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]
    label_rank: NDArray[np.int64]

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
        a diverged model is to be refused by the gate, not to stop the judging. NaN ranks first,
        as `argmax` has it.

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
            label_rank=_label_ranks(scores, label_ids),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[Predictions]) -> Predictions:
        """Joins batches in the given order.

        Raises:
          ValueError: there is no batch.
        """
        if not batches:
            raise ValueError("batches must hold at least one Predictions, got none")
        columns = zip(*(vars(batch).values() for batch in batches), strict=True)
        return cls(*map(np.concatenate, columns))

    def select(self, mask: NDArray[Any]) -> Predictions:
        """The examples that a boolean mask `[n]` or an array of indices picks out."""
        return Predictions(*(column[mask] for column in vars(self).values()))


def _label_ranks(scores: NDArray[np.float64], label_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes `argmax` would name before the label, were they struck out in turn."""
    own = scores[np.arange(len(label_ids)), label_ids][:, np.newaxis]
    larger = (scores > own) | (np.isnan(scores) & ~np.isnan(own))
    equal = (scores == own) | (np.isnan(scores) & np.isnan(own))
    earlier = np.arange(scores.shape[1]) < label_ids[:, np.newaxis]
    return (larger | (equal & earlier)).sum(axis=1)


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


def top_k_accuracy(predictions: Predictions, k: int) -> float:
    """Share of examples whose label is among the k classes with the largest logits.

    Raises:
      ValueError: there is no example, or k is below 1.
    """
    _require_examples(predictions)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return float(np.mean(predictions.label_rank < k))


def mean_loss(predictions: Predictions) -> float:
    """Mean cross-entropy in nats; NaN if it is NaN for any example."""
    _require_examples(predictions)
    return float(np.mean(predictions.loss))


@dataclass(frozen=True)
class Bin:
    """The examples with a confidence in `(low, high]`; `confidence` and `accuracy` are means."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def bin_ids(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each confidence, from 0: `m` of those in `(m / bins, (m + 1) / bins]`.

    Equal widths, open below and closed above, so that a confidence of exactly 1 is in the last
    bin. So is NaN, which makes that bin's mean and all that is computed from it NaN.

    Raises:
      ValueError: there is no bin.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # m / bins rather than a running sum, so that each edge is the float a reader would write.
    inner_edges = np.arange(1, bins) / bins
    return np.searchsorted(inner_edges, confidence, side="left")


def reliability(predictions: Predictions, bins: int = BINS) -> list[Bin]:
    """What a reliability diagram shows: confidence and accuracy of each bin that has examples.

    The bins are those of `expected_calibration_error`, which is the mean of their
    `|accuracy - confidence|`, weighted by `count`.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 2.

    Raises:
      ValueError: there is no example or no bin.
    """
    _require_examples(predictions)
    ids = bin_ids(predictions.confidence, bins)
    right = (predictions.predicted == predictions.labels).astype(np.float64)
    counts = np.bincount(ids, minlength=bins)
    hits = np.bincount(ids, weights=right, minlength=bins)
    confidences = np.bincount(ids, weights=predictions.confidence, minlength=bins)
    return [
        Bin(
            low=m / bins,
            high=(m + 1) / bins,
            count=int(counts[m]),
            confidence=float(confidences[m] / counts[m]),
            accuracy=float(hits[m] / counts[m]),
        )
        for m in np.flatnonzero(counts).tolist()
    ]


def expected_calibration_error(predictions: Predictions, bins: int = BINS) -> float:
    """How far confidence is from accuracy, on average over the examples.

    `ECE = sum_m |B_m| / n * |acc(B_m) - conf(B_m)|` over the bins of `reliability`.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Args:
      predictions: at least one example.
      bins: number of bins; 15 is the paper's.

    Returns:
      A value in `[0, 1]`, or NaN if any confidence is NaN.

    Raises:
      ValueError: there is no example or no bin.
    """
    found = reliability(predictions, bins)
    gaps = (each.count * abs(each.accuracy - each.confidence) for each in found)
    return sum(gaps) / len(predictions)


def agreement(first: Predictions, second: Predictions) -> float:
    """Share of examples on which two models predict the same class, right or wrong.

    Raises:
      ValueError: the two were not made from the same examples in the same order, as far as
          lengths and labels can tell; the share would mean nothing.
    """
    require_same_examples(first, second)
    _require_examples(first)
    return float(np.mean(first.predicted == second.predicted))


def agreement_by_teacher(
    teacher: Predictions, student: Predictions
) -> tuple[float | None, float | None]:
    """Agreement where the teacher is right, and where it is wrong.

    The first says how much of the teacher's skill was taken over, the second how many of its
    mistakes. None stands for a share of no example.

    Raises:
      ValueError: the two were not made from the same examples in the same order.
    """
    require_same_examples(teacher, student)
    same = teacher.predicted == student.predicted
    right = teacher.predicted == teacher.labels
    shares = [float(np.mean(same[where])) if where.any() else None for where in (right, ~right)]
    return shares[0], shares[1]


def disagreements(teacher: Predictions, student: Predictions, limit: int) -> NDArray[np.int64]:
    """The examples on which two models differ that say most about the student.

    First what the student has lost: where the teacher is right and the student wrong. Then the
    rest. Within both, the student's most confident answers come first.

    Args:
      teacher: of the same examples as the student's, in the same order.
      student: its answers.
      limit: largest number of examples.

    Returns:
      Indices of the examples, at most `limit`.

    Raises:
      ValueError: the two were not made from the same examples in the same order.
    """
    require_same_examples(teacher, student)
    differing = np.flatnonzero(teacher.predicted != student.predicted)
    lost = (teacher.predicted == teacher.labels)[differing]
    order = np.lexsort((-student.confidence[differing], ~lost))  # the last key sorts first
    return differing[order][:limit]


def require_same_examples(first: Predictions, second: Predictions) -> None:
    """Refuses two sets of answers that cannot be compared example by example.

    Raises:
      ValueError: their lengths or labels differ.
    """
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


def confusion(predictions: Predictions) -> list[tuple[int, int, int]]:
    """How often each class was predicted as each: `(label, predicted, count)`, sorted, no zeros.

    Needs memory for the cells that occur, not for all pairs of classes.
    """
    pairs = np.stack([predictions.labels, predictions.predicted], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return [
        (label, predicted, count)
        for (label, predicted), count in zip(cells.tolist(), counts.tolist(), strict=True)
    ]


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
