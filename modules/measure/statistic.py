"""A statistic of the examples, with what each of them contributes: all that intervals need.

Most numbers of a judgment are smooth functions of means over the examples: F1, the area under a
curve, R squared. To first order such a number is itself a mean, of its value and of each example's
influence on it (the infinitesimal jackknife: Efron 1981, Nonparametric estimates of standard
error, Biometrika 68:589-599; for the ROC curve that is DeLong, DeLong and Clarke-Pearson 1988).
So one bootstrap of means gives the intervals of all of them, of their paired changes, and with
weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modules.measure import bootstrap
from modules.measure.bootstrap import Interval
from modules.measure.intervals import paired_difference, proportion


@dataclass(frozen=True, eq=False)
class Statistic:
    """A number and its examples.

    Attributes:
      value: The number, NaN if it is not defined.
      influence: `[n]`, of mean 0: n times how the number changes with an example's weight.
      trials: Effective number of examples that a share rests on, of which the rarest kind counts;
        0 for what is no share.
      hits: `[n]` bool, if the number is the plain share of them: its intervals are exact ones.
    """

    value: float
    influence: NDArray[np.float64]
    trials: float = 0.0
    hits: NDArray[np.bool_] | None = None


def mean(values: ArrayLike, weights: NDArray[np.float64] | None = None) -> Statistic:
    """The weighted mean of numbers without bounds, such as losses."""
    sample = np.asarray(values, np.float64)
    if weights is None:
        average = float(sample.mean())
        return Statistic(average, sample - average)
    average = float(np.average(sample, weights=weights))
    return Statistic(average, (sample - average) * weights / weights.mean())


def share(values: ArrayLike, weights: NDArray[np.float64] | None = None) -> Statistic:
    """The weighted mean of numbers in [0, 1], such as whether an answer is right."""
    sample = np.asarray(values)
    found = replace(mean(sample, weights), trials=effective(weights, len(sample)))
    is_plain = weights is None and sample.dtype == bool
    return replace(found, hits=sample) if is_plain else found


def effective(weights: NDArray[np.float64] | None, count: int) -> float:
    """How many examples of equal weight have as large a variance (Kish 1965, Survey Sampling)."""
    if weights is None:
        return float(count)
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def intervals(
    statistics: Mapping[str, Statistic], confidence: float, seed: int
) -> dict[str, Interval]:
    """The interval of each statistic of the same examples.

    A plain share of examples has Wilson's. Other shares are bootstrapped as their logits: of an
    area under the ROC curve of 0.993 on 100 examples the lower bound was too high in 13 % of
    simulated cases without that, and in none with it. At 0 and 1, where no resample differs, they
    have Wilson's too, on the effective number of examples.
    """
    columns = [_unbounded(each) for each in statistics.values()]
    found = bootstrap.means(np.stack(columns, axis=1), confidence, seed) if columns else []
    bounds = {}
    for (name, each), (low, high) in zip(statistics.items(), found, strict=True):
        if each.hits is not None:
            low, high = proportion(float(each.hits.sum()), len(each.hits), confidence)
        elif each.trials and 0 < each.value < 1:
            low, high = (1 / (1 + math.exp(-end)) for end in (low, high))
        elif each.trials and not math.isnan(each.value):
            low, high = proportion(each.value * each.trials, each.trials, confidence)
        bounds[name] = (low, high)
    return bounds


def _unbounded(statistic: Statistic) -> NDArray[np.float64]:
    """Values `[n]` whose mean is the number, or the logit of a share."""
    value = statistic.value
    if not (statistic.trials and 0 < value < 1):
        return value + statistic.influence
    return math.log(value / (1 - value)) + statistic.influence / (value * (1 - value))


@dataclass(frozen=True)
class Change:
    """A number of one model minus another's, or divided by it, on the same examples."""

    value: float
    low: float
    high: float


def changes(
    reference: Mapping[str, Statistic],
    model: Mapping[str, Statistic],
    confidence: float,
    seed: int,
) -> dict[str, Change]:
    """The paired change `model - reference` of each statistic that both have.

    Shares of examples have Tango's interval. Where no resample changes a share's difference, it is
    Tango's for two models that answer alike.
    """
    names = [name for name in model if name in reference]
    columns = [_difference(reference[name], model[name]) for name in names]
    found = bootstrap.means(np.stack(columns, axis=1), confidence, seed) if columns else []
    result = {}
    for name, (low, high) in zip(names, found, strict=True):
        before, after = reference[name], model[name]
        value = after.value - before.value
        if before.hits is not None and after.hits is not None:
            low, high = paired_difference(before.hits, after.hits, confidence)
        elif after.trials:
            if low == high:
                square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
                least = square / (min(before.trials, after.trials) + square)
                low, high = value - least, value + least
            low, high = max(low, -1.0), min(high, 1.0)
        result[name] = Change(value, low, high)
    return result


def ratio(reference: Statistic, model: Statistic, confidence: float, seed: int) -> Change | None:
    """The paired quotient `model / reference` of two positive numbers; None if one is not above 0.

    Its interval is that of the difference of the logarithms, taken back.
    """
    if not (reference.value > 0 and model.value > 0):
        return None
    value = model.value / reference.value
    influence = model.influence / model.value - reference.influence / reference.value
    low, high = bootstrap.mean(math.log(value) + influence, confidence, seed)
    return Change(value, math.exp(low), math.exp(high))


def _difference(before: Statistic, after: Statistic) -> NDArray[np.float64]:
    return after.value - before.value + after.influence - before.influence
