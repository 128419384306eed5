"""Which examples are for training and which for judging."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field
from typing import Any

from modules.errors import ConfigError, DataError, shown
from modules.settings import DataSettings

# The splits of the Examples artifact.
TRAIN, EVAL, UNLABELED = "train", "eval", "unlabeled"
# So many units at each end of a class can change sides.
_ENDS = 16
_NAMED = 20
# Numbers that are kept before they are sorted again.
_SLACK = 1024


def example_id(content: bytes) -> bytes:
    """SHA-256 as 64 hexadecimal digits: the same content, the same id."""
    return hashlib.sha256(content).hexdigest().encode()


def position(unit: bytes, seed: int) -> int:
    """A number below 2**64 that depends on nothing but unit and seed."""
    digest = hashlib.sha256(b"%d/" % seed + unit).digest()
    return int.from_bytes(digest[:8], "big")


def in_eval_split(unit: bytes, settings: DataSettings) -> bool:
    """Whether an example is for judging: a hash of its id and the seed, below the fraction.

    Equal ids get equal answers, so nothing is both learned from and judged on.

    Args:
      unit: The example's id, or that of its group.
      settings: `eval_fraction` and `split_seed`.
    """
    return position(unit, settings.split_seed) < settings.eval_fraction * 2**64


def label_position(identity: bytes, settings: DataSettings) -> int:
    """Where an example stands in the order in which labels are used; below 2**64."""
    return position(b"label/" + identity, settings.split_seed)


def short(unit: bytes) -> int:
    """The first 64 bits of an id."""
    return int(unit[:16], 16)


def moment(value: Any) -> float:
    """Seconds since 1970 of a date or time in ISO 8601 (UTC unless it says otherwise); or a number.

    Raises:
      ValueError: Neither.
    """
    if isinstance(value, int | float):
        return float(value)
    text = value.decode() if isinstance(value, bytes) else value
    try:
        return float(text)
    except ValueError:
        read = datetime.datetime.fromisoformat(text)
    return read.replace(tzinfo=read.tzinfo or datetime.UTC).timestamp()


def check_eval_from(settings: DataSettings) -> None:
    """Refuses an `eval_from` that is no time.

    Raises:
      ConfigError: It is not.
    """
    try:
        moment(settings.eval_from or 0)
    except ValueError:
        raise ConfigError(
            f"data.eval_from must be a date such as 2024-03-31, a time or a number, got "
            f"{settings.eval_from!r}"
        ) from None


@dataclass
class Splitter:
    """Decides the split of an example.

    Attributes:
      settings: How to split.
      moved: Split by `short` unit, against what the hash says.
      dropped: `short` ids of unlabeled examples that are judged on under another name.
      last_label: The `label_position` up to which labels of training examples are used, or None:
        all are.
    """

    settings: DataSettings
    moved: dict[int, str] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    last_label: int | None = None

    def split(self, own: str, unit: bytes, time: Any) -> str:
        """`train` or `eval` of a labeled example.

        Args:
          own: The split that the user or the source gave it, or "".
          unit: The example's id, or that of its group.
          time: Value of `data.time`.

        Raises:
          DataError: The time cannot be read.
        """
        if own in (TRAIN, EVAL):
            return own
        if self.settings.time:
            return self._by_time(time)
        if self.moved and (side := self.moved.get(short(unit))):
            return side
        return EVAL if in_eval_split(unit, self.settings) else TRAIN

    def uses_label(self, identity: bytes) -> bool:
        """Whether a training example with this id keeps its label."""
        last = self.last_label
        return last is None or label_position(identity, self.settings) <= last

    def _by_time(self, time: Any) -> str:
        try:
            if not time:
                raise ValueError
            later = moment(time[0]) >= moment(self.settings.eval_from)
        except (ValueError, UnicodeDecodeError):
            raise DataError(
                f"data.time: {self.settings.time!r} must be a date such as 2024-03-31, a time or a "
                f"number, got {shown(time)}"
            ) from None
        return EVAL if later else TRAIN


@dataclass
class Lowest:
    """The lowest different numbers of some.

    Attributes:
      count: How many are wanted; 0 before there is any.
      values: They, and further ones.
    """

    count: int = 0
    values: list[int] = field(default_factory=list)

    def add(self, value: int, count: int) -> None:
        """Take note of a number."""
        self.count = count
        self.values.append(value)
        if len(self.values) > 2 * count + _SLACK:
            self.values = self.found()

    def found(self) -> list[int]:
        """At most `count` numbers, sorted."""
        return sorted(set(self.values))[: self.count]

    def __add__(self, other: Lowest) -> Lowest:
        joined = Lowest(max(self.count, other.count), self.values + other.values)
        return Lowest(joined.count, joined.found())


@dataclass
class Ends:
    """The units of one class that lie lowest and highest by their hash, and how many examples.

    Attributes:
      train: Number of examples that the hash puts there.
      eval: Number of examples that the hash puts there.
      lowest: `(position, short unit)`, sorted.
      highest: The same from above.
    """

    train: int = 0
    eval: int = 0
    lowest: list[tuple[int, int]] = field(default_factory=list)
    highest: list[tuple[int, int]] = field(default_factory=list)

    def add(self, side: str, place: int, unit: int) -> None:
        """Count one example."""
        if side == EVAL:
            self.eval += 1
        else:
            self.train += 1
        if len(self.lowest) < _ENDS or place < self.lowest[-1][0]:
            self.lowest = sorted({*self.lowest, (place, unit)})[:_ENDS]
        if len(self.highest) < _ENDS or place > self.highest[-1][0]:
            self.highest = sorted({*self.highest, (place, unit)}, reverse=True)[:_ENDS]

    def __add__(self, other: Ends) -> Ends:
        return Ends(
            self.train + other.train,
            self.eval + other.eval,
            sorted({*self.lowest, *other.lowest})[:_ENDS],
            sorted({*self.highest, *other.highest}, reverse=True)[:_ENDS],
        )


def stratify(ends: dict[str, Ends], settings: DataSettings) -> dict[int, str]:
    """Moves by unit, so that every class has examples in train and in eval.

    A class that the hash leaves without some gives those nearest to the limit, as many as its
    share would be.

    Args:
      ends: By class name.
      settings: `eval_fraction`.

    Raises:
      DataError: Naming all classes that have too few different examples.
    """
    moved: dict[int, str] = {}
    few = []
    for name, end in sorted(ends.items()):
        if end.train and end.eval:
            continue
        if len(end.lowest) < 2:
            few.append(f"{name!r} ({end.train + end.eval} example(s))")
            continue
        lacks_eval = not end.eval
        nearest = end.lowest if lacks_eval else end.highest
        share = settings.eval_fraction if lacks_eval else 1 - settings.eval_fraction
        wanted = max(1, round(share * (end.train + end.eval)))
        # At least one unit stays where it is.
        for _, unit in nearest[: min(wanted, len(nearest) - 1)]:
            moved[unit] = EVAL if lacks_eval else TRAIN
    if few:
        what = f"different value of {settings.group!r}" if settings.group else "different example"
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        raise DataError(
            f"every class needs one {what} for training and another one for the judgment, but "
            f"these have too few: {', '.join(few[:_NAMED])}{more}; add examples or remove these "
            "classes"
        )
    return moved
