"""The tasks by name; to add one, write its file, name it here and add its test."""

from __future__ import annotations

from collections.abc import Callable

from modules.errors import ConfigError, did_you_mean
from modules.tasks.classification import Binary, Classification
from modules.tasks.multilabel import Multilabel
from modules.tasks.protocol import Task
from modules.tasks.regression import Regression

_TASKS: dict[str, Callable[[], Task]] = {
    "classification": Classification,
    "binary": Binary,
    "multilabel": Multilabel,
    "regression": Regression,
}


def make_task(task: str | Task, scale: float = 1.0) -> Task:
    """A task by name; one that is made already is returned.

    Args:
      task: The name, as in the configuration.
      scale: Of regression: the standard deviation of the labels.

    Raises:
      ConfigError: There is none of this name.
    """
    if not isinstance(task, str):
        return task
    if task not in _TASKS:
        raise ConfigError(
            f"task must be one of {', '.join(_TASKS)}, got {task!r}{did_you_mean(task, _TASKS)}"
        )
    return Regression(scale) if task == Regression.name else _TASKS[task]()
