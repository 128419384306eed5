"""What a Distiller may be made of; checked before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras

from modules.distill.methods import METHODS, Term
from modules.errors import ConfigError, ModelError
from modules.models.outputs import check_logits
from modules.tasks.protocol import Task


def check_models(teachers: Sequence[Any], student: Any, task: Task) -> None:
    """Hold teachers to the student; models that Keras knows no graph of have no shape yet.

    Raises:
      ConfigError: One is no model.
      ModelError: One puts out probabilities, or they have different numbers of outputs.
    """
    for name, model in [("student", student), *(("teacher", each) for each in teachers)]:
        # A regression's values may come out of a sigmoid.
        if task.has_logits or not isinstance(model, keras.Model):
            check_logits(model, name)
    for teacher in teachers:
        theirs, ours = (getattr(model, "output_shape", None) for model in (teacher, student))
        if theirs and ours and task.size(theirs[-1]) != task.size(ours[-1]):
            raise ModelError(
                f"the teacher {teacher.name} has {theirs[-1]} outputs, the student {ours[-1]}; "
                "train both on the same data"
            )


def check_objective(terms: Sequence[Term], alpha: Any, temperature: Any, taught: bool) -> None:
    """Check the weight of the labels, the temperature, and that a teacher is made use of.

    Raises:
      ConfigError: One is out of its range.
    """
    if not (_is_number(alpha) and 0 <= alpha <= 1):
        raise ConfigError(
            f"alpha must lie in [0, 1], the weight of the labels, got {alpha!r}; 0.1 is usual"
        )
    if not (_is_number(temperature) and temperature > 0):
        raise ConfigError(f"temperature must be above 0, got {temperature!r}; 4 is usual")
    if taught and alpha < 1 and not terms:
        raise ConfigError(
            f"methods must name at least one of {', '.join(METHODS)}, got none; to learn from the "
            "labels alone, leave the teacher out or set alpha to 1"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)  # NumPy's included
