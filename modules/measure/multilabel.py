"""How answers with any number of labels are judged: each label as a question of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modules.measure import statistic
from modules.measure.answers import Answers, checked_weights, require_same_examples
from modules.measure.calibration import Confidences
from modules.measure.ranking import Point, Ranking
from modules.measure.statistic import Statistic
from modules.measure.task_metrics import Agreement, Differing, TaskMetrics, weighted_share


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelAnswers(Answers):
    """What one model said about each label of each example.

    Attributes:
      labels: `[n, c]` bool.
      logits: `[n, c]` float32.
    """

    logits: NDArray[np.float32]

    @classmethod
    def from_outputs(
        cls, labels: ArrayLike, outputs: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Keep one batch.

        Args:
          labels: Multi-hot `[batch, c]`.
          outputs: Logits `[batch, c]`.
          weights: `[batch]`, or None.

        Raises:
          ValueError: The shapes differ, or a label is neither 0 nor 1.
        """
        truth, logits = np.asarray(labels), np.asarray(outputs, np.float32)
        if truth.ndim != 2 or truth.shape != logits.shape:
            raise ValueError(
                f"labels and logits must have shape [batch, labels], got {truth.shape} and "
                f"{logits.shape}"
            )
        if not np.isin(truth, (0, 1)).all():
            raise ValueError(f"labels must be 0 or 1, got {np.unique(truth)[:20]}")
        return cls(
            labels=truth.astype(bool),
            weights=checked_weights(weights, len(truth)),
            logits=logits,
        )

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """`[n, c]`, whether the probability is above 0.5."""
        return self.logits > 0

    @property
    def right(self) -> NDArray[np.bool_]:
        """`[n, c]`, whether that is the label."""
        return self.predicted == self.labels

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """`[n, c]`."""
        return np.exp(-np.logaddexp(0.0, -self.logits.astype(np.float64)))


class Multilabel(TaskMetrics):
    """Any number of several labels."""

    answers: ClassVar[type[LabelAnswers]] = LabelAnswers

    def statistics(self, answers: LabelAnswers) -> dict[str, Statistic]:
        """Numbers of an example are means over its labels, `macro` ones means of each label's.

        `accuracy` is the share of all labels of all examples on whose right side of 0.5 the
        probability is (one minus the Hamming loss), `loss` the mean binary cross-entropy in nats,
        `roc_auc` and `pr_auc` (average precision) are macro means over the labels that are
        present in some examples and absent in others.
        """
        weights = answers.weights
        logits = answers.logits.astype(np.float64)
        losses = np.logaddexp(0.0, np.where(answers.labels, -logits, logits))
        rankings = _rankings(answers)
        return {
            "accuracy": statistic.share(answers.right.mean(axis=1), weights),
            "loss": statistic.mean(losses.mean(axis=1), weights),
            "macro_f1": _macro([_f1(answers, at) for at in range(logits.shape[1])]),
            "roc_auc": _macro([each.roc_auc() for each in rankings]),
            "pr_auc": _macro([each.average_precision() for each in rankings]),
        }

    def confidences(self, answers: LabelAnswers) -> Confidences:
        """Of each label: its probability, and whether it is there."""
        return Confidences(answers.probabilities, answers.labels, answers.weights)

    def agreement(self, teacher: LabelAnswers, student: LabelAnswers) -> Agreement:
        """Share of all labels of all examples for which both say the same at 0.5."""
        require_same_examples(teacher, student)
        same, weights = teacher.predicted == student.predicted, teacher.weights
        repeated = None if weights is None else np.repeat(weights, same.shape[1])
        right, wrong = (
            weighted_share(same.ravel()[where], None if repeated is None else repeated[where])
            for where in (teacher.right.ravel(), ~teacher.right.ravel())
        )
        return Agreement(self.measured(statistic.share(same.mean(axis=1), weights)), right, wrong)

    def differing(
        self, teacher: LabelAnswers, student: LabelAnswers, limit: int
    ) -> list[Differing]:
        """First where the student has lost most labels that the teacher has right.

        Then by the number of labels on which they differ. Answers are the labels' indices;
        a confidence is that of the whole answer, were its labels independent.
        """
        require_same_examples(teacher, student)
        differ = teacher.predicted != student.predicted
        lost, count = (differ & teacher.right).sum(axis=1), differ.sum(axis=1)
        order = np.lexsort((-count, -lost))[: min(limit, int((count > 0).sum()))]

        def indices(chosen: NDArray[np.bool_]) -> list[int]:
            return np.flatnonzero(chosen).tolist()

        return [
            Differing(
                at,
                indices(teacher.labels[at]),
                indices(teacher.predicted[at]),
                indices(student.predicted[at]),
                *(_sureness(each.logits[at]) for each in (teacher, student)),
            )
            for at in order.tolist()
        ]

    def curves(self, answers: LabelAnswers) -> dict[str, list[Point]]:
        """The ROC and the precision-recall curve of all labels of all examples together."""
        count = answers.labels.shape[1]
        weights = None if answers.weights is None else np.repeat(answers.weights, count)
        ranking = Ranking(answers.labels.ravel(), answers.logits.ravel(), weights)
        return {
            "roc": ranking.roc_curve(),
            "precision_recall": ranking.precision_recall_curve(),
        }

    def by_class(
        self, answers: LabelAnswers, classes: int
    ) -> tuple[list[int], list[dict[str, float]]]:
        """Of each label the number of examples that have it, and its own numbers."""
        right = np.average(answers.right, axis=0, weights=answers.weights)
        numbers = [
            {
                "accuracy": float(right[at]),
                "f1": _f1(answers, at).value,
                "roc_auc": ranking.roc_auc().value,
                "pr_auc": ranking.average_precision().value,
            }
            for at, ranking in enumerate(_rankings(answers))
        ]
        return answers.labels.sum(axis=0).tolist(), numbers


def _rankings(answers: LabelAnswers) -> list[Ranking]:
    columns = zip(answers.labels.T, answers.logits.T, strict=True)
    return [Ranking(labels, logits, answers.weights) for labels, logits in columns]


def _f1(answers: LabelAnswers, at: int) -> Statistic:
    """F1 of a label, `2 hits / (examples + predictions)`; 0 where there is neither."""
    labels, predicted = answers.labels[:, at], answers.predicted[:, at]
    weights = np.ones(len(answers)) if answers.weights is None else answers.weights
    hit, total = weights * (labels & predicted), weights * (labels * 1.0 + predicted)
    sum_of_total = float(total.sum())
    given = None if answers.weights is None else answers.weights[labels]
    trials = statistic.effective(given, int(labels.sum()))
    if not sum_of_total:
        return Statistic(0.0, np.zeros(len(answers)), trials)
    value = float(2 * hit.sum() / sum_of_total)
    influence = (2 * hit - value * total) * len(answers) / sum_of_total
    return Statistic(value, influence, trials)


def _macro(labels: list[Statistic]) -> Statistic:
    """The mean over the labels for which there is a number."""
    known = [each for each in labels if not np.isnan(each.value)] or labels
    return Statistic(
        float(np.mean([each.value for each in known])),
        np.mean([each.influence for each in known], axis=0),
        min(each.trials for each in known),
    )


def _sureness(logits: NDArray[np.float32]) -> float:
    """Probability of the answer to all labels."""
    return float(np.exp(-np.logaddexp(0.0, -np.abs(logits.astype(np.float64))).sum()))
