"""Whether a model knows anything: held against an answer that is the same for every example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.measure.answers import Answers
from modules.measure.class_answers import ClassAnswers
from modules.measure.multilabel import LabelAnswers
from modules.measure.task_metrics import TaskMetrics

# What a perfect model has. Knowledge may show in one of these alone: in the ranking of a rare
# class, say, where no accuracy is above that of always answering the frequent one.
_PERFECT = {"accuracy": 1.0, "r2": 1.0, "balanced_accuracy": 1.0, "roc_auc": 1.0, "loss": 0.0}
# Where the constant answer is all but perfect, as with labels that are all alike.
_LEAST_ROOM = 1e-4
# Of the way from the constant answer to a perfect one: what is clearly less is little.
_LITTLE = 0.25
# On fewer examples nothing is clear.
_FEWEST_EXAMPLES = 50
# Of a class or label that no example has, so that its logarithm is finite.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True)
class Skill:
    """A model beside the best answer that does not look at the example.

    Attributes:
      value: The model's main number: accuracy, of a regression RMSE.
      constant: The same of the constant answer: the most frequent class, the mean.
      weak: Whether the model is clearly of no use: no number is better than the constant answer's
        with its whole interval, and that of accuracy (or R squared) ends below a quarter of the
        way to a perfect model's.
    """

    value: float
    constant: float
    weak: bool


def skill(metrics: TaskMetrics, answers: Answers) -> Skill:
    """Judge answers by the numbers of their task.

    Args:
      metrics: Of the task, with the level of the intervals.
      answers: Of the model.
    """
    fixed = constant_answers(answers)
    mine, constant = metrics.statistics(answers), metrics.statistics(fixed)
    names = [name for name in _PERFECT if name in mine]
    changes = metrics.changes(fixed, answers, names)
    # By name, the interval of the gain as a share of the way to a perfect model.
    gains: dict[str, list[float]] = {}
    for name in names:
        room = _PERFECT[name] - constant[name].value
        if abs(room) >= _LEAST_ROOM:  # NaN is not.
            change = changes[name].change
            gains[name] = sorted((change.low / room, change.high / room))
    first = gains.get(names[0])
    useless = first is not None and not first[1] >= _LITTLE
    return Skill(
        value=mine[metrics.main].value,
        constant=constant[metrics.main].value,
        weak=useless
        and not any(low > 0 for low, _ in gains.values())
        and len(answers) >= _FEWEST_EXAMPLES,
    )


def constant_answers(answers: Answers) -> Answers:
    """The best answers to the same examples that are the same for all of them.

    The logarithms of the classes' frequencies, of each label's odds, or the mean of the values.
    """
    labels, weights = answers.labels, answers.weights
    if isinstance(answers, ClassAnswers):
        classes = max(2, int(labels.max()) + 1)
        share = np.bincount(labels, weights, minlength=classes)
        output = np.log(np.maximum(share / share.sum(), _LEAST_SHARE))
    else:
        output = np.atleast_1d(np.average(labels, axis=0, weights=weights))
        if isinstance(answers, LabelAnswers):
            share = output.clip(_LEAST_SHARE, 1 - _LEAST_SHARE)
            output = np.log(share / (1 - share))
    outputs: NDArray[Any] = np.tile(output, (len(answers), 1))
    return type(answers).from_outputs(labels, outputs, weights)
