"""Bootstrap intervals of means over the examples.

SciPy's BCa interval is the same to the last digits, but its jackknife takes a mean of n - 1 values
for each of n examples: at 20,000 examples that is 7 times slower, and it grows with the square.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
RESAMPLES = 2000
UNKNOWN = (math.nan, math.nan)
_COUNTS_AT_ONCE = 4_000_000  # float64: 32 MB, whatever the number of examples
# More examples are averaged in so many random groups first, which has the same spread.
_MOST_ROWS = 20_000


def mean(values: ArrayLike, confidence: float, seed: int) -> Interval:
    """The interval of one mean; see `means`."""
    (found,) = means(np.asarray(values, np.float64)[:, np.newaxis], confidence, seed)
    return found


def means(columns: ArrayLike, confidence: float, seed: int) -> list[Interval]:
    """BCa bootstrap intervals of the columns' means; given differences, of paired changes.

    Bias-corrected and accelerated: the percentiles are moved by the resamples' median and by the
    values' skewness. Losses are skewed: for a simulated classifier of 97 % accuracy, judged on 360
    examples, the mean lay above the percentiles in 8 % of cases rather than 2.5 %, with BCa in 4 %.

    Source: Efron 1987, Better bootstrap confidence intervals, JASA 82:171-185, sections 3 and 6.

    Args:
      columns: `[n, k]`, one row for each example.
      confidence: Level of the intervals.
      seed: Of the resamples.

    Returns:
      The bounds by column; (nan, nan) if a value is not finite or there are fewer than two rows.
    """
    sample = np.asarray(columns, np.float64)
    finite = np.isfinite(sample.sum(axis=0))
    if len(sample) < 2:
        return [UNKNOWN] * sample.shape[1]
    sample = grouped(np.where(finite, sample, 0.0), seed)
    averages = sample.mean(axis=0)
    resampled = resampled_means(sample, seed)
    return [
        _accelerated(sample[:, at] - averages[at], averages[at], resampled[:, at], confidence)
        if finite[at]
        else UNKNOWN
        for at in range(sample.shape[1])
    ]


def _accelerated(
    deviations: NDArray[np.float64],
    average: float,
    resampled: NDArray[np.float64],
    confidence: float,
) -> Interval:
    """The interval of one mean, given how far each value is from it."""
    spread = (deviations**2).sum()
    # What rounding makes of equal values is no spread.
    if math.sqrt(spread / len(deviations)) <= 1e-12 * abs(average) or spread == 0:
        return float(average), float(average)
    normal = NormalDist()
    below = (resampled < average).mean() + (resampled == average).mean() / 2
    bias = normal.inv_cdf(min(max(below, 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    acceleration = (deviations**3).sum() / (6 * spread**1.5)
    ranks = []
    for level in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = normal.inv_cdf(level)
        # At 1 the formula has a pole, beyond which it would turn round.
        scale = max(1 - acceleration * (bias + z), 1e-9)
        ranks.append(normal.cdf(bias + (bias + z) / scale))
    low, high = np.quantile(resampled, ranks).tolist()
    return low, high


def grouped(columns: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The rows, or of very many rows the means of groups of equal size, drawn at random.

    The mean of the groups is that of the rows but for the fewer than one in `_MOST_ROWS` that are
    left over, and so are the variance and the skewness of that mean.
    """
    size = -(-len(columns) // _MOST_ROWS)
    if size == 1:
        return columns
    count = len(columns) // size
    order = np.random.default_rng(seed).permutation(len(columns))
    groups = columns[order[: count * size]].reshape(count, size, -1).mean(axis=1)
    return groups - groups.mean(axis=0) + columns.mean(axis=0)


def resampled_means(columns: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means `[RESAMPLES, k]` of the columns `[n, k]` over resamples of the rows.

    The same seed and number of rows give the same resamples. How often each row was drawn is
    counted first, so that all columns' means are one product of matrices.
    """
    count = len(columns)
    rng = np.random.default_rng(seed)
    at_once = max(1, _COUNTS_AT_ONCE // count)
    found = []
    for start in range(0, RESAMPLES, at_once):
        drawn = np.empty((min(at_once, RESAMPLES - start), count))
        for row in drawn:
            row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
        found.append(drawn @ columns / count)
    return np.concatenate(found)
