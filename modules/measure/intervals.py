"""Confidence intervals of what a classifier is judged by, and of its change to another model.

All are two-sided, at the level `confidence` in (0, 1). Shares have closed forms that hold near 0
and 1, where good classifiers live; means and the calibration error are bootstrapped over the
examples. A number that cannot be bounded has the interval (nan, nan), which no limit can rest on.
Numbers of different evaluations are compared by `modules.measure.mover`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modules.measure import metrics
from modules.measure.metrics import Predictions

Interval = tuple[float, float]
RESAMPLES = 2000
_UNKNOWN = (math.nan, math.nan)
_COUNTS_AT_ONCE = 4_000_000  # float64: 32 MB, whatever the number of examples
_BISECTIONS = 60  # halve an interval of 1 below float64's resolution


def proportion(successes: int, trials: int, confidence: float) -> Interval:
    """Wilson's score interval of a share of independent trials.

    Unlike `p +- z * sqrt(p (1 - p) / n)` it has about its level near 0 and 1, has a width where
    no trial or every trial succeeded, and never leaves [0, 1].

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference;
    recommended by Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion.

    Raises:
        ValueError: there is no trial, or not `0 <= successes <= trials`.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"a share needs trials, got {successes} successes in {trials}")
    z = _z(confidence)
    share, weight = successes / trials, z * z / trials
    centre = share + weight / 2
    half = math.sqrt(share * (1 - share) * weight + weight * weight / 4)
    # Rounding would leave an end at 0 or 1 an ulp beside it.
    low = 0.0 if successes == 0 else (centre - half) / (1 + weight)
    high = 1.0 if successes == trials else (centre + half) / (1 + weight)
    return low, high


def paired_difference(
    before_right: ArrayLike, after_right: ArrayLike, confidence: float
) -> Interval:
    """Tango's score interval of a difference of two shares of the same examples.

    It inverts the score test: it holds the differences `d` for which
    `|gained - lost - n d| <= z * sqrt(n (2 q + d (1 - d)))`, with `q` the most likely rate of
    losses given `d`. Examples on which both are right, or both wrong, count in `n` alone. If
    there are no others, it is `+- z^2 / (n + z^2)`.

    For simulated classifiers of 80 to 98 % accuracy, judged on 100 to 2,000 examples, it held the
    truth in 94.3 % of cases or more at a level of 95 %. Newcombe's method 10 did, too, but the
    fewer examples the two answer differently, the more it is wider than need be.

    Source: Tango 1998, Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design, Statistics in Medicine 17:891-908.

    Args:
        before_right: `[n]` bool, whether the one model is right.
        after_right: `[n]` bool, whether the other is, on the same examples.
        confidence: level of the interval.

    Returns:
        Bounds of after - before, within [-1, 1].

    Raises:
        ValueError: there is no example, or the two are not of one length.
    """
    before, after = np.asarray(before_right, dtype=bool), np.asarray(after_right, dtype=bool)
    if before.shape != after.shape or before.ndim != 1 or before.size == 0:
        raise ValueError(
            f"both must be vectors over the same examples, got {before.shape} and {after.shape}"
        )
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    count, z = len(before), _z(confidence)
    # One bound mirrors the other of the exchanged models.
    return -_tango_upper(lost, gained, count, z), _tango_upper(gained, lost, count, z)


def _tango_upper(gained: int, lost: int, count: int, z: float) -> float:
    """The largest difference that the score test does not refuse, by bisection."""
    low, high = (gained - lost) / count, 1.0
    for _ in range(_BISECTIONS):
        d = (low + high) / 2
        b = (2 * count - gained + lost) * d - gained - lost
        root = math.sqrt(max(0.0, b * b + 8 * count * lost * d * (1 - d)))
        variance = count * ((root - b) / (2 * count) + d * (1 - d))
        inside = count * d - (gained - lost) <= z * math.sqrt(max(0.0, variance))
        low, high = (d, high) if inside else (low, d)
    return high


def bootstrap_mean(values: ArrayLike, confidence: float, seed: int) -> Interval:
    """BCa bootstrap interval of a mean; given differences by example, of the paired change.

    Bias-corrected and accelerated: the percentiles are moved by the resamples' median and by the
    values' skewness. Losses are skewed: for a simulated classifier of 97 % accuracy, judged on 360
    examples, the mean lay above the percentiles in 8 % of cases rather than 2.5 %, with BCa in 4 %.

    Source: Efron 1987, Better bootstrap confidence intervals, JASA 82:171-185, sections 3 and 6.

    Args:
        values: `[n]`, one for each example.
        confidence: level of the interval.
        seed: of the resamples.

    Returns:
        The bounds; (nan, nan) if a value is not finite or there are fewer than two.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2 or not np.isfinite(sample).all():
        return _UNKNOWN
    mean = sample.mean()
    deviations = sample - mean
    spread = (deviations**2).sum()
    if spread == 0:
        return float(mean), float(mean)
    resampled = _resampled_means(sample[:, np.newaxis], seed)[:, 0]
    normal = NormalDist()
    below = (resampled < mean).mean() + (resampled == mean).mean() / 2
    bias = normal.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    acceleration = (deviations**3).sum() / (6 * spread**1.5)
    ranks = []
    for z in (-_z(confidence), _z(confidence)):
        # At 1 the formula has a pole, beyond which it would turn round.
        scale = max(1 - acceleration * (bias + z), 1e-9)
        ranks.append(normal.cdf(bias + (bias + z) / scale))
    low, high = np.quantile(resampled, ranks).tolist()
    return low, high


@dataclass(frozen=True)
class _Calibration:
    """An ECE, its values on resampled examples `[RESAMPLES]`, and how far it may be too high."""

    value: float
    resampled: NDArray[np.float64]
    bias: float


def calibration_error(predictions: Predictions, confidence: float, seed: int) -> Interval:
    """Bootstrap interval of `metrics.expected_calibration_error`, allowing for its bias.

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
    if not _has_calibration(predictions):
        return _UNKNOWN
    error = _calibration(predictions, confidence, seed)
    below, above = _deviations(error.resampled, confidence)
    return max(error.value - error.bias + below, 0.0), min(error.value + above, 1.0)


