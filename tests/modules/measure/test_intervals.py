"""modules.measure.intervals: published values, second formulations, coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from modules.measure import intervals, metrics
from modules.measure.metrics import Predictions

Z = 1.959963984540054


def _discordant(gained: int, lost: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first and the second of two models are right on each of `count` examples."""
    before, after = np.zeros(count, bool), np.zeros(count, bool)
    after[:gained] = True
    before[gained : gained + lost] = True
    return before, after


def _pair(count: int, seed: int, sharpness: float = 1.0) -> tuple[Predictions, Predictions]:
    """A calibrated model, and one that is noisier and off by a factor in its logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(count, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # with softmax's odds
    noisy = (logits + rng.normal(scale=0.5, size=logits.shape)) * sharpness
    return Predictions.from_logits(labels, logits), Predictions.from_logits(labels, noisy)


@pytest.fixture
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)


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


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.999])
def test_proportion_agrees_with_scipy(confidence: float) -> None:
    for successes, trials in ((0, 1), (1, 1), (7, 9), (350, 360), (360, 360)):
        ci = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
        ours = intervals.proportion(successes, trials, confidence)
        assert ours == pytest.approx((ci.low, ci.high), abs=1e-12)


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
    with pytest.raises(ValueError, match=f"{successes} successes in {trials}"):
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


# -- means --


def test_bootstrap_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).lognormal(sigma=1.2, size=150)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(2), batch=1000
    ).confidence_interval
    width = theirs.high - theirs.low
    ours = intervals.bootstrap_mean(values, 0.95, seed=3)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    # Skewness moves both ends up; percentiles alone would be off by more than the tolerance.
    assert ours[1] - values.mean() > 1.2 * (values.mean() - ours[0])


def test_bootstrap_mean_of_normal_values_is_the_textbooks() -> None:
    values = np.random.default_rng(4).normal(5, 2, size=2000)
    error = values.std() / math.sqrt(len(values))
    expected = (values.mean() - Z * error, values.mean() + Z * error)
    assert intervals.bootstrap_mean(values, 0.95, seed=0) == pytest.approx(
        expected, abs=0.2 * error
    )


def test_bootstrap_mean_is_reproducible_however_much_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).exponential(size=50)
    first = intervals.bootstrap_mean(values, 0.95, seed=7)
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 50 * 3)
    assert intervals.bootstrap_mean(values, 0.95, seed=7) == pytest.approx(first, rel=1e-12)
    assert intervals.bootstrap_mean(values, 0.95, seed=8) != first


def test_bootstrap_mean_shifts_and_scales_with_the_values() -> None:
    values = np.random.default_rng(5).exponential(size=80)
    low, high = intervals.bootstrap_mean(values, 0.95, seed=0)
    assert intervals.bootstrap_mean(3 * values - 1, 0.95, seed=0) == pytest.approx(
        (3 * low - 1, 3 * high - 1)
    )
    assert intervals.bootstrap_mean(-values, 0.95, seed=0) == pytest.approx((-high, -low))


def test_bootstrap_mean_without_an_answer() -> None:
    for values in ([0.1, math.nan], [0.1, math.inf], [0.1], []):
        assert all(map(math.isnan, intervals.bootstrap_mean(values, 0.95, seed=0)))
    assert intervals.bootstrap_mean([0.25] * 9, 0.95, seed=0) == (0.25, 0.25)


@pytest.mark.usefixtures("_fewer_resamples")
def test_bootstrap_mean_covers_skewed_losses() -> None:
    rng = np.random.default_rng(0)
    # As of an accurate classifier: next to nothing on most examples, much on a few.
    samples = rng.lognormal(mean=-2, sigma=1.2, size=(400, 400))
    bounds = [intervals.bootstrap_mean(values, 0.95, seed) for seed, values in enumerate(samples)]
    low, high = np.array(bounds).T
    true = math.exp(-2 + 1.2**2 / 2)
    assert 0.91 <= np.mean((low <= true) & (true <= high)) <= 0.98
    assert np.mean(high < true) <= 0.07


# -- calibration error --


def test_calibration_error_is_that_of_the_resampled_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20)
    _, model = _pair(60, seed=0)
    rng = np.random.default_rng(9)
    expected = [
        metrics.expected_calibration_error(model.select(rng.integers(60, size=60)))
        for _ in range(20)
    ]
    found = intervals._calibration(model, 0.95, seed=9)
    np.testing.assert_allclose(found.resampled, expected, atol=1e-12)
    assert found.value == pytest.approx(metrics.expected_calibration_error(model))


def test_calibration_error_of_a_calibrated_model_reaches_zero() -> None:
    calibrated, overconfident = _pair(360, seed=1, sharpness=2.5)
    low, high = intervals.calibration_error(calibrated, 0.95, seed=0)
    assert low == 0.0
    assert high > metrics.expected_calibration_error(calibrated)
    low, high = intervals.calibration_error(overconfident, 0.95, seed=0)
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
                lambda seed, at=at: intervals.calibration_error(draw(seed)[at], 0.95, seed),
                true[at],
            )
            >= 0.9
        )
    assert (
        _covered(
            lambda seed: intervals.calibration_error_change(*draw(seed), 0.95, seed),
            true[1] - true[0],
        )
        >= 0.93
    )


def test_calibration_error_without_an_answer() -> None:
    diverged = Predictions.from_logits([0, 0, 1], [[math.nan, 1.0], [0.0, 0.0], [0.0, 1.0]])
    sound = Predictions.from_logits([0, 0, 1], [[0.5, 1.0], [0.0, 0.0], [0.0, 1.0]])
    for bounds in (
        intervals.calibration_error(diverged, 0.95, seed=0),
        intervals.calibration_error(sound.select(np.array([0])), 0.95, seed=0),
        intervals.calibration_error_change(sound, diverged, 0.95, seed=0),
        intervals.calibration_error_change(diverged, sound, 0.95, seed=0),
    ):
        assert all(map(math.isnan, bounds))


# -- what a report needs --


def test_describe_bounds_each_number() -> None:
    _, model = _pair(300, seed=3, sharpness=1.5)
    found = intervals.describe(model, (2, 3), 0.95, seed=0)
    values = {
        "accuracy": metrics.accuracy(model),
        "loss": metrics.mean_loss(model),
        "ece": metrics.expected_calibration_error(model),
        "top_k.2": metrics.top_k_accuracy(model, 2),
        "top_k.3": metrics.top_k_accuracy(model, 3),
    }
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert found[name][0] < value < found[name][1], name
    wider = intervals.describe(model, (2, 3), 0.99, seed=0)
    for name in values:
        assert wider[name][0] <= found[name][0] < found[name][1] < wider[name][1], name


def test_changes_are_paired() -> None:
    reference, model = _pair(300, seed=3, sharpness=1.5)
    found = intervals.changes(reference, model, 0.95, seed=0)
    assert list(found) == ["accuracy", "loss", "ece"]
    for name, statistic in (
        ("accuracy", metrics.accuracy),
        ("loss", metrics.mean_loss),
        ("ece", metrics.expected_calibration_error),
    ):
        change = found[name]
        assert change["value"] == pytest.approx(statistic(model) - statistic(reference))
        assert change["low"] <= change["value"] <= change["high"]
    # What both models find hard cancels; two evaluations apart would leave it in.
    alone = [intervals.describe(each, (), 0.95, seed=0) for each in (reference, model)]
    for name in ("accuracy", "loss"):
        apart = math.hypot(*(high - low for low, high in (each[name] for each in alone)))
        assert found[name]["high"] - found[name]["low"] < 0.8 * apart


def test_a_model_does_not_differ_from_itself() -> None:
    model, _ = _pair(200, seed=5)
    found = intervals.changes(model, model, 0.95, seed=0)
    assert [change["value"] for change in found.values()] == [0.0, 0.0, 0.0]
    assert (found["loss"]["low"], found["loss"]["high"]) == (0.0, 0.0)
    assert found["accuracy"]["low"] < 0 < found["accuracy"]["high"]


def test_changes_refuse_other_examples() -> None:
    model, other = _pair(20, seed=0)[0], _pair(20, seed=1)[0]
    with pytest.raises(ValueError, match="labels differ"):
        intervals.changes(model, other, 0.95, seed=0)
