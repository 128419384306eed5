"""What a task decides in the judgment: how answers become the numbers of a report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modules.measure import calibration, statistic
from modules.measure.answers import Answers, require_examples, require_same_examples
from modules.measure.bootstrap import Interval
from modules.measure.calibration import Bin, Confidences
from modules.measure.ranking import Point
from modules.measure.statistic import Change, Statistic


@dataclass(frozen=True)
class Measured:
    """A number and its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Paired:
    """A change from another model, and the quotient of the two numbers where that is asked for."""

    change: Change
    relative: Change | None = None


@dataclass(frozen=True)
class Agreement:
    """How far the student answers as its teacher does.

    Attributes:
      agreement: Share of answers that are the same; what that means is the task's.
      teacher_right: The share where the teacher is right, None where it never is or where answers
        are not right or wrong.
      teacher_wrong: Where it is wrong.
      mean_absolute_difference: Of the values of a regression.
    """

    agreement: Measured
    teacher_right: float | None = None
    teacher_wrong: float | None = None
    mean_absolute_difference: Measured | None = None


@dataclass(frozen=True)
class Differing:
    """An example on which two models differ, by its place; answers as the report has them."""

    at: int
    label: Any
    teacher: Any
    student: Any
    teacher_confidence: float | None = None
    student_confidence: float | None = None


class TaskMetrics(ABC):
    """Numbers, intervals and comparisons of one task.

    Args:
      confidence: Level of the intervals.
      seed: Of the bootstrap.
      top_k: Of classification: an answer counts among the k most probable.
    """

    answers: ClassVar[type[Any]]
    # The number that models are compared by first, and those that a slice has.
    main: ClassVar[str] = "accuracy"
    slice_numbers: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    # Positive numbers of which a quotient is compared, too.
    relative: ClassVar[tuple[str, ...]] = ()

    def __init__(self, confidence: float, seed: int, top_k: Sequence[int] = ()):
        self.confidence = confidence
        self.seed = seed
        self.top_k = tuple(top_k)

    @abstractmethod
    def statistics(self, answers: Any) -> dict[str, Statistic]:
        """The numbers of one model by their dotted names in an entry, but for `ece`."""

    def confidences(self, answers: Any) -> Confidences | None:
        """What the calibration is judged on; None if the task has no probabilities."""
        return None

    @abstractmethod
    def agreement(self, teacher: Any, student: Any) -> Agreement:
        """How far two models answer alike."""

    @abstractmethod
    def differing(self, teacher: Any, student: Any, limit: int) -> list[Differing]:
        """The most telling examples on which two models differ, at most `limit`."""

    def by_class(self, answers: Any, classes: int) -> tuple[list[int], list[dict[str, float]]]:
        """Number of examples, and numbers, of each class or label; none if there are no classes."""
        return [], []

    def confusion(self, answers: Any) -> list[tuple[int, int, int]]:
        """How often each class was predicted as each: `(label, predicted, count)`, no zeros."""
        return []

    def curves(self, answers: Any) -> dict[str, list[Point]]:
        """Points of curves by name: `roc`, `precision_recall`, `values`."""
        return {}

    def gain(self, reference: Any, model: Any) -> Change:
        """By how much a model is better than another in the main number; above 0 is better."""
        return self.changes(reference, model, [self.main])[self.main].change

    def numbers(self, answers: Answers, names: Collection[str] = ()) -> dict[str, Measured]:
        """The numbers of one model with their intervals.

        Args:
          answers: Of the model.
          names: Of the numbers that are wanted; default: all.

        Raises:
          ValueError: There is no example.
        """
        require_examples(answers)
        found = self._wanted(answers, names)
        bounds = statistic.intervals(found, self.confidence, self.seed)
        numbers = {name: Measured(each.value, bounds[name]) for name, each in found.items()}
        believed = self.confidences(answers)
        if believed is not None and (not names or "ece" in names):
            bound = calibration.interval(believed, self.confidence, self.seed)
            numbers["ece"] = Measured(calibration.error(believed), bound)
        return numbers

    def changes(
        self, reference: Answers, model: Answers, names: Collection[str] = ()
    ) -> dict[str, Paired]:
        """The paired changes of the model's numbers from the reference's.

        Raises:
          ValueError: There is no example, or the two are not of the same ones.
        """
        require_examples(model)
        require_same_examples(reference, model)
        before, after = (self._wanted(each, names) for each in (reference, model))
        found = {
            name: Paired(change, self._ratio(name, before, after))
            for name, change in statistic.changes(before, after, self.confidence, self.seed).items()
        }
        pair = self.confidences(reference), self.confidences(model)
        if pair[0] is not None and pair[1] is not None and (not names or "ece" in names):
            change = calibration.change(pair[0], pair[1], self.confidence, self.seed)
            found["ece"] = Paired(change)
        return found

    def reliability(self, answers: Any) -> list[Bin]:
        """The bins of the calibration error; none without probabilities."""
        believed = self.confidences(answers)
        return [] if believed is None else calibration.reliability(believed)

    def measured(self, found: Statistic) -> Measured:
        """A single number with its interval."""
        (bounds,) = statistic.intervals({"": found}, self.confidence, self.seed).values()
        return Measured(found.value, bounds)

    def _wanted(self, answers: Any, names: Collection[str]) -> dict[str, Statistic]:
        found = self.statistics(answers)
        return {
            name: each
            for name, each in found.items()
            if not names or name in names or name.partition(".")[0] in names
        }

    def _ratio(
        self, name: str, before: Mapping[str, Statistic], after: Mapping[str, Statistic]
    ) -> Change | None:
        if name not in self.relative:
            return None
        return statistic.ratio(before[name], after[name], self.confidence, self.seed)


def weighted_share(values: NDArray[Any], weights: NDArray[np.float64] | None) -> float | None:
    """Mean of 0 and 1; None of none, or of weight 0."""
    if not len(values) or (weights is not None and not weights.sum()):
        return None
    return float(np.average(values, weights=weights))
