"""Numbers of a report as a limit reads them: with an interval, and compared where it says so.

The report is a plain mapping in which nothing is taken for granted. What is absent, null or not
finite is missing evidence.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modules.judge.bounds import Bound, slice_name
from modules.measure.mover import Interval, independent_difference, independent_ratio
from modules.settings import Limit

Path = tuple[str, ...]
# How the report writes a number that has bounds of its own: value, lower bound, upper bound.
_BOUNDED = (("median", "ci_low", "ci_high"), ("value", "low", "high"))


class MissingEvidenceError(Exception):
    """The report does not say what a limit asks for.

    Attributes:
        path: keys of the number; none if the number's whole surroundings are missing.
        what: words before the number's name, if it is not the number itself that is missing.
        remedy: what to do, where that is known.
    """

    def __init__(self, path: Path, what: str = "", remedy: str = "") -> None:
        super().__init__(".".join(path))
        self.path, self.what, self.remedy = path, what, remedy


@dataclass(frozen=True)
class Reading:
    """A number of the report.

    Attributes:
        value: finite.
        interval: its bounds; None if it is exact.
        parts: the two numbers that it compares, with the models they belong to.
        examples: number of examples it was measured on, if the report says so.
    """

    value: float
    interval: Interval | None = None
    parts: tuple[tuple[Path, float], ...] = ()
    examples: float | None = None

    @property
    def bounds(self) -> Interval:
        """The interval, of no width if the number is exact."""
        return self.interval or (self.value, self.value)


def read(evidence: Mapping[str, Any], bound: Bound) -> Reading:
    """The number that a limit judges.

    Accuracy, loss and ECE against another model of the same report are the report's paired
    changes. All other comparisons treat the two numbers as independent.

    Raises:
        MissingEvidenceError: the number, its interval or what it is compared with is not there.
    """
    reading = _read(evidence, bound.limit)
    if not bound.drop:
        return reading
    low, high = reading.bounds
    return replace(reading, value=-reading.value, interval=reading.interval and (-high, -low))


def _read(evidence: Mapping[str, Any], limit: Limit) -> Reading:
    path = tuple(limit.number.split("."))
    if limit.slice is not None:
        return _read_slice(evidence, limit, path)
    examples = finite(at(evidence, "examples", "eval"))
    if limit.against is None:
        return replace(_number(evidence, path), examples=examples)
    owner = owner_of(path)
    other = ("pushed", *owner) if limit.against == "pushed" else (limit.against,)
    return replace(_compare(evidence, limit, owner, other), examples=examples)


def owner_of(path: Path) -> Path:
    """The keys of the model that a number belongs to: the first, for a variant the first two."""
    if path[0] == "pushed":
        return ("pushed", *owner_of(path[1:]))
    return path[:2] if path[0] == "variants" else path[:1]


def at(part: Any, *path: str) -> Any:
    """What is found along the keys, or None."""
    for key in path:
        part = part.get(key) if isinstance(part, Mapping) else None
    return part


def finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _number(part: Any, path: Path) -> Reading:
    """The number at a path, with the interval that its model or its part has for it."""
    found = at(part, *path)
    if isinstance(found, Mapping):
        return _bounded(found, path)
    value = finite(found)
    if value is None:
        raise MissingEvidenceError(path)
    for depth in range(len(path)):
        intervals = at(part, *path[:depth], "intervals")
        if isinstance(intervals, Mapping) and ".".join(path[depth:]) in intervals:
            return Reading(value, _interval(intervals[".".join(path[depth:])], path))
    return Reading(value)


def _bounded(found: Mapping[str, Any], path: Path) -> Reading:
    """A speed-up or a paired change."""
    for value_key, low_key, high_key in _BOUNDED:
        if value_key in found:
            value = finite(found[value_key])
            if value is None:
                break
            return Reading(value, _interval((found.get(low_key), found.get(high_key)), path))
    raise MissingEvidenceError(path)


def _interval(bounds: Any, path: Path) -> Interval:
    if isinstance(bounds, list | tuple) and len(bounds) == 2:
        low, high = map(finite, bounds)
        if low is not None and high is not None and low <= high:
            return low, high
    raise MissingEvidenceError(path, "the confidence interval of ")


def _compare(part: Any, limit: Limit, owner: Path, other: Path) -> Reading:
    """One model's number minus, or divided by, another's."""
    path = tuple(limit.number.split("."))
    below = path[len(owner) :]
    value, reference = _number(part, path), _number(part, (*other, *below))
    parts = ((other, reference.value), (owner, value.value))
    if limit.relative:
        if min(value.value, reference.value) <= 0 or min(value.bounds[0], reference.bounds[0]) < 0:
            raise MissingEvidenceError(path, "numbers above 0 for the quotient of ")
        return _independent(value, reference, parts, operator.truediv, independent_ratio)
    changes = at(part, *owner, "against", *other)
    if isinstance(changes, Mapping) and ".".join(below) in changes:
        return replace(_change(changes, ".".join(below), path), parts=parts)
    return _independent(value, reference, parts, operator.sub, independent_difference)


def _change(part: Any, key: str, path: Path) -> Reading:
    """The paired change of the number at the path."""
    try:
        return _number(part, (key,))
    except MissingEvidenceError as error:
        raise MissingEvidenceError(path, "the paired change of ") from error


def _independent(
    value: Reading,
    reference: Reading,
    parts: tuple[tuple[Path, float], ...],
    operation: Callable[[float, float], float],
    bounds: Callable[[float, Interval, float, Interval], Interval],
) -> Reading:
    """The comparison of two exact numbers is exact, too."""
    interval = None
    if value.interval or reference.interval:
        interval = bounds(value.value, value.bounds, reference.value, reference.bounds)
    return Reading(operation(value.value, reference.value), interval, parts)


def _read_slice(evidence: Mapping[str, Any], limit: Limit, path: Path) -> Reading:
    slices: Any = evidence.get("slices")
    is_list = isinstance(slices, list | tuple)
    entries = [each for each in slices if isinstance(each, Mapping)] if is_list else []
    found = next((each for each in entries if each.get("slice") == limit.slice), None)
    if found is None:
        wanted = limit.slice or {}
        raise MissingEvidenceError((), f"the slice {slice_name(wanted)}", _remedy(wanted, entries))
    examples = finite(found.get("count"))
    if limit.against is None:
        return replace(_number(found, path), examples=examples)
    if path == ("student", "accuracy") and limit.against == "teacher" and not limit.relative:
        owners = (("teacher",), ("student",))
        parts = tuple((each, _number(found, (*each, "accuracy")).value) for each in owners)
        return replace(_change(found, "accuracy_change", path), parts=parts, examples=examples)
    return replace(_compare(found, limit, path[:1], (limit.against,)), examples=examples)


def _remedy(wanted: Mapping[str, str], entries: list[Mapping[str, Any]]) -> str:
    """Why a slice is not in the report."""
    evaluated = []
    for entry in entries:
        features = entry.get("slice")
        if isinstance(features, Mapping) and list(features) not in evaluated:
            evaluated.append(list(features))
    if any(set(features) == set(wanted) for features in evaluated):
        return "no eval example has these values"
    names = ", ".join(" x ".join(features) for features in evaluated) or "none"
    return f"evaluated by: {names}; add [{', '.join(wanted)}] to evaluate.slices"
