"""Finds equal content under different ids, labels or splits, from 21 bytes per example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.data.splits import EVAL, TRAIN, UNLABELED

SIDES = (TRAIN, EVAL, UNLABELED)
# Content, id and label by 64, 64 and 32 bits of their digests; a side by its position above.
RECORD = np.dtype([("content", "<u8"), ("unit", "<u8"), ("label", "<u4"), ("side", "u1")])
# Records with the same content are compared within one of so many buckets.
BUCKETS = 64
_NAMED = 5


@dataclass
class Duplicates:
    """What is wrong with equal content; contents are 64 bits of a digest.

    Attributes:
      moved: Units, by the split that all of their content belongs to.
      dropped: Units of unlabeled examples that are judged on as well.
      conflicts: Number of contents with several labels.
      across: Number of contents on both sides.
      named: Some of the contents with several labels.
      named_across: Some of the contents on both sides.
    """

    moved: dict[int, str] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    conflicts: int = 0
    across: int = 0
    named: list[int] = field(default_factory=list)
    named_across: list[int] = field(default_factory=list)

    def __add__(self, other: Duplicates) -> Duplicates:
        return Duplicates(
            self.moved | other.moved,
            self.dropped | other.dropped,
            self.conflicts + other.conflicts,
            self.across + other.across,
            sorted(self.named + other.named)[:_NAMED],
            sorted(self.named_across + other.named_across)[:_NAMED],
        )


def by_bucket(records: NDArray[Any]) -> list[tuple[int, bytes]]:
    """The records of each bucket, packed."""
    bucket = records["content"] % BUCKETS
    return [(int(each), records[bucket == each].tobytes()) for each in np.unique(bucket)]


def find_duplicates(packed: bytes) -> Duplicates:
    """Compare all records of one bucket."""
    records = np.sort(np.frombuffer(packed, RECORD), order=["content", "unit"])
    found = Duplicates()
    starts = np.flatnonzero(np.diff(records["content"], prepend=~records["content"][:1]))
    counts = np.diff(starts, append=len(records))
    for start, count in zip(starts[counts > 1], counts[counts > 1], strict=True):
        _compare(records[start : start + count], found)
    return found


def _compare(same: NDArray[Any], found: Duplicates) -> None:
    content = int(same["content"][0])
    labeled = same[same["side"] != SIDES.index(UNLABELED)]
    if len(np.unique(labeled["label"])) > 1:
        found.conflicts += 1
        found.named = sorted([*found.named, content])[:_NAMED]
    sides = np.unique(labeled["side"])
    if len(sides) > 1:
        found.across += 1
        found.named_across = sorted([*found.named_across, content])[:_NAMED]
        # That of the lowest unit: it depends on nothing but the content.
        side = int(labeled["side"][0])
        found.moved |= {int(each["unit"]): SIDES[side] for each in labeled[labeled["side"] != side]}
    if SIDES.index(EVAL) in sides:
        unlabeled = same[same["side"] == SIDES.index(UNLABELED)]
        found.dropped |= {int(unit) for unit in unlabeled["unit"]}
