"""What reports of a task show: which numbers, under which names, in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modules.judge.schema import Change, Entry, Numbers
from modules.settings import Task

Better = Literal["high", "low"]


@dataclass(frozen=True)
class Column:
    """A number of an entry.

    Attributes:
      key: Its field.
      title: Its name for people.
      form: As in `modules.judge.formats.show`.
    """

    key: str
    title: str
    form: str = "share"


@dataclass(frozen=True)
class Presentation:
    """How a task is shown.

    Attributes:
      columns: Of the tables of models; the first is the main number.
      better: Which end of the main number is the better one.
      change_form: Form of its changes.
      brief: Keys of the columns for which a terminal has room.
      by_class: Numbers of each class or label.
      agreement: What agreement means.
    """

    columns: tuple[Column, ...]
    better: Better
    change_form: str
    brief: tuple[str, ...]
    by_class: tuple[Column, ...]
    agreement: str

    @property
    def main(self) -> Column:
        """The number by which models are compared first."""
        return self.columns[0]

    @property
    def terminal(self) -> tuple[Column, ...]:
        """The columns for a terminal."""
        return tuple(each for each in self.columns if each.key in self.brief)

    def value(self, numbers: Numbers) -> float | None:
        """The main number of a model, or on a slice."""
        value: float | None = getattr(numbers, self.main.key)
        return value

    def change(self, numbers: Numbers, other: str = "teacher") -> Change | None:
        """The paired change of the main number."""
        return numbers.against.get(other, {}).get(self.main.key)

    def loss_of(self, numbers: Numbers) -> float:
        """By how much a model is worse than its teacher; infinite if that is not known."""
        change = self.change(numbers)
        if change is None or change.value is None:
            return float("-inf")
        return -change.value if self.better == "high" else change.value


_ACCURACY, _LOSS = Column("accuracy", "accuracy"), Column("loss", "loss")
_F1, _ECE = Column("macro_f1", "macro F1"), Column("ece", "ECE")
_RANKED = (Column("roc_auc", "ROC AUC"), Column("pr_auc", "PR AUC"))
_BALANCED = Column("balanced_accuracy", "balanced accuracy")
_OF_CLASS = (_ACCURACY, Column("f1", "F1"))
_CLASSIFICATION = Presentation(
    columns=(_ACCURACY, _LOSS, _ECE, _BALANCED, _F1),
    better="high",
    change_form="change",
    brief=("accuracy", "loss", "ece"),
    by_class=_OF_CLASS,
    agreement="share of examples with the same class",
)
_BINARY = Presentation(
    columns=(_ACCURACY, *_RANKED, _LOSS, _ECE, _BALANCED, _F1),
    better="high",
    change_form="change",
    brief=("accuracy", "roc_auc", "ece"),
    by_class=_OF_CLASS,
    agreement=_CLASSIFICATION.agreement,
)
_MULTILABEL = Presentation(
    columns=(_ACCURACY, _F1, *_RANKED, _LOSS, _ECE),
    better="high",
    change_form="change",
    brief=("accuracy", "macro_f1", "roc_auc"),
    by_class=(*_OF_CLASS, *_RANKED),
    agreement="share of labels that both give or both do not give",
)
_REGRESSION = Presentation(
    columns=(
        Column("rmse", "RMSE", "value"),
        Column("mae", "MAE", "value"),
        Column("r2", "R²"),
        Column("loss", "squared error", "value"),
    ),
    better="low",
    change_form="signed",
    brief=("rmse", "mae", "r2"),
    by_class=(),
    agreement="share of examples whose values are apart by at most 0.1 standard deviations",
)
_TASKS: dict[Task, Presentation] = {
    "classification": _CLASSIFICATION,
    "binary": _BINARY,
    "multilabel": _MULTILABEL,
    "regression": _REGRESSION,
}


def presentation(task: Task) -> Presentation:
    """How a task is shown."""
    return _TASKS[task]


def top_ks(entries: list[Entry]) -> list[str]:
    """Every k of the top-k accuracies, in order."""
    return sorted({k for entry in entries for k in entry.top_k}, key=int)
