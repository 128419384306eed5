"""How values are judged: absolute and squared errors, and the share of variance explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modules.measure import statistic
from modules.measure.answers import Answers, checked_weights, require_same_examples
from modules.measure.ranking import Point
from modules.measure.statistic import Change, Statistic
from modules.measure.task_metrics import Agreement, Differing, TaskMetrics

NEAR = 0.1  # of the labels' standard deviation: values no further apart agree
_MOST_POINTS = 500  # of predicted against actual values


@dataclass(frozen=True, eq=False, kw_only=True)
class ValueAnswers(Answers):
    """The value that one model gave to each example.

    Attributes:
      labels: `[n]` float64.
      values: `[n]` float64.
    """

    values: NDArray[np.float64]

    @classmethod
    def from_outputs(
        cls, labels: ArrayLike, outputs: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Keep one batch.

        Args:
          labels: `[batch]`, finite.
          outputs: Values `[batch, 1]` or `[batch]`. One that is not finite makes what is computed
            from it NaN, which the gate refuses.
          weights: `[batch]`, or None.

        Raises:
          ValueError: The lengths differ, or a label is not finite.
        """
        truth = np.asarray(labels, np.float64).reshape(-1)
        values = np.asarray(outputs, np.float64).reshape(-1)
        if truth.shape != values.shape:
            raise ValueError(
                f"there must be one value for each of {len(truth)} labels, got {len(values)}"
            )
        if not np.isfinite(truth).all():
            raise ValueError(f"labels must be finite numbers, got {truth[~np.isfinite(truth)][:5]}")
        return cls(labels=truth, weights=checked_weights(weights, len(truth)), values=values)

    @property
    def errors(self) -> NDArray[np.float64]:
        """`[n]`, value - label."""
        return self.values - self.labels


class Regression(TaskMetrics):
    """A number in the label's own unit."""

    answers: ClassVar[type[ValueAnswers]] = ValueAnswers
    main: ClassVar[str] = "rmse"
    slice_numbers: ClassVar[tuple[str, ...]] = ("rmse", "mae", "loss")
    relative: ClassVar[tuple[str, ...]] = ("rmse", "mae")

    def statistics(self, answers: ValueAnswers) -> dict[str, Statistic]:
        """Mean absolute error, root mean square error, R squared, and mean squared error (loss)."""
        with np.errstate(invalid="ignore", over="ignore"):
            squared = statistic.mean(answers.errors**2, answers.weights)
            return {
                "loss": squared,
                "rmse": _root(squared),
                "mae": statistic.mean(np.abs(answers.errors), answers.weights),
                "r2": _explained(squared, _variance(answers)),
            }

    def agreement(self, teacher: ValueAnswers, student: ValueAnswers) -> Agreement:
        """Share of examples whose values are apart by at most a tenth of the labels' deviation."""
        require_same_examples(teacher, student)
        apart = np.abs(teacher.values - student.values)
        near = apart <= NEAR * np.sqrt(_variance(teacher).value)
        return Agreement(
            self.measured(statistic.share(near, teacher.weights)),
            mean_absolute_difference=self.measured(statistic.mean(apart, teacher.weights)),
        )

    def differing(
        self, teacher: ValueAnswers, student: ValueAnswers, limit: int
    ) -> list[Differing]:
        """Where the values are furthest apart."""
        require_same_examples(teacher, student)
        apart = np.abs(teacher.values - student.values)
        apart[np.isnan(apart)] = np.inf
        order = np.argsort(-apart, kind="stable")[:limit]
        return [
            Differing(
                at, float(teacher.labels[at]), float(teacher.values[at]), float(student.values[at])
            )
            for at in order[apart[order] > 0].tolist()
        ]

    def curves(self, answers: ValueAnswers) -> dict[str, list[Point]]:
        """Label and value of some examples, evenly over the order of the labels."""
        finite = np.flatnonzero(np.isfinite(answers.values))
        order = finite[np.argsort(answers.labels[finite], kind="stable")]
        places = np.linspace(0, len(order) - 1, min(_MOST_POINTS, len(order))).astype(int)
        chosen = order[places]
        pairs = zip(answers.labels[chosen].tolist(), answers.values[chosen].tolist(), strict=True)
        return {"values": list(pairs)}

    def gain(self, reference: ValueAnswers, model: ValueAnswers) -> Change:
        """By how much the RMSE is lower."""
        found = super().gain(reference, model)
        return Change(-found.value, -found.high, -found.low)


def _variance(answers: ValueAnswers) -> Statistic:
    """Of the labels, with the number of examples as divisor."""
    middle = np.average(answers.labels, weights=answers.weights)
    return statistic.mean((answers.labels - middle) ** 2, answers.weights)


def _root(squared: Statistic) -> Statistic:
    root = float(np.sqrt(squared.value))
    return Statistic(root, squared.influence / (2 * root) if root else squared.influence)


def _explained(squared: Statistic, variance: Statistic) -> Statistic:
    """R squared; NaN where all labels are the same."""
    if not variance.value:
        return Statistic(float("nan"), np.full_like(squared.influence, np.nan))
    share = squared.value / variance.value
    influence = (share * variance.influence - squared.influence) / variance.value
    return Statistic(1 - share, influence)
