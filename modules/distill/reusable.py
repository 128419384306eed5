"""A training model that tries several objectives one after the other, and is compiled once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from modules.distill.distiller import Distiller
from modules.distill.losses import Tensor
from modules.distill.methods import Term
from modules.settings import DistillSettings, MethodSettings


class ReusableDistiller(Distiller):
    """A Distiller whose objective is one of several; alpha, temperature and shares are variables.

    So is the number of epochs, over which the learning rate falls. Tracing a small student takes
    longer than training it for a few epochs. All methods are computed in every step, and those that
    the objective does not have count nothing.

    Args:
      teachers: As of a Distiller.
      student: The model to train; `begin_anew` gives it its first weights again.
      objectives: What it may be trained for; without any, the labels alone.
      weights: Shares of the teachers.
      task: As of a Distiller.

    Attributes:
      epochs: Of the present training; for the optimizer's schedule.
    """

    def __init__(
        self,
        teachers: Sequence[keras.Model] | None,
        student: keras.Model,
        objectives: Sequence[DistillSettings],
        weights: Sequence[float] | None,
        task: Any,
    ):
        self._methods: list[MethodSettings] = []
        for each in objectives:
            self._methods += [method for method in each.methods if method not in self._methods]
        super().__init__(teachers, student, self._methods, 0.5, 1.0, weights, task)
        if objectives:
            self._alpha: Any = _variable("alpha")
            self._temperature: Any = _variable("temperature")
        self.epochs = _variable("epochs")
        self._shares = {term.name: _variable(f"{term.name}_share") for term in self._objective}
        self._first: list[np.ndarray] = []

    def begin_anew(self, objective: DistillSettings, epochs: int) -> None:
        """Forget all training, and begin one of so many epochs; the model must be compiled."""
        variables = [*self.variables, *self.optimizer.variables]
        if not self._first:
            self._first = [keras.ops.convert_to_numpy(each) for each in variables]
        for variable, value in zip(variables, self._first, strict=True):
            variable.assign(value)
        self.epochs.assign(epochs)
        if not self._objective:
            return
        self._alpha.assign(objective.alpha)
        self._temperature.assign(objective.temperature)
        for term in self._objective:
            self._shares[term.name].assign(float(term.settings in objective.methods))

    def _weight(self, term: Term) -> Tensor:
        return self._shares[term.name].value * super()._weight(term)


def _variable(name: str) -> keras.Variable:
    return keras.Variable(1.0, trainable=False, name=name, dtype="float32")
