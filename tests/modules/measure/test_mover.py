"""Tests of modules.measure.mover: published intervals, a second formulation, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modules.measure.intervals import proportion
from modules.measure.mover import independent_difference, independent_ratio


@pytest.mark.parametrize(
    ("first", "second", "published"),
    [
        # Newcombe 1998, Interval estimation for the difference between independent proportions,
        # Statistics in Medicine 17:873-890, table II, method 10.
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
    ],
)
def test_difference_of_proportions_as_published(
    first: tuple[int, int], second: tuple[int, int], published: tuple[float, float]
) -> None:
    bounds = independent_difference(
        first[0] / first[1],
        proportion(*first, 0.95),
        second[0] / second[1],
        proportion(*second, 0.95),
    )
    assert bounds == pytest.approx(published, abs=5e-5)


def test_difference_of_normal_means_is_the_textbooks() -> None:
    # Standard errors 3 and 4 make one of 5.
    z = 1.96
    bounds = independent_difference(10, (10 - 3 * z, 10 + 3 * z), 2, (2 - 4 * z, 2 + 4 * z))
    assert bounds == pytest.approx((8 - 5 * z, 8 + 5 * z))


def test_an_exact_reference_only_shifts() -> None:
    assert independent_difference(0.5, (0.3, 0.9), 0.2, (0.2, 0.2)) == pytest.approx((0.1, 0.7))
    assert independent_ratio(0.5, (0.3, 0.9), 0.2, (0.2, 0.2)) == pytest.approx((1.5, 4.5))
    assert independent_ratio(6, (6, 6), 3, (3, 3)) == pytest.approx((2, 2))


def test_exchanged_numbers_mirror_the_bounds() -> None:
    first, second = (0.5, (0.3, 0.9)), (0.2, (0.1, 0.25))
    low, high = independent_difference(*first, *second)
    assert independent_difference(*second, *first) == pytest.approx((-high, -low))
    low, high = independent_ratio(*first, *second)
    assert independent_ratio(*second, *first) == pytest.approx((1 / high, 1 / low))


def test_ratio_of_lognormal_numbers_covers() -> None:
    rng = np.random.default_rng(0)
    errors, z, repetitions = np.array([0.2, 0.3]), 1.96, 2000
    covered = 0
    for _ in range(repetitions):
        drawn = np.array([6, 2]) * np.exp(rng.normal(scale=errors))
        lows, highs = drawn * np.exp(-z * errors), drawn * np.exp(z * errors)
        ends = list(zip(lows, highs, strict=True))
        low, high = independent_ratio(drawn[0], ends[0], drawn[1], ends[1])
        covered += low <= 3 <= high
    assert 0.935 <= covered / repetitions <= 0.965


def test_ratio_with_bounds_of_zero_is_unbounded() -> None:
    assert independent_ratio(1, (0, 2), 1, (1, 1)) == (0, 2)
    assert independent_ratio(1, (1, 1), 1, (0, 2)) == (0.5, math.inf)


@pytest.mark.parametrize(
    ("value", "interval", "reference"), [(0, (0, 1), 1), (1, (-1, 2), 1), (1, (1, 1), -1)]
)
def test_ratio_refuses_what_is_not_positive(
    value: float, interval: tuple[float, float], reference: float
) -> None:
    with pytest.raises(ValueError, match="above 0"):
        independent_ratio(value, interval, reference, (reference, reference))
