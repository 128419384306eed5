"""Numbers of a report as a limit reads them: with an interval, and compared where it says so.

What is absent, null or not finite is missing evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from modules.judge.formats import slice_name
from modules.judge.requirements import Requirement
from modules.judge.schema import Evidence, Part, Slice, Speedup
from modules.settings import Limit

if TYPE_CHECKING:
    from modules.measure.bootstrap import Interval

Path = tuple[str, ...]


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
class Estimate:
    """A number of the report.

    Attributes:
      value: finite.
      interval: its confidence interval; None if it is exact.
      parts: the two numbers that it compares, with the models they belong to.
      examples: number of examples it was measured on.
    """

    value: float
    interval: Interval | None = None
    parts: tuple[tuple[Path, float], ...] = ()
    examples: int = 0

    @property
    def bounds(self) -> Interval:
        """The interval, of no width if the number is exact."""
        return self.interval or (self.value, self.value)


def estimate(evidence: Evidence, requirement: Requirement) -> Estimate:
    """The number that a requirement judges.

    Where the report has the paired change from another model of its own, that is taken. All other
    comparisons treat the two numbers as independent.

    Raises:
      MissingEvidenceError: the number, its interval or what it is compared with is not there.
    """
    limit, path = requirement.limit, requirement.path
    part: Evidence | Slice = evidence
    examples = evidence.examples.eval
    if limit.slice is not None:
        part = _slice(evidence.slices, limit.slice)
        examples = part.count
    found = _number(part, path) if limit.against is None else _compared(part, limit, path)
    if requirement.turned == "drop":
        low, high = found.bounds
        found = replace(found, value=-found.value, interval=found.interval and (-high, -low))
    elif requirement.turned == "increase":
        low, high = found.bounds
        found = replace(
            found, value=found.value - 1, interval=found.interval and (low - 1, high - 1)
        )
    return replace(found, examples=examples)


def owner_of(path: Path) -> Path:
    """The keys of the model that a number belongs to: the first, for a variant the first two."""
    if path[0] == "pushed":
        return ("pushed", *owner_of(path[1:]))
    return path[:2] if path[0] == "variants" else path[:1]


def value_at(part: Any, *keys: str | int) -> Any:
    """What lies along the keys of a report: fields, keys of mappings, places in lists; or None."""
    for key in keys:
        if isinstance(part, BaseModel):
            part = getattr(part, str(key), None)
        elif isinstance(part, Mapping):
            part = part.get(key)
        elif isinstance(part, list | tuple) and isinstance(key, int):
            part = part[key]
        else:
            return None
    return part


def _finite(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _number(part: Part, path: Path) -> Estimate:
    """The number at a path, with the interval that its model or its part has for it."""
    found = value_at(part, *path)
    if isinstance(found, Speedup):
        return Estimate(found.median, _interval(found.interval, path))
    value = _finite(found)
    if value is None:
        raise MissingEvidenceError(path)
    for depth in range(len(path)):
        intervals = value_at(part, *path[:depth], "intervals")
        if isinstance(intervals, Mapping) and ".".join(path[depth:]) in intervals:
            return Estimate(value, _interval(intervals[".".join(path[depth:])], path))
    return Estimate(value)


def _interval(bounds: Any, path: Path, what: str = "the confidence interval of ") -> Interval:
    if isinstance(bounds, list | tuple) and len(bounds) == 2:
        low, high = map(_finite, bounds)
        if low is not None and high is not None and low <= high:
            return low, high
    raise MissingEvidenceError(path, what)


def _compared(part: Evidence | Slice, limit: Limit, path: Path) -> Estimate:
    """One model's number minus, or divided by, another's."""
    owner = owner_of(path)
    other = ("pushed", *owner) if limit.against == "pushed" else (str(limit.against),)
    below = path[len(owner) :]
    value, reference = _number(part, path), _number(part, (*other, *below))
    parts = ((other, reference.value), (owner, value.value))
    paired = _paired(part, owner, other, below)
    if limit.relative:
        if min(value.value, reference.value) <= 0 or min(value.bounds[0], reference.bounds[0]) < 0:
            raise MissingEvidenceError(path, "numbers above 0 for the quotient of ")
        paired = paired and paired.relative
    if paired is not None:
        what = "the paired change of "
        if paired.value is None:
            raise MissingEvidenceError(path, what)
        return Estimate(paired.value, _interval(paired.interval, path, what), parts)
    return _independent(value, reference, parts, relative=limit.relative)


def _paired(part: Evidence | Slice, owner: Path, other: Path, below: Path) -> Any:
    """The `Change` on the same examples, if the report has it."""
    changes = value_at(part, *owner, "against", *other)
    return changes.get(".".join(below)) if changes else None


def _independent(
    value: Estimate,
    reference: Estimate,
    parts: tuple[tuple[Path, float], ...],
    *,
    relative: bool,
) -> Estimate:
    """The comparison of two exact numbers is exact, too."""
    found = value.value / reference.value if relative else value.value - reference.value
    if not (value.interval or reference.interval):
        return Estimate(found, None, parts)
    # NumPy, which the command line need not load to check a configuration.
    from modules.measure.intervals import independent_difference, independent_ratio

    bounds = independent_ratio if relative else independent_difference
    ends = bounds(value.value, value.bounds, reference.value, reference.bounds)
    return Estimate(found, ends, parts)


def _slice(slices: Sequence[Slice], wanted: Mapping[str, str]) -> Slice:
    for each in slices:
        if each.slice == wanted:
            return each
    evaluated = list(dict.fromkeys(tuple(each.slice) for each in slices))
    if any(set(features) == set(wanted) for features in evaluated):
        remedy = "no eval example has these values"
    else:
        names = ", ".join(" x ".join(features) for features in evaluated) or "none"
        remedy = f"evaluated by: {names}; add [{', '.join(wanted)}] to evaluate.slices"
    raise MissingEvidenceError((), f"the slice {slice_name(wanted)}", remedy)
