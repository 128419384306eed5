"""How well scores put positive examples before negative ones: ROC and precision-recall curves.

Of weighted examples every count is a sum of weights. A number that is not defined (one of the two
kinds is absent, a score is NaN) is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from modules.measure.statistic import Statistic, effective

Point = tuple[float, float]
_MOST_POINTS = 200  # of a curve


class Ranking:
    """Examples of two kinds by falling score; equal scores share a step.

    Args:
      positive: `[n]` bool.
      scores: `[n]`, larger for what is more likely positive.
      weights: `[n]`, or None.
    """

    def __init__(
        self,
        positive: NDArray[np.bool_],
        scores: NDArray[np.floating],
        weights: NDArray[np.float64] | None = None,
    ):
        self._positive, self._given = positive, weights
        self._weights = np.ones(len(scores)) if weights is None else weights
        distinct, ascending = np.unique(scores, return_inverse=True)
        self._step = len(distinct) - 1 - ascending
        # Weight of each kind that is ranked at least as high as each step.
        self._true, self._false = (
            np.bincount(self._step[kind], self._weights[kind], len(distinct)).cumsum()
            for kind in (positive, ~positive)
        )
        has_both = len(distinct) > 0 and self._true[-1] > 0 and self._false[-1] > 0
        self._is_defined = bool(has_both and not np.isnan(scores).any())

    def roc_auc(self) -> Statistic:
        """Area under the ROC curve: how often a positive example is before a negative one.

        A tie counts half. The influences are the structural components of DeLong, DeLong and
        Clarke-Pearson 1988, Comparing the areas under two or more correlated receiver operating
        characteristic curves, Biometrics 44:837-845.
        """
        if not self._is_defined:
            return self._undefined()
        positives, negatives = self._true[-1], self._false[-1]
        of_step = np.diff(self._false, prepend=0.0)
        # For a positive example the share of negatives below it, for a negative one the share of
        # positives above; those of its own step count half.
        below = 1 - (self._false - of_step / 2) / negatives
        above = (self._true - np.diff(self._true, prepend=0.0) / 2) / positives
        value = float((np.diff(self._true, prepend=0.0) * below).sum() / positives)
        influence = np.where(
            self._positive,
            (below[self._step] - value) / positives,
            (above[self._step] - value) / negatives,
        )
        return self._statistic(value, influence)

    def average_precision(self) -> Statistic:
        """Area under the precision-recall curve, as the mean precision at the positive examples.

        Steps are not joined by lines, which would be too optimistic (Davis and Goadrich 2006).
        """
        if not self._is_defined:
            return self._undefined()
        positives, of_step = self._true[-1], np.diff(self._true, prepend=0.0)
        ranked = self._true + self._false
        precision = self._true / np.where(ranked > 0, ranked, 1.0)
        value = float((of_step * precision).sum() / positives)
        # An example changes the precision at every step from its own on: a positive one by
        # (1 - precision) / ranked, a negative one by -precision / ranked.
        falls = of_step / np.where(ranked > 0, ranked, 1.0)
        gained = (falls * (1 - precision))[::-1].cumsum()[::-1]
        lost = (falls * precision)[::-1].cumsum()[::-1]
        influence = np.where(
            self._positive,
            precision[self._step] - value + gained[self._step],
            -lost[self._step],
        )
        return self._statistic(value, influence / positives)

    def roc_curve(self) -> list[Point]:
        """False and true positive rates, from (0, 0) to (1, 1); thinned out."""
        if not self._is_defined:
            return []
        x, y = (np.concatenate([[0.0], each / each[-1]]) for each in (self._false, self._true))
        return _thinned(x, y)

    def precision_recall_curve(self) -> list[Point]:
        """Recall and precision of each step; thinned out."""
        if not self._is_defined:
            return []
        ranked = self._true + self._false
        known = ranked > 0
        return _thinned(self._true[known] / self._true[-1], self._true[known] / ranked[known])

    def _statistic(self, value: float, influence: NDArray[np.float64]) -> Statistic:
        return Statistic(value, influence * self._weights * len(influence), self._trials())

    def _undefined(self) -> Statistic:
        return Statistic(math.nan, np.full(len(self._step), math.nan), self._trials())

    def _trials(self) -> float:
        kinds = (self._positive, ~self._positive)
        return min(
            effective(None if self._given is None else self._given[kind], int(kind.sum()))
            for kind in kinds
        )


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[Point]:
    """At most about `_MOST_POINTS` of a curve's points, evenly along it; the ends are kept."""
    kept = np.arange(len(x))
    if len(x) > _MOST_POINTS:
        length = np.concatenate([[0.0], (np.abs(np.diff(x)) + np.abs(np.diff(y))).cumsum()])
        places = np.searchsorted(length, np.linspace(0, length[-1], _MOST_POINTS))
        kept = np.union1d(places.clip(max=len(x) - 1), [0, len(x) - 1])
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
