"""How classifiers are judged: accuracy, log loss, F1, calibration; of two classes ranking, too."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from modules.measure import statistic
from modules.measure.answers import require_same_examples
from modules.measure.calibration import Confidences
from modules.measure.class_answers import ClassAnswers, are_class_ids
from modules.measure.ranking import Point, Ranking
from modules.measure.statistic import Statistic
from modules.measure.task_metrics import Agreement, Differing, TaskMetrics, weighted_share


class Classification(TaskMetrics):
    """One of several classes."""

    answers: ClassVar[type[ClassAnswers]] = ClassAnswers
    slice_numbers: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "top_k")

    def statistics(self, answers: ClassAnswers) -> dict[str, Statistic]:
        """Accuracy, cross-entropy in nats, balanced accuracy, macro F1, and top-k accuracies."""
        return {
            "accuracy": statistic.share(answers.right, answers.weights),
            "loss": statistic.mean(answers.loss, answers.weights),
            "balanced_accuracy": balanced_accuracy(answers),
            "macro_f1": macro_f1(answers),
            **{
                f"top_k.{k}": statistic.share(answers.label_rank < k, answers.weights)
                for k in self.top_k
            },
        }

    def confidences(self, answers: ClassAnswers) -> Confidences:
        """Of the predicted class."""
        return Confidences(answers.confidence, answers.right, answers.weights)

    def agreement(self, teacher: ClassAnswers, student: ClassAnswers) -> Agreement:
        """Share of examples on which both predict the same class, right or wrong.

        Where the teacher is right it says how much of its skill was taken over, where it is wrong
        how many of its mistakes.
        """
        require_same_examples(teacher, student)
        same, weights = teacher.predicted == student.predicted, teacher.weights
        right, wrong = (
            weighted_share(same[where], None if weights is None else weights[where])
            for where in (teacher.right, ~teacher.right)
        )
        return Agreement(self.measured(statistic.share(same, weights)), right, wrong)

    def differing(
        self, teacher: ClassAnswers, student: ClassAnswers, limit: int
    ) -> list[Differing]:
        """First what the student has lost: where the teacher is right and the student wrong.

        Then the rest. Within both, the student's most confident answers come first.
        """
        require_same_examples(teacher, student)
        differing = np.flatnonzero(teacher.predicted != student.predicted)
        lost = teacher.right[differing]
        order = np.lexsort((-student.confidence[differing], ~lost))  # the last key sorts first
        return [
            Differing(
                at,
                int(teacher.labels[at]),
                int(teacher.predicted[at]),
                int(student.predicted[at]),
                float(teacher.confidence[at]),
                float(student.confidence[at]),
            )
            for at in differing[order][:limit].tolist()
        ]

    def by_class(
        self, answers: ClassAnswers, classes: int
    ) -> tuple[list[int], list[dict[str, float]]]:
        """Share of each class' examples that is predicted right, and its F1."""
        if not are_class_ids(answers.labels, classes):
            raise ValueError(
                f"classes is {classes}, but the labels go up to {answers.labels.max()}"
            )
        true, predicted, hit = _class_weights(answers, classes)
        with np.errstate(invalid="ignore"):
            numbers = {"accuracy": hit / true, "f1": 2 * hit / (true + predicted)}
        counts = np.bincount(answers.labels, minlength=classes).tolist()
        return counts, [
            {name: float(values[at]) for name, values in numbers.items()} for at in range(classes)
        ]

    def confusion(self, answers: ClassAnswers) -> list[tuple[int, int, int]]:
        """Needs memory for the cells that occur, not for all pairs of classes."""
        pairs = np.stack([answers.labels, answers.predicted], axis=1)
        cells, counts = np.unique(pairs, axis=0, return_counts=True)
        return [
            (label, predicted, count)
            for (label, predicted), count in zip(cells.tolist(), counts.tolist(), strict=True)
        ]


class Binary(Classification):
    """One of two classes, of which the second counts as positive."""

    slice_numbers: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "roc_auc")

    def statistics(self, answers: ClassAnswers) -> dict[str, Statistic]:
        """Also the areas under the ROC and the precision-recall curve (average precision)."""
        ranking = self._ranking(answers)
        return super().statistics(answers) | {
            "roc_auc": ranking.roc_auc(),
            "pr_auc": ranking.average_precision(),
        }

    def curves(self, answers: ClassAnswers) -> dict[str, list[Point]]:
        """The ROC and the precision-recall curve."""
        ranking = self._ranking(answers)
        return {
            "roc": ranking.roc_curve(),
            "precision_recall": ranking.precision_recall_curve(),
        }

    def _ranking(self, answers: ClassAnswers) -> Ranking:
        if answers.margin is None:
            raise ValueError("binary answers must come of 2 logits for each example")
        return Ranking(answers.labels == 1, answers.margin, answers.weights)


def balanced_accuracy(answers: ClassAnswers) -> Statistic:
    """Mean over the classes of the share of their examples that is predicted right.

    Classes without an example do not count, as in scikit-learn.
    """
    true, _, hit = _class_weights(answers)
    present = true > 0
    recalls = np.divide(hit, true, out=np.zeros_like(hit), where=present)
    count = len(answers)
    influence = (answers.right - recalls[answers.labels]) / true[answers.labels].clip(1e-300)
    influence *= _weights(answers) * count / present.sum()
    return Statistic(float(recalls[present].mean()), influence, _rarest(answers))


def macro_f1(answers: ClassAnswers) -> Statistic:
    """Mean over the classes of F1, `2 hits / (examples + predictions)`.

    A class that is neither a label nor predicted does not count, as in scikit-learn.
    """
    true, predicted, hit = _class_weights(answers)
    total = true + predicted
    known = total > 0
    f1 = np.divide(2 * hit, total, out=np.zeros_like(hit), where=known)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=known)
    influence = (
        2 * answers.right * inverse[answers.labels]
        - (f1 * inverse)[answers.labels]
        - (f1 * inverse)[answers.predicted]
    )
    influence *= _weights(answers) * len(answers) / known.sum()
    return Statistic(float(f1[known].mean()), influence, _rarest(answers))


def _weights(answers: ClassAnswers) -> NDArray[np.float64]:
    return np.ones(len(answers)) if answers.weights is None else answers.weights


def _class_weights(answers: ClassAnswers, classes: int = 0) -> tuple[NDArray[np.float64], ...]:
    """By class, the weight of its examples, of its predictions, and of those that are right."""
    size = max(classes, int(answers.labels.max()) + 1, int(answers.predicted.max()) + 1)
    weights = _weights(answers)
    return tuple(
        np.bincount(ids, weights=counted, minlength=size).astype(np.float64)
        for ids, counted in (
            (answers.labels, weights),
            (answers.predicted, weights),
            (answers.labels, weights * answers.right),
        )
    )


def _rarest(answers: ClassAnswers) -> float:
    """Effective number of examples of the rarest class."""
    ids, weights = answers.labels, _weights(answers)
    sums = np.bincount(ids, weights=weights)
    squares = np.bincount(ids, weights=weights**2)
    return float(min(sums[squares > 0] ** 2 / squares[squares > 0], default=0.0))
