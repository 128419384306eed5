"""A choice from a stream that is even over its classes."""

from __future__ import annotations

from bisect import insort
from itertools import zip_longest

import numpy as np


class BalancedChoice:
    """Keeps the items of lowest rank of each class, and as many of one class as of another.

    A class of which there are few keeps them all; the others share what is left. The outcome does
    not depend on the order of the offers, and no more than `count` items are held at a time.

    Args:
      count: How many items are wanted.
      seed: Of the order of the classes, which also decides who has one more where the items
        cannot be shared evenly.
    """

    def __init__(self, count: int, seed: int):
        self._count = count
        self._seed = seed
        self._kept: dict[int, list[tuple[int, bytes]]] = {}
        self._order: dict[int, float] = {}
        self._limits: dict[int, int] = {}

    def offer(self, label: int, rank: int, item: bytes) -> None:
        """Take an item, and give up the one that is in the way of an even choice, if any."""
        if label not in self._kept:
            self._kept[label] = []
            # A function of the seed, not of which class was seen first.
            self._order[label] = np.random.default_rng([self._seed, label]).random()
            self._limits[label] = self._count
        kept = self._kept[label]
        if len(kept) == self._limits[label]:
            if kept and (rank, item) < kept[-1]:
                kept.pop()
                insort(kept, (rank, item))
            return
        insort(kept, (rank, item))
        if sum(map(len, self._kept.values())) > self._count:
            last = max(self._kept, key=lambda one: (len(self._kept[one]), self._order[one]))
            self._kept[last].pop()
            # The share of a class only falls, for every other one grows at its expense.
            self._limits[last] = len(self._kept[last])

    def in_turn(self) -> list[bytes]:
        """One item of every class, then another one of every class that has more, and so on."""
        classes = sorted(self._kept, key=self._order.__getitem__)
        rounds = zip_longest(*(self._kept[label] for label in classes))
        return [entry[1] for turn in rounds for entry in turn if entry is not None]
