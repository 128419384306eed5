"""modules.measure.repetition: the rule of percentiles, resampling, and what an interval means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modules.measure import repetition
from modules.measure.repetition import Resampling, percentile


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [
        (100, 50, 51),  # floor(100 * 0.50) = 50 counted from zero: the 51st of 1, 2, 3 ...
        (100, 90, 91),
        (100, 99, 100),
        (10, 99, 10),  # floor(9.9) = 9: the largest
        (10, 90, 10),
        (11, 50, 6),  # floor(5.5) = 5: the middle one of eleven
        (1, 99, 1),
        (1000, 0, 1),
    ],
)
def test_percentile_by_hand(count: int, percent: int, expected: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert percentile(values, percent) == expected


def test_percentile_has_no_rounding_of_its_own() -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point, which would give rank 28.
    assert percentile(np.arange(100.0), 29) == 29.0


def test_percentile_agrees_with_sorting_and_is_a_measured_value() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=357).reshape(17, 21)
    for percent in range(100):
        assert percentile(values, percent) == sorted(values.ravel().tolist())[357 * percent // 100]


@pytest.mark.parametrize("percent", [-1, 100])
def test_percentile_refuses_what_is_none(percent: int) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 100\), got"):
        percentile(np.ones(3), percent)


def test_every_resample_is_a_run_of_the_same_size() -> None:
    resampling = Resampling.draw(processes=4, rounds=6, seed=0)
    counts = resampling.counts.reshape(-1, 4, 6)
    np.testing.assert_array_equal(counts.sum(axis=(1, 2)), 24)
    # A process is drawn whole: it has all of its rounds once, twice, ... or not at all.
    np.testing.assert_array_equal(counts.sum(axis=2) % 6, 0)
    # The rounds within it are drawn too, all with the same chance.
    drawn_once = counts[counts.sum(axis=2) == 6]
    assert (drawn_once > 1).any() and (drawn_once == 0).any()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.25)


def test_resampling_repeats_with_the_seed() -> None:
    one, same, other = (Resampling.draw(3, 5, seed).counts for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_resampled_numbers_are_those_of_the_repeated_rounds() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(3, 4, 7))
    resampling = Resampling.draw(3, 4, seed=0)
    resampling = Resampling(resampling.counts[:20], 3)
    p50, p90 = resampling.percentiles(values, [50, 90])
    means = resampling.means(values)
    for index, counts in enumerate(resampling.counts):
        repeated = np.repeat(values.reshape(12, 7), counts, axis=0)
        assert p50[index] == percentile(repeated, 50)
        assert p90[index] == percentile(repeated, 90)
        assert means[index] == pytest.approx(repeated.mean())


@pytest.mark.parametrize("count", [1, 2])
def test_few_processes_have_no_interval(count: int) -> None:
    with pytest.raises(ValueError, match=f"at least three processes, got {count}"):
        Resampling.draw(processes=count, rounds=10, seed=0)


def _run(
    rng: np.random.Generator, shape: tuple[int, int], between: float, within: float
) -> tuple[float, tuple[float, float]]:
    """Median and interval of a run whose processes differ, as do the rounds within one."""
    logs = rng.normal(0, between, (shape[0], 1)) + rng.normal(0, within, shape)
    ratios = 20 * np.exp(logs)[..., np.newaxis]
    resampled = Resampling.draw(*shape, int(rng.integers(1e9))).percentiles(ratios, [50])[0]
    middle = float(np.median(ratios))
    return middle, repetition.interval(middle, resampled, shape[0], confidence=0.9)


@pytest.mark.parametrize("shape", [(3, 10), (5, 10), (12, 4)])
@pytest.mark.parametrize(("between", "within"), [(0.02, 0.01), (0.002, 0.03)])
def test_two_runs_lie_in_each_others_interval_at_least_as_often_as_it_says(
    shape: tuple[int, int], between: float, within: float
) -> None:
    rng = np.random.default_rng(5)
    together = 0
    for _ in range(60):
        (one, (low, high)), (other, (other_low, other_high)) = (
            _run(rng, shape, between, within) for _ in range(2)
        )
        together += low <= other <= high and other_low <= one <= other_high
    assert together >= 48  # 54 expected of 60; less by chance in one of a hundred cases


def test_the_interval_is_not_needlessly_wide() -> None:
    # 30 processes that differ by 1 %, nothing within them: their mean is known to 0.18 %. Two
    # medians differ by sqrt(2) times 1.25 of that, and 2.24 standard deviations are 97.5 %.
    rng = np.random.default_rng(7)
    widths = []
    for _ in range(30):
        middle, (_, high) = _run(rng, (30, 3), between=0.01, within=0.0)
        widths.append(np.log(high / middle))
    normal = stats.norm.ppf(1 - 0.05 / 2) * np.sqrt(2) * 1.2533 * 0.01 / np.sqrt(30)
    assert normal < np.median(widths) < 1.4 * normal


def test_few_processes_cost_what_student_says() -> None:
    resampled = np.exp(np.random.default_rng(0).normal(0, 0.01, repetition.RESAMPLES))
    widths = {
        count: np.log(repetition.interval(1.0, resampled, count, 0.95)[1]) for count in (3, 1000)
    }
    # t with 2 degrees of freedom against the normal at 1 - 0.025 / 2, and sqrt(3 / 2).
    assert widths[3] / widths[1000] == pytest.approx(6.2053 / 2.2414 * 1.5**0.5, rel=0.01)


def test_the_interval_is_symmetric_as_a_ratio_and_wider_at_higher_confidence() -> None:
    resampled = 3 * np.exp(np.random.default_rng(0).normal(0, 0.1, repetition.RESAMPLES))
    intervals = [repetition.interval(3.0, resampled, 5, level) for level in (0.5, 0.9, 0.99)]
    for low, high in intervals:
        assert low * high == pytest.approx(9.0)
    assert intervals[0][1] < intervals[1][1] < intervals[2][1]


def test_without_scatter_the_interval_is_a_point() -> None:
    assert repetition.interval(2.0, np.full(1000, 2.0), 5, 0.95) == (2.0, 2.0)
