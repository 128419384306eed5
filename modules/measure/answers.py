"""What a model answered to the examples of a split: the few numbers per example that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """Base of the answers of every task: columns with one row for each example.

    Batches are reduced as they come, so that judging needs memory for these columns alone.

    Attributes:
      labels: `[n]` or `[n, c]`, the truth.
      weights: `[n]` float64, at least 0, or None where all examples count alike.

    Raises:
      ValueError: The columns are not of one length.
    """

    labels: NDArray[Any]
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shapes = {name: column.shape for name, column in self._columns().items()}
        if len({shape[:1] for shape in shapes.values()}) != 1 or not all(shapes.values()):
            raise ValueError(f"answers need columns of one length, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_outputs(
        cls, labels: ArrayLike, outputs: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Reduce one batch of labels and of a model's outputs `[batch, c]`."""
        raise NotImplementedError

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Join batches in the given order.

        Raises:
          ValueError: There is no batch, or only some have weights.
        """
        if not batches:
            raise ValueError(f"batches must hold at least one {cls.__name__}, got none")
        columns = [batch._columns() for batch in batches]
        if any(each.keys() != columns[0].keys() for each in columns):
            raise ValueError("batches must all have weights, or none of them")
        return cls(
            **{name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
        )

    def select(self, mask: NDArray[Any]) -> Self:
        """The examples that a boolean mask `[n]` or an array of indices picks out."""
        return type(self)(**{name: column[mask] for name, column in self._columns().items()})

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if column is not None}


def checked_weights(weights: ArrayLike | None, count: int) -> NDArray[np.float64] | None:
    """Weights of a batch as a column.

    Raises:
      ValueError: They are not one for each example, or one is negative.
    """
    if weights is None:
        return None
    found = np.asarray(weights, np.float64).reshape(-1)
    if len(found) != count or not (found >= 0).all():
        raise ValueError(f"weights must be {count} numbers of at least 0, got {found[:20]}")
    return found


def require_same_examples(first: Answers, second: Answers) -> None:
    """Refuse two sets of answers that cannot be compared example by example.

    Raises:
      ValueError: Their lengths or labels differ.
    """
    if len(first) != len(second):
        raise ValueError(
            f"answers to compare must cover the same examples, got {len(first)} and {len(second)}"
        )
    differing = (first.labels != second.labels).reshape(len(first), -1).any(axis=1)
    if differing.any():
        at = int(differing.argmax())
        raise ValueError(
            "answers to compare must cover the same examples in the same order, but "
            f"{differing.sum()} of {len(first)} labels differ, first at index {at} "
            f"({first.labels[at]} and {second.labels[at]})"
        )


def require_examples(answers: Answers) -> None:
    """Refuse to judge on nothing.

    Raises:
      ValueError: There is no example.
    """
    if len(answers) == 0:
        raise ValueError("answers hold no example, so there is nothing to judge")
