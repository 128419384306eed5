"""modules.measure.bootstrap: SciPy's values, second formulations, coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from modules.measure import bootstrap, metrics
from modules.measure.metrics import Predictions

Z = 1.959963984540054


def _pair(count: int, seed: int, sharpness: float = 1.0) -> tuple[Predictions, Predictions]:
    """A calibrated model, and one that is noisier and off by a factor in its logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(count, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # with softmax's odds
    noisy = (logits + rng.normal(scale=0.5, size=logits.shape)) * sharpness
    return Predictions.from_logits(labels, logits), Predictions.from_logits(labels, noisy)


@pytest.fixture
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)


# -- means --


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


# -- calibration error --


def test_calibration_error_is_that_of_the_resampled_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    _, model = _pair(60, seed=0)
    rng = np.random.default_rng(9)
    expected = [
        metrics.expected_calibration_error(model.select(rng.integers(60, size=60)))
        for _ in range(20)
    ]
    found = bootstrap._calibration(model, 0.95, seed=9)
    np.testing.assert_allclose(found.resampled, expected, atol=1e-12)
    assert found.value == pytest.approx(metrics.expected_calibration_error(model))


def test_calibration_error_of_a_calibrated_model_reaches_zero() -> None:
    calibrated, overconfident = _pair(360, seed=1, sharpness=2.5)
    low, high = bootstrap.calibration_error(calibrated, 0.95, seed=0)
    assert low == 0.0
    assert high > metrics.expected_calibration_error(calibrated)
    low, high = bootstrap.calibration_error(overconfident, 0.95, seed=0)
    assert 0.0 < low < metrics.expected_calibration_error(overconfident) < high


def _covered(bounds: Callable[[int], tuple[float, float]], true: float) -> float:
    ends = np.array([bounds(seed) for seed in range(120)])
    return float(np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])))


@pytest.mark.slow
@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("sharpness", [1.0, 2.5])
def test_calibration_error_and_its_change_cover(sharpness: float) -> None:
    population = _pair(50_000, seed=2, sharpness=sharpness)
    true = [metrics.expected_calibration_error(each) for each in population]

    def draw(seed: int) -> list[Predictions]:
        chosen = np.random.default_rng(seed).integers(50_000, size=200)
        return [each.select(chosen) for each in population]

    for at in (0, 1):
        assert (
            _covered(
                lambda seed, at=at: bootstrap.calibration_error(draw(seed)[at], 0.95, seed),
                true[at],
            )
            >= 0.9
        )
    assert (
        _covered(
            lambda seed: bootstrap.calibration_error_change(*draw(seed), 0.95, seed),
            true[1] - true[0],
        )
        >= 0.93
    )


def test_calibration_error_without_an_answer() -> None:
    diverged = Predictions.from_logits([0, 0, 1], [[math.nan, 1.0], [0.0, 0.0], [0.0, 1.0]])
    sound = Predictions.from_logits([0, 0, 1], [[0.5, 1.0], [0.0, 0.0], [0.0, 1.0]])
    for bounds in (
        bootstrap.calibration_error(diverged, 0.95, seed=0),
        bootstrap.calibration_error(sound.select(np.array([0])), 0.95, seed=0),
        bootstrap.calibration_error_change(sound, diverged, 0.95, seed=0),
        bootstrap.calibration_error_change(diverged, sound, 0.95, seed=0),
    ):
        assert all(map(math.isnan, bounds))