def calibration_error_change(
    reference: Predictions, model: Predictions, confidence: float, seed: int
) -> Interval:
    """Interval of the model's ECE - the reference's, as `calibration_error` makes it.

    Both are taken on the same resamples. How far their biases cancel is not known, so the
    reference's widens the interval above and the model's below.

    Raises:
        ValueError: the two were not made from the same examples in the same order.
    """
    metrics.require_same_examples(reference, model)
    if not (_has_calibration(reference) and _has_calibration(model)):
        return _UNKNOWN
    before, after = (_calibration(each, confidence, seed) for each in (reference, model))
    below, above = _deviations(after.resampled - before.resampled, confidence)
    change = after.value - before.value
    return max(change - after.bias + below, -1.0), min(change + before.bias + above, 1.0)


def _has_calibration(predictions: Predictions) -> bool:
    return len(predictions) >= 2 and bool(np.isfinite(predictions.confidence).all())


def _calibration(predictions: Predictions, confidence: float, seed: int) -> _Calibration:
    count = len(predictions)
    ids = metrics.bin_ids(predictions.confidence, metrics.BINS)
    right = predictions.predicted == predictions.labels
    gaps = np.zeros((count, metrics.BINS))
    gaps[np.arange(count), ids] = right - predictions.confidence
    value = float(np.abs(gaps.mean(axis=0)).sum())
    resampled = np.abs(_resampled_means(gaps, seed)).sum(axis=1)
    variances = predictions.confidence * (1 - predictions.confidence)
    deviations = np.sqrt(np.bincount(ids, weights=variances, minlength=metrics.BINS)) / count
    noise = np.random.default_rng(seed).normal(size=(RESAMPLES, metrics.BINS))
    calibrated = np.abs(noise * deviations).sum(axis=1)
    if value <= np.quantile(calibrated, (1 + confidence) / 2):
        bias = calibrated.mean()
    else:
        bias = resampled.mean() - value
    return _Calibration(value, resampled, float(np.clip(bias, 0, value)))


def _deviations(resampled: NDArray[np.float64], confidence: float) -> Interval:
    """How far below and above their mean the resamples lie; never above it, never below it."""
    ends = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2]) - resampled.mean()
    return min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)


def _resampled_means(columns: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means `[RESAMPLES, k]` of the columns `[n, k]` over resamples of the rows.

    The same seed and number of rows give the same resamples. How often each row was drawn is
    counted first, so that all columns' means are one product of matrices.
    """
    count = len(columns)
    rng = np.random.default_rng(seed)
    at_once = max(1, _COUNTS_AT_ONCE // count)
    means = []
    for start in range(0, RESAMPLES, at_once):
        drawn = np.empty((min(at_once, RESAMPLES - start), count))
        for row in drawn:
            row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
        means.append(drawn @ columns / count)
    return np.concatenate(means)


def describe(
    predictions: Predictions, top_k: Sequence[int], confidence: float, seed: int
) -> dict[str, Interval]:
    """The intervals of one model's numbers: `accuracy`, `loss`, `ece` and `top_k.<k>`.

    Raises:
        ValueError: there is no example.
    """
    count = len(predictions)
    right = int((predictions.label_rank == 0).sum())
    return {
        "accuracy": proportion(right, count, confidence),
        "loss": bootstrap_mean(predictions.loss, confidence, seed),
        "ece": calibration_error(predictions, confidence, seed),
        **{
            f"top_k.{k}": proportion(int((predictions.label_rank < k).sum()), count, confidence)
            for k in top_k
        },
    }


def changes(
    reference: Predictions, model: Predictions, confidence: float, seed: int
) -> dict[str, dict[str, float]]:
    """The model's `accuracy`, `loss` and `ece` minus the reference's, on the same examples.

    Returns:
        For each of the three the `value` of the change and its bounds `low` and `high`.

    Raises:
        ValueError: there is no example, or the two were not made from the same examples in the
            same order.
    """
    metrics.require_same_examples(reference, model)
    before_right, after_right = (each.predicted == each.labels for each in (reference, model))
    statistics = {
        "accuracy": metrics.accuracy,
        "loss": metrics.mean_loss,
        "ece": metrics.expected_calibration_error,
    }
    bounds = {
        "accuracy": paired_difference(before_right, after_right, confidence),
        "loss": bootstrap_mean(model.loss - reference.loss, confidence, seed),
        "ece": calibration_error_change(reference, model, confidence, seed),
    }
    return {
        name: {"value": statistic(model) - statistic(reference), "low": low, "high": high}
        for (name, statistic), (low, high) in zip(statistics.items(), bounds.values(), strict=True)
    }


def _z(confidence: float) -> float:
    """How many standard deviations of the normal distribution hold this probability."""
    return NormalDist().inv_cdf((1 + confidence) / 2)
