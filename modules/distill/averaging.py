"""The average of a model's weights along its training, which is what is validated and shipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

# Successive steps differ little, and the weights have to be fetched from the device.
_STEPS_BETWEEN = 16
# While the average is young, it reaches back over a tenth of the training so far, so that the
# first weights are soon forgotten.
_REACH = 9


class AveragedWeights(keras.callbacks.Callback):
    """Exponential moving average of a student's weights (Polyak & Juditsky 1992).

    Running statistics of batch normalization are averaged with the weights that they belong to.
    While the model is validated it has the averaged weights; training goes on with its own.

    Args:
      variables: What is averaged: weights and batch statistics.
      steps: Time constant: weights so many steps ago count 1/e of the last ones.

    Attributes:
      values: The average of each variable; empty before the first update.
      updates: How many weights are in it.
    """

    def __init__(self, variables: Sequence[keras.Variable], steps: float):
        super().__init__()
        self._variables = [each for each in variables if "float" in each.dtype]
        self._steps = steps
        self._done = 0
        self._own: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.updates = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the steps anew."""
        self._done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update now and then, and always behind the last step of an epoch."""
        # A call of several steps names its last one, be the epoch shorter.
        steps = self.params.get("steps") or batch + 1
        done = min(batch + 1, steps)
        passed = done - self._done
        if passed >= _STEPS_BETWEEN or done == steps:
            self.update(passed)
            self._done = done

    def update(self, passed: int) -> None:
        """Take in the present weights, so many steps after the last ones."""
        weights = self._present()
        if not self.values:
            self.values = weights
        momentum = min(math.exp(-passed / self._steps), self.updates / (self.updates + _REACH))
        for value, weight in zip(self.values, weights, strict=True):
            # In this form what never changes stays the same to the bit.
            value += np.asarray((1 - momentum) * (weight - value), value.dtype)
        self.updates += 1

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation is of the average."""
        if self.values:
            self._own = self._present()
            self._assign(self.values)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Training goes on with the model's own weights."""
        if self._own:
            self._assign(self._own)
            self._own = []

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights while this lasts."""
        self.on_test_begin()
        try:
            yield
        finally:
            self.on_test_end()

    def _present(self) -> list[np.ndarray]:
        return [each.numpy() for each in self._variables]

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
