"""modules.measure.intervals: published values, second formulations, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from modules.measure import intervals
from modules.measure.intervals import independent_difference, independent_ratio

Z = 1.959963984540054


def _discordant(gained: int, lost: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first and the second of two models are right on each of `count` examples."""
    before, after = np.zeros(count, bool), np.zeros(count, bool)
    after[:gained] = True
    before[gained : gained + lost] = True
    return before, after


# -- shares --


@pytest.mark.parametrize(
    ("successes", "trials", "published"),
    [
        # Newcombe 1998, Two-sided confidence intervals for the single proportion, Statistics in
        # Medicine 17:857-872, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_proportion_as_published(
    successes: int, trials: int, published: tuple[float, float]
) -> None:
    assert intervals.proportion(successes, trials, 0.95) == pytest.approx(published, abs=5e-5)
    low, high = intervals.proportion(trials - successes, trials, 0.95)
    assert (1 - high, 1 - low) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_proportion_covers(share: float) -> None:
    count = 360
    covered = 0.0
    for successes in range(count + 1):  # exactly: every outcome with its probability
        low, high = intervals.proportion(successes, count, 0.95)
        covered += stats.binom.pmf(successes, count, share) * (low <= share <= high)
    assert 0.935 <= covered <= 0.97


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_proportion_refuses_what_is_no_share(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="must"):
        intervals.proportion(successes, trials, 0.95)


# -- paired difference --


@pytest.mark.parametrize(
    ("gained", "lost", "count", "published"),
    [
        # Fagerland, Lydersen and Laake 2014, Recommended tests and confidence intervals for paired
        # binomial proportions, Statistics in Medicine 33:2850-2875: airway hyper-responsiveness
        # (Bentur et al. 2009) and complete response (Cavo et al. 2012), Tango's interval.
        (1, 7, 21, (-0.517, -0.026)),
        (6, 16, 161, (-0.124, -0.0054)),
    ],
)
def test_paired_difference_as_published(
    gained: int, lost: int, count: int, published: tuple[float, float]
) -> None:
    bounds = intervals.paired_difference(*_discordant(gained, lost, count), 0.95)
    assert bounds == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "count"), [(3, 9, 120), (0, 4, 360), (12, 0, 40)])
def test_paired_difference_ends_where_the_score_test_refuses(
    gained: int, lost: int, count: int
) -> None:
    # The most likely rates given the difference are searched for, instead of solved for.
    for bound in intervals.paired_difference(*_discordant(gained, lost, count), 0.95):

        def surprise(rate: float, d: float = bound) -> float:
            rates = np.array([rate + d, rate, 1 - 2 * rate - d])
            counts = np.array([gained, lost, count - gained - lost])
            return -float(np.sum(counts * np.log(np.maximum(rates, 1e-300))))

        ends = (max(0.0, -bound), (1 - bound) / 2)
        rate = minimize_scalar(surprise, bounds=ends, method="bounded", options={"xatol": 1e-10}).x
        variance = count * (2 * rate + bound - bound**2)
        score = (gained - lost - count * bound) / math.sqrt(variance)
        assert abs(score) == pytest.approx(Z, abs=1e-3)


def test_paired_difference_without_discordant_pairs_has_a_width() -> None:
    right = np.arange(360) > 5
    end = Z**2 / (360 + Z**2)
    assert intervals.paired_difference(right, right, 0.95) == pytest.approx((-end, end))


def test_paired_difference_is_antisymmetric_and_stays_within_one() -> None:
    before, after = _discordant(9, 3, 50)
    low, high = intervals.paired_difference(before, after, 0.9)
    assert -1 < low < 6 / 50 < high < 1
    assert intervals.paired_difference(after, before, 0.9) == pytest.approx((-high, -low))
    nothing, everything = np.zeros(30, bool), np.ones(30, bool)
    low, high = intervals.paired_difference(nothing, everything, 0.95)
    assert 0.7 < low < 1.0 == high


@pytest.mark.parametrize(
    ("gain", "loss"), [(0.005, 0.005), (0.002, 0.012), (0.0, 0.01), (0.01, 0.03)]
)
def test_paired_difference_covers_with_few_discordant_pairs(gain: float, loss: float) -> None:
    count, rng = 360, np.random.default_rng(0)
    drawn = rng.multinomial(count, [gain, loss, 1 - gain - loss], size=3000)[:, :2]
    tables, times = np.unique(drawn, axis=0, return_counts=True)
    covered = 0
    for (gained, lost), repeated in zip(tables.tolist(), times.tolist(), strict=True):
        low, high = intervals.paired_difference(*_discordant(gained, lost, count), 0.95)
        covered += repeated * (low <= gain - loss <= high)
    assert 0.935 <= covered / 3000 <= 0.985


def test_paired_difference_refuses_other_examples_and_none() -> None:
    for before, after in (([True], [True, False]), ([], [])):
        with pytest.raises(ValueError, match="same examples"):
            intervals.paired_difference(before, after, 0.95)


# -- differences and ratios of two evaluations --


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
        intervals.proportion(*first, 0.95),
        second[0] / second[1],
        intervals.proportion(*second, 0.95),
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
