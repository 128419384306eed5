"""modules.measure.bootstrap: SciPy's values, second formulations, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from modules.measure import bootstrap

Z = 1.959963984540054


@pytest.fixture
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)


def test_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).lognormal(sigma=1.2, size=150)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=bootstrap.RESAMPLES, rng=np.random.default_rng(3)
    ).confidence_interval
    ours = bootstrap.mean(values, 0.95, seed=3)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    # Skewness moves both ends up.
    assert ours[1] - values.mean() > 1.2 * (values.mean() - ours[0])


def test_mean_of_normal_values_is_the_textbooks() -> None:
    values = np.random.default_rng(4).normal(5, 2, size=2000)
    error = values.std() / math.sqrt(len(values))
    expected = (values.mean() - Z * error, values.mean() + Z * error)
    assert bootstrap.mean(values, 0.95, seed=0) == pytest.approx(expected, abs=0.2 * error)


def test_mean_is_reproducible_however_much_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).exponential(size=50)
    first = bootstrap.mean(values, 0.95, seed=7)
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 50 * 3)
    assert bootstrap.mean(values, 0.95, seed=7) == pytest.approx(first, rel=1e-12)
    assert bootstrap.mean(values, 0.95, seed=8) != first


def test_mean_shifts_and_scales_with_the_values() -> None:
    values = np.random.default_rng(5).exponential(size=80)
    low, high = bootstrap.mean(values, 0.95, seed=0)
    assert bootstrap.mean(3 * values - 1, 0.95, seed=0) == pytest.approx(
        (3 * low - 1, 3 * high - 1)
    )
    assert bootstrap.mean(-values, 0.95, seed=0) == pytest.approx((-high, -low))


def test_mean_without_an_answer() -> None:
    for values in ([0.1, math.nan], [0.1, math.inf], [0.1], []):
        assert all(map(math.isnan, bootstrap.mean(values, 0.95, seed=0)))
    assert bootstrap.mean([0.25] * 9, 0.95, seed=0) == (0.25, 0.25)


@pytest.mark.usefixtures("_fewer_resamples")
def test_mean_covers_skewed_losses() -> None:
    rng = np.random.default_rng(0)
    # As of an accurate classifier: next to nothing on most examples, much on a few.
    samples = rng.lognormal(mean=-2, sigma=1.2, size=(400, 400))
    bounds = [bootstrap.mean(values, 0.95, seed) for seed, values in enumerate(samples)]
    low, high = np.array(bounds).T
    true = math.exp(-2 + 1.2**2 / 2)
    assert 0.91 <= np.mean((low <= true) & (true <= high)) <= 0.98
    assert np.mean(high < true) <= 0.07


def test_columns_are_resampled_alike_and_one_without_an_answer_leaves_the_others() -> None:
    values = np.random.default_rng(6).exponential(size=(70, 3))
    values[4, 1] = math.nan
    first, unknown, last = bootstrap.means(values, 0.95, seed=2)
    assert first == pytest.approx(bootstrap.mean(values[:, 0], 0.95, seed=2), rel=1e-12)
    assert last == pytest.approx(bootstrap.mean(values[:, 2], 0.95, seed=2), rel=1e-12)
    assert all(map(math.isnan, unknown))


def test_very_many_rows_are_grouped_without_a_change_of_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(7).lognormal(sigma=1.0, size=10_007)
    whole = bootstrap.mean(values, 0.95, seed=0)
    monkeypatch.setattr(bootstrap, "_MOST_ROWS", 1000)
    assert len(bootstrap.grouped(values[:, np.newaxis], 0)) == 909
    low, high = bootstrap.mean(values, 0.95, seed=0)
    width = whole[1] - whole[0]
    assert (low, high) == pytest.approx(whole, abs=0.1 * width)
    assert low < values.mean() < high
