"""The judged tasks by name; to add one, write its file, name it here and add its test."""

from __future__ import annotations

from collections.abc import Sequence

from modules.measure.classification import Binary, Classification
from modules.measure.multilabel import Multilabel
from modules.measure.regression import Regression
from modules.measure.task_metrics import TaskMetrics
from modules.settings import Task

_TASKS: dict[Task, type[TaskMetrics]] = {
    "classification": Classification,
    "binary": Binary,
    "multilabel": Multilabel,
    "regression": Regression,
}


def metrics_of(task: Task, confidence: float, seed: int, top_k: Sequence[int] = ()) -> TaskMetrics:
    """How answers of a task become numbers; see `TaskMetrics`."""
    return _TASKS[task](confidence, seed, top_k)
