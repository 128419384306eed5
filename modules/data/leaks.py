"""Finds features that give the label away: each of their values has one label.

Nothing is kept of the values themselves but the first 1,000 different ones of each feature.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from modules.data.raw_examples import RawExample

_MOST_VALUES = 1_000
# Of fewer examples, or of values that are rarer on average, one label may be chance.
_LEAST_EXAMPLES, _LEAST_COUNT = 100, 5
_LONGEST_TEXT = 64


@dataclass
class Leaks:
    """What some training examples say; findings are added up.

    Attributes:
      examples: Their number.
      labels: Of each feature, the label that goes with each value; a missing value counts as one.
        None if a value goes with several labels, or there are too many values.
      equal: Features that are the same number as the label in every example.
    """

    examples: int = 0
    labels: dict[str, dict[Any, Any] | None] = field(default_factory=dict)
    equal: set[str] = field(default_factory=set)

    def add(self, names: Collection[str], raws: Sequence[RawExample]) -> None:
        """Look at some training examples.

        Args:
          names: Of the features to look at, the same in all calls.
          raws: The examples.
        """
        if not raws:
            return
        if not self.examples:
            self.labels, self.equal = {name: {} for name in names}, set(names)
        self.examples += len(raws)
        for name in self.equal.copy():
            if any(raw.features.get(name) != [*raw.label] for raw in raws):
                self.equal.remove(name)
        labels = [tuple(raw.label) for raw in raws]
        for name, known in self.labels.items():
            if known is not None:
                values = [tuple(raw.features.get(name, ())) for raw in raws]
                self.labels[name] = _merge(known, set(zip(values, labels, strict=True)))

    def __add__(self, other: Leaks) -> Leaks:
        if not (self.examples and other.examples):
            return self if self.examples else other
        labels = {
            name: None if known is None or theirs is None else _merge(known, set(theirs.items()))
            for name, known in self.labels.items()
            for theirs in [other.labels[name]]
        }
        return Leaks(self.examples + other.examples, labels, self.equal & other.equal)

    def named(self, *, regression: bool) -> list[str]:
        """Features that give the label away, sorted."""
        if regression:
            return sorted(self.equal)
        enough = self.examples >= _LEAST_EXAMPLES
        return sorted(
            name
            for name, known in self.labels.items()
            if enough and known and 2 <= len(known) <= self.examples / _LEAST_COUNT
        )


def _merge(known: dict[Any, Any], found: Collection[tuple[Any, Any]]) -> dict[Any, Any] | None:
    """All labels by value; None as soon as it is clear that the feature tells nothing."""
    merged = known | dict(found)
    pairs = {*known.items(), *found}
    several = len(pairs) > len(merged) or len(merged) > _MOST_VALUES
    return None if several or any(_is_long(values) for values, _ in found) else merged


def _is_long(values: tuple[Any, ...]) -> bool:
    return any(isinstance(value, bytes) and len(value) > _LONGEST_TEXT for value in values)
