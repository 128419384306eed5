"""What the first reading of all rows finds out; small for any number of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.data.duplicates import SIDES
from modules.data.labels import MOST_CLASSES, LabelStatistics, class_name, split_names
from modules.data.names import wrong_names
from modules.data.raw_examples import RawExample, Reader
from modules.data.sources.protocol import Row
from modules.data.splits import TRAIN, Ends, Lowest, label_position, position, short
from modules.data.values import Features
from modules.errors import DataError, UserError
from modules.settings import DataSettings

PROBLEMS_SHOWN = 5
# A feature with at least this share of images, and some that are none, has mistakes in it.
_MOSTLY = 0.9
_SMALL_SIDE, _LARGEST_SIDE = 64, 224
_KINDS = {bytes: "bytes", int: "int64", float: "float"}


@dataclass
class Scan:
    """Findings of some rows; findings are added up.

    Attributes:
      examples: Number of examples by split.
      features: How many examples have each feature, by its name in the data and the kind of value:
        bytes, int64, float, or "" for an empty list.
      images: In how many examples that can be used a feature is an encoded image.
      sides: Shorter sides of these images, in pixels, and how many have them.
      colored: Features of which an image has colors.
      labels: What the labels have in common.
      own_splits: Whether any of them was in a split of the user's own.
      ends: By class, what `modules.data.splits.stratify` needs.
      places: The lowest `label_position`s of training examples: as many as labels may be
        used, and one more.
      problems: The first few, by name.
      problem_count: Of all.
    """

    examples: Counter[str] = field(default_factory=Counter)
    features: Counter[tuple[str, str]] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    sides: dict[str, Counter[int]] = field(default_factory=dict)
    colored: set[str] = field(default_factory=set)
    labels: LabelStatistics = field(default_factory=LabelStatistics)
    own_splits: bool = False
    ends: dict[str, Ends] = field(default_factory=dict)
    places: Lowest = field(default_factory=Lowest)
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def __add__(self, other: Scan) -> Scan:
        ends = {name: self.ends.get(name, Ends()) + end for name, end in other.ends.items()}
        return Scan(
            self.examples + other.examples,
            self.features + other.features,
            self.images + other.images,
            {
                name: self.sides.get(name, Counter()) + other.sides.get(name, Counter())
                for name in {*self.sides, *other.sides}
            },
            self.colored | other.colored,
            self.labels + other.labels,
            self.own_splits or other.own_splits,
            self.ends | ends,
            self.places + other.places,
            sorted(self.problems + other.problems)[:PROBLEMS_SHOWN],
            self.problem_count + other.problem_count,
        )

    def add_problem(self, name: str, problem: str) -> None:
        """Note why an example cannot be used."""
        self.problem_count += 1
        text = f"{name}: {problem}" if name and not problem.startswith(name) else problem
        self.problems = sorted([*self.problems, text])[:PROBLEMS_SHOWN]

    def add_features(self, features: Features) -> None:
        """Count the features of an example."""
        kinds = [_KINDS[type(items[0])] if items else "" for items in features.values()]
        self.features.update(zip(features, kinds, strict=True))

    @property
    def names(self) -> set[str]:
        """Of all features."""
        return {name for name, _ in self.features}

    def add(self, raw: RawExample, reader: Reader) -> None:
        """Count an example that can be used."""
        self.examples[raw.split] += 1
        for name, pixels in raw.pixels.items():
            self._add_image(reader.settings.rename.get(name, name), pixels)
        self.own_splits = self.own_splits or raw.own
        if raw.label is None:
            return
        self.labels.add(raw.label)
        if reader.settings.max_labels and raw.split == TRAIN:
            place = label_position(raw.example_id, reader.settings)
            # One more tells whether there are more.
            self.places.add(place, reader.settings.max_labels + 1)
        if reader.task == "regression" or "fraction" in self.labels.kinds:
            self.ends.clear()
        elif len(self.ends) <= MOST_CLASSES:
            names = [class_name(value) for value in raw.label]
            if reader.task == "multilabel":
                names = [part for name in names for part in split_names(name)]
            place = position(raw.unit, reader.settings.split_seed)
            for name in names:
                self.ends.setdefault(name, Ends()).add(raw.split, place, short(raw.unit))

    def _add_image(self, name: str, pixels: NDArray[np.uint8]) -> None:
        self.images[name] += 1
        self.sides.setdefault(name, Counter())[min(pixels.shape[:2])] += 1
        if name not in self.colored and (pixels != pixels[..., :1]).any():
            self.colored.add(name)


def scan_row(scan: Scan, reader: Reader, row: Row, part: str) -> Any:
    """Add one row.

    Returns:
      Its record for `modules.data.duplicates`; None if it has a problem.
    """
    if row.problem:
        scan.add_problem(row.name, row.problem)
        return None
    scan.add_features(row.features)
    try:
        raw = reader.read(row, part)
        content = reader.content_digest(raw)
    except UserError as error:
        scan.add_problem(row.name, str(error))
        return None
    scan.add(raw, reader)
    return content, short(raw.example_id), _label_digest(raw.label), SIDES.index(raw.split)


def _label_digest(label: Any) -> int:
    if label is None:
        return 0
    text = "\0".join(sorted(map(class_name, label)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def image_features(scan: Scan) -> list[str]:
    """The names in the data of features that are images in all examples."""
    counts = {
        name: sum(scan.features[name, kind] for kind in _KINDS.values()) for name in scan.names
    }
    return [name for name, count in counts.items() if count == scan.images[name] > 0]


def image_sizes(scan: Scan) -> dict[str, tuple[int, int]]:
    """A side that is usual for the images of a feature, and their channels, by name in the data."""
    return {
        name: (_usual(sides), 3 if name in scan.colored else 1)
        for name, sides in scan.sides.items()
    }


def _usual(sides: Counter[int]) -> int:
    """The median; of large images a multiple of 32 that models usually take."""
    median = sorted(sides.elements())[sides.total() // 2]
    return median if median <= _SMALL_SIDE else min(_LARGEST_SIDE, median // 32 * 32)


def check_scan(scan: Scan, settings: DataSettings, label: str) -> None:
    """Refuse data that are not what the settings say.

    Args:
      scan: Of all rows.
      settings: Names in the data.
      label: Name of the feature to predict.

    Raises:
      DataError: Every wrong name, or what is wrong with the first few examples.
    """
    if not scan.features and not scan.problem_count:
        raise DataError(
            f"data.path: {settings.path or settings.query!r} has no examples; add some or fix it"
        )
    problems = [*wrong_names(scan.names, settings, label), *_mixed(scan)]
    if scan.features and problems:
        raise DataError("; ".join(problems))
    if scan.problem_count:
        more = scan.problem_count - len(scan.problems)
        raise DataError(
            f"{scan.problem_count} example(s) cannot be used; fix or remove them: "
            + "; ".join(scan.problems)
            + (f"; and {more} more" if more else "")
        )
    if not scan.examples.total() - scan.examples["unlabeled"]:
        raise DataError(f"data.label: no example has a value of {label!r}; name another feature")


def _mixed(scan: Scan) -> Iterator[str]:
    for name in sorted(scan.names):
        found = {kind: count for kind in _KINDS.values() if (count := scan.features[name, kind])}
        images, others = scan.images[name], found.get("bytes", 0) - scan.images[name]
        # A source of images has named the others as problems.
        if not scan.problem_count and images and others and images >= _MOSTLY * (images + others):
            yield (
                f"the feature {name!r} is an image in {images} examples, but not in {others}; fix "
                "or remove them"
            )
        if len(found) > 1:
            shown = ", ".join(f"{count} of {kind}" for kind, count in sorted(found.items()))
            yield f"the feature {name!r} must be of one type, but has {shown}; fix the files"
