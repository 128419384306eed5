"""What a task decides in training: the meaning of a model's outputs `[b, c]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Tensor = Any


class Task(Protocol):
    """One entry of `modules.tasks.registry`.

    Attributes:
      name: As in the configuration.
      score_name: What `score` is called in the logs; a larger one is better.
      has_logits: Whether outputs are logits, of which probabilities can be taken, or values.
      scale: Unit of the values: errors are divided by it; 1 where outputs are logits.
    """

    name: str
    score_name: str
    has_logits: bool
    scale: float

    def size(self, columns: int) -> int:
        """Number of outputs after `widen`, given the number that a model puts out."""

    def widen(self, outputs: Tensor) -> Tensor:
        """What a model puts out, as the other functions take it, `[b, c]`."""

    def labels(self, labels: Tensor) -> Tensor:
        """Labels in the shape that the other functions take; data sets differ in it."""

    def check_labels(self, labels: np.ndarray, size: int | None) -> None:
        """Check all labels of a data set in memory, given the number of outputs if it is known.

        Raises:
          DataError: One of them cannot be a label of this task.
        """

    def hard_loss(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """The loss against the labels, `[b]`."""

    def score(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """How good each answer is, float32 `[b]`."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Probabilities `[b, c]`, or the values."""

    def combine(self, outputs: Tensor, shares: Sequence[float], temperature: Any) -> Tensor:
        """Several teachers as one.

        Args:
          outputs: `[b, teachers, c]`.
          shares: One for each teacher, above 0, of sum 1.
          temperature: Softens logits; without effect on values.

        Returns:
          Outputs `[b, c]` whose probabilities at this temperature, or values, are the weighted
          mean of theirs.
        """
