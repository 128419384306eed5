"""Differences and quotients of two numbers of different evaluations, with confidence intervals.

MOVER (method of variance estimates recovery) needs nothing but the two intervals: the distances
from the numbers to their bounds are put together by Pythagoras, for each side of its own, so that
skewed intervals stay skewed. Numbers of the same examples are positively correlated; for them the
result is wider than need be, and a paired method is better (`modules.measure.intervals`).

Source: Zou and Donner 2008, Construction of confidence limits about effect measures: a general
approach, Statistics in Medicine 27:1693-1702. An exact number has an interval of no width. Pure
Python: the gate, which is loaded with every command, needs it.
"""

from __future__ import annotations

import math

Interval = tuple[float, float]


def independent_difference(
    value: float, interval: Interval, reference: float, reference_interval: Interval
) -> Interval:
    """Bounds of `value - reference`.

    With `l <= x <= u` of the value and `L <= y <= U` of the reference they are
    `x - y - sqrt((x - l)^2 + (U - y)^2)` and `x - y + sqrt((u - x)^2 + (y - L)^2)`. For two
    proportions with Wilson intervals this is Newcombe's hybrid score interval (1998, method 10 for
    independent proportions).
    """
    (low, high), (reference_low, reference_high) = interval, reference_interval
    difference = value - reference
    return (
        difference - math.hypot(value - low, reference_high - reference),
        difference + math.hypot(high - value, reference - reference_low),
    )


def independent_ratio(
    value: float, interval: Interval, reference: float, reference_interval: Interval
) -> Interval:
    """Bounds of `value / reference`: those of the difference of the logarithms, taken back.

    A lower bound of 0 of the value gives 0, and one of the reference infinity.

    Raises:
        ValueError: one of the numbers is not above 0, or a bound is below 0.
    """
    if not (value > 0 and reference > 0 and interval[0] >= 0 and reference_interval[0] >= 0):
        raise ValueError(
            "a ratio needs numbers above 0 with bounds of at least 0, got "
            f"{value} {interval} and {reference} {reference_interval}"
        )
    low, high = independent_difference(
        math.log(value),
        (_log(interval[0]), _log(interval[1])),
        math.log(reference),
        (_log(reference_interval[0]), _log(reference_interval[1])),
    )
    return math.exp(low), math.exp(high)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
