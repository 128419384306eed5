"""Which numbers of a report a task has; what it does not have is null there.

Imports nothing heavy: the command line validates configurations with it.
"""

from __future__ import annotations

from modules.settings import Task

_CLASSES = ("accuracy", "loss", "balanced_accuracy", "macro_f1", "ece", "top_k")
_RANKED = ("roc_auc", "pr_auc")
# Of the answers of one model, by task; and those that a slice has, too.
NUMBERS: dict[Task, tuple[str, ...]] = {
    "classification": _CLASSES,
    "binary": (*_CLASSES[:-1], *_RANKED),
    "multilabel": ("accuracy", "loss", "macro_f1", "ece", *_RANKED),
    "regression": ("rmse", "mae", "r2", "loss"),
}
SLICE_NUMBERS: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "loss", "top_k"),
    "binary": ("accuracy", "loss", "roc_auc"),
    "multilabel": ("accuracy", "loss"),
    "regression": ("rmse", "mae", "loss"),
}
# Of the comparison, those that only some tasks have.
_COMPARED: dict[str, tuple[Task, ...]] = {
    "accuracy_change": ("classification", "binary", "multilabel"),
    "agreement_teacher_right": ("classification", "binary", "multilabel"),
    "agreement_teacher_wrong": ("classification", "binary", "multilabel"),
    "mean_absolute_difference": ("regression",),
}
_JUDGED = frozenset().union(*NUMBERS.values())


def tasks_with(number: str, *, on_slice: bool = False) -> tuple[Task, ...]:
    """The tasks whose report has a number of this name, a key of an entry or of the comparison."""
    numbers = SLICE_NUMBERS if on_slice else NUMBERS
    if number in _JUDGED:
        return tuple(task for task, names in numbers.items() if number in names)
    return _COMPARED.get(number, tuple(NUMBERS))
