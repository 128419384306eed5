"""How many examples would decide a limit, if all rates stayed as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from modules.judge.estimates import Estimate
from modules.judge.requirements import TOLERANCE, Requirement

if TYPE_CHECKING:
    from modules.measure.bootstrap import Interval

# The interval of a number on so many examples.
_Law = Callable[[float], "Interval"]
_STEPS = 40


def examples_needed(
    requirement: Requirement, found: Estimate, confidence: float, most: float
) -> float | None:
    """The number of examples from which on a limit that the number keeps is kept for certain.

    Args:
      requirement: One end of a limit.
      found: A number that keeps it, with its examples.
      confidence: Level of its interval.
      most: As many are too many.

    Returns:
      At most `most`, else None.
    """
    law = _law(found, confidence)

    def decides(count: float) -> bool:
        return requirement.verdict(law(count)) == "passed"

    low, high = float(found.examples), most
    if not low or not decides(high):
        return None
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _law(found: Estimate, confidence: float) -> _Law:
    """The one that gives the number's own interval; intervals of unknown origin narrow as means."""
    from modules.measure.intervals import paired_shares, proportion

    value, (low, high), count = found.value, found.bounds, float(found.examples)

    def share(examples: float) -> Interval:
        return proportion(value * examples, examples, confidence)

    def changed_share(examples: float) -> Interval:
        return paired_shares(*rates, examples, confidence)

    def mean(examples: float) -> Interval:
        factor = math.sqrt(count / examples)
        return value + (low - value) * factor, value + (high - value) * factor

    if 0 <= value <= 1 and _alike(share(count), found.bounds):
        return share
    # How often the two models differ is not in the report, but the width of the interval tells.
    least, most = abs(value), 1.0
    for _ in range(_STEPS):
        differ = (least + most) / 2
        rates = (differ + value) / 2, (differ - value) / 2
        ends = changed_share(count)
        least, most = (differ, most) if ends[1] - ends[0] < high - low else (least, differ)
    return changed_share if _alike(changed_share(count), found.bounds) else mean


def _alike(one: Interval, other: Interval) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < 1e3 * TOLERANCE
