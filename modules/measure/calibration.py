"""How far confidences are from the truth: reliability, the calibration error and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modules.measure import bootstrap
from modules.measure.bootstrap import RESAMPLES, UNKNOWN, Interval
from modules.measure.statistic import Change

BINS = 15  # of the calibration error and the reliability diagram; the number of their paper


@dataclass(frozen=True, eq=False)
class Confidences:
    """What a model believed, and what came true.

    Attributes:
      confidence: Probabilities `[n]`, or `[n, c]` of several answers to each example.
      right: Of the same shape: 1 where it came true, else 0.
      weights: `[n]`, or None.
    """

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None

    @property
    def shares(self) -> NDArray[np.float64]:
        """The weights `[n]` with mean 1."""
        if self.weights is None:
            return np.ones(len(self.confidence))
        return self.weights / self.weights.mean()


@dataclass(frozen=True)
class Bin:
    """The answers with a confidence in `(low, high]`; `confidence` and `accuracy` are means."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def bin_ids(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each confidence, from 0: `m` of those in `(m / bins, (m + 1) / bins]`.

    Equal widths, open below and closed above, so that a confidence of exactly 1 is in the last
    bin. So is NaN, which makes that bin's mean and all that is computed from it NaN.

    Raises:
      ValueError: There is no bin.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # m / bins rather than a running sum, so that each edge is the float a reader would write.
    inner_edges = np.arange(1, bins) / bins
    return np.searchsorted(inner_edges, confidence, side="left")


def reliability(answers: Confidences, bins: int = BINS) -> list[Bin]:
    """What a reliability diagram shows: confidence and accuracy of each bin that has answers.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 2.

    Raises:
      ValueError: There is no bin.
    """
    columns = answers.confidence.size // max(len(answers.confidence), 1)
    ids = bin_ids(answers.confidence, bins).ravel()
    weights = np.repeat(answers.shares, columns)

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(ids, weights=values, minlength=bins).astype(np.float64)

    counts, totals = np.bincount(ids, minlength=bins), sums(weights)
    confidences = sums(weights * answers.confidence.ravel())
    hits = sums(weights * answers.right.ravel())
    return [
        Bin(
            low=m / bins,
            high=(m + 1) / bins,
            count=int(counts[m]),
            confidence=float(confidences[m] / totals[m]),
            accuracy=float(hits[m] / totals[m]),
        )
        for m in np.flatnonzero(totals).tolist()
    ]


def error(answers: Confidences, bins: int = BINS) -> float:
    """The expected calibration error: how far confidence is from accuracy, on average.

    `ECE = sum_m |B_m| / n * |acc(B_m) - conf(B_m)|` over the bins of `reliability`.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Returns:
      A value in `[0, 1]`, or NaN if any confidence is NaN.

    Raises:
      ValueError: There is no bin.
    """
    return float(np.abs(_gaps(answers, bins).mean(axis=0)).sum())


def interval(answers: Confidences, confidence: float, seed: int) -> Interval:
    """Bootstrap interval of `error`, allowing for its bias.

    A sum of absolute values only grows by noise: on a few hundred examples a perfectly calibrated
    model has an ECE of some hundredths, and a resample, noisier yet, a higher one. Percentiles of
    the resamples would then leave out both. So the spread alone is taken from the resamples, around
    their mean, and the lower bound is lowered by the bias. Where the ECE is no larger than that of
    a calibrated model may be (each answer right with the probability of its confidence: Broecker
    and Smith 2007, Increasing the reliability of reliability diagrams), the bias is the mean ECE of
    such a model; otherwise it is what the resamples add (Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, section 10.2).

    Returns:
      Bounds in [0, 1] around the ECE; (nan, nan) if a confidence is NaN or there are fewer than
      two examples.
    """
    if not _has_error(answers):
        return UNKNOWN
    found = _resampled(answers, confidence, seed)
    below, above = _deviations(found.resampled, confidence)
    return max(found.value - found.bias + below, 0.0), min(found.value + above, 1.0)


def change(reference: Confidences, model: Confidences, confidence: float, seed: int) -> Change:
    """The model's ECE - the reference's on the same examples, with its interval.

    Both are taken on the same resamples. How far their biases cancel is not known, so the
    reference's widens the interval above and the model's below.
    """
    value = error(model) - error(reference)
    if not (_has_error(reference) and _has_error(model)):
        return Change(value, *UNKNOWN)
    before, after = (_resampled(each, confidence, seed) for each in (reference, model))
    below, above = _deviations(after.resampled - before.resampled, confidence)
    return Change(
        value, max(value - after.bias + below, -1.0), min(value + before.bias + above, 1.0)
    )


@dataclass(frozen=True, eq=False)
class _Resampled:
    """An ECE, its values on resampled examples `[RESAMPLES]`, and how far it may be too high."""

    value: float
    resampled: NDArray[np.float64]
    bias: float


def _has_error(answers: Confidences) -> bool:
    return len(answers.confidence) >= 2 and bool(np.isfinite(answers.confidence).all())


def _gaps(answers: Confidences, bins: int) -> NDArray[np.float64]:
    """Weight times accuracy less confidence by example and bin `[n, bins]`, over its answers."""
    count = len(answers.confidence)
    columns = answers.confidence.size // max(count, 1)
    weights = np.repeat(answers.shares, columns) / max(columns, 1)
    gaps = weights * (answers.right.ravel() - answers.confidence.ravel())
    places = np.repeat(np.arange(count) * bins, columns)
    places += bin_ids(answers.confidence, bins).ravel()
    found = np.bincount(places, weights=gaps, minlength=count * bins)
    return found.reshape(count, bins).astype(np.float64)


def _resampled(answers: Confidences, confidence: float, seed: int) -> _Resampled:
    count = len(answers.confidence)
    gaps = _gaps(answers, BINS)
    value = float(np.abs(gaps.mean(axis=0)).sum())
    columns = np.concatenate([gaps, answers.shares[:, np.newaxis]], axis=1)
    means = bootstrap.resampled_means(bootstrap.grouped(columns, seed), seed)
    resampled = np.abs(means[:, :-1]).sum(axis=1) / means[:, -1]
    answered = answers.confidence.size // count
    weights = np.repeat(answers.shares, answered) / answered
    believed = answers.confidence.ravel()
    variances = np.bincount(
        bin_ids(believed), weights=weights**2 * believed * (1 - believed), minlength=BINS
    )
    noise = np.random.default_rng(seed).normal(size=(RESAMPLES, BINS))
    calibrated = np.abs(noise * np.sqrt(variances) / count).sum(axis=1)
    if value <= np.quantile(calibrated, (1 + confidence) / 2):
        bias = calibrated.mean()
    else:
        bias = resampled.mean() - value
    return _Resampled(value, resampled, float(np.clip(bias, 0, value)))


def _deviations(resampled: NDArray[np.float64], confidence: float) -> Interval:
    """How far below and above their mean the resamples lie; never above it, never below it."""
    ends = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2]) - resampled.mean()
    return min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
