"""modules.measure.calibration: by hand, second formulations, coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest

from modules.judge.schema import ReliabilityBin
from modules.measure import bootstrap, calibration
from modules.measure.calibration import Confidences
from modules.measure.class_answers import ClassAnswers
from modules.measure.statistic import Change


def _answers(
    labels: list[int], predicted: list[int], confidence: list[float] | None = None
) -> ClassAnswers:
    count = len(labels)
    return ClassAnswers(
        labels=np.array(labels, dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64),
        confidence=np.array([0.5] * count if confidence is None else confidence),
        loss=np.zeros(count),
        label_rank=(np.array(labels) != np.array(predicted)).astype(np.int64),
    )


def _random_answers(count: int = 400, classes: int = 7, seed: int = 0) -> ClassAnswers:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, classes))
    return ClassAnswers.from_outputs(rng.integers(classes, size=count), logits)


def _believed(answers: ClassAnswers) -> Confidences:
    return Confidences(answers.confidence, answers.right, answers.weights)


def _ends(change: Change) -> tuple[float, float]:
    return change.low, change.high


def _pair(count: int, seed: int, sharpness: float = 1.0) -> tuple[ClassAnswers, ClassAnswers]:
    """A calibrated model, and one that is noisier and off by a factor in its logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(count, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # with softmax's odds
    noisy = (logits + rng.normal(scale=0.5, size=logits.shape)) * sharpness
    return ClassAnswers.from_outputs(labels, logits), ClassAnswers.from_outputs(labels, noisy)


@pytest.fixture
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bootstrap, calibration):
        monkeypatch.setattr(module, "RESAMPLES", 200)


def test_ece_by_hand() -> None:
    # Two bins. (0, 0.5]: confidences 0.4, 0.5 and one of two right, gap |0.5 - 0.45| = 0.05.
    # (0.5, 1]: 0.9, 0.9, 0.6, all wrong but one, gap |1/3 - 0.8| = 7/15.
    # ECE = 2/5 * 0.05 + 3/5 * 7/15 = 0.02 + 0.28.
    answers = _answers([0, 0, 0, 0, 0], [0, 1, 0, 1, 1], [0.4, 0.5, 0.9, 0.9, 0.6])
    assert calibration.error(_believed(answers), bins=2) == pytest.approx(0.30)


def test_ece_bins_are_closed_above() -> None:
    # 0.5 belongs to (0, 0.5]. There it offsets 0.25: |(1 - 0.5) + (0 - 0.25)| / 2 = 0.125;
    # in a bin of its own the gaps would add up to (0.5 + 0.25) / 2 = 0.375.
    answers = _answers([0, 0], [0, 1], [0.5, 0.25])
    assert calibration.error(_believed(answers), bins=2) == pytest.approx(0.125)


def test_ece_counts_full_confidence_in_the_last_bin() -> None:
    right = _answers([0, 0], [0, 0], [1.0, 1.0])
    wrong = _answers([0, 0], [1, 1], [1.0, 1.0])
    assert calibration.error(_believed(right)) == 0.0
    assert calibration.error(_believed(wrong)) == 1.0


@pytest.mark.parametrize("bins", [1, 4, 15, 100])
def test_ece_agrees_with_the_papers_sum_over_bins(bins: int) -> None:
    answers = _random_answers()
    total = 0.0
    for m in range(1, bins + 1):
        inside = (answers.confidence > (m - 1) / bins) & (answers.confidence <= m / bins)
        if inside.any():
            right = answers.predicted[inside] == answers.labels[inside]
            gap = abs(right.mean() - answers.confidence[inside].mean())
            total += inside.sum() / len(answers) * gap
    value = calibration.error(_believed(answers), bins=bins)
    assert value == pytest.approx(total, abs=1e-12)
    assert 0.0 < value <= 1.0


def test_ece_with_one_bin_is_the_gap_of_the_means() -> None:
    answers = _random_answers(seed=9)
    gap = abs(answers.right.mean() - answers.confidence.mean())
    assert calibration.error(_believed(answers), bins=1) == pytest.approx(gap)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_is_the_weighted_gap_of_the_reliability_bins(bins: int) -> None:
    answers = _random_answers(seed=11)
    found = calibration.reliability(_believed(answers), bins)
    assert sum(each.count for each in found) == len(answers)
    gap = sum(each.count * abs(each.accuracy - each.confidence) for each in found)
    error = calibration.error(_believed(answers), bins)
    assert gap / len(answers) == pytest.approx(error, abs=1e-12)


def test_reliability_by_hand_fits_the_reports_schema() -> None:
    answers = _answers([0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.25, 0.8, 1.0])
    found = calibration.reliability(_believed(answers), bins=4)
    parts = [ReliabilityBin.model_validate(asdict(each)) for each in found]
    assert [(part.low, part.high, part.count) for part in parts] == [
        (0.0, 0.25, 1),
        (0.25, 0.5, 1),
        (0.75, 1.0, 2),
    ]
    assert [part.confidence for part in parts] == pytest.approx([0.25, 0.5, 0.9])
    assert [part.accuracy for part in parts] == [0.0, 1.0, 1.0]


def test_reliability_of_a_diverged_model_has_no_confidence() -> None:
    answers = ClassAnswers.from_outputs([0, 0], [[math.nan, 1.0], [0.0, 0.0]])
    confidences = [
        ReliabilityBin.model_validate(asdict(each)).confidence
        for each in calibration.reliability(_believed(answers))
    ]
    assert confidences == [0.5, None]


def test_ece_refuses_no_bins() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        calibration.error(_believed(_random_answers()), bins=0)


def test_calibration_error_is_that_of_the_resampled_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (bootstrap, calibration):
        monkeypatch.setattr(module, "RESAMPLES", 20)
    _, model = _pair(60, seed=0)
    rng = np.random.default_rng(9)
    expected = [
        calibration.error(_believed(model.select(rng.integers(60, size=60)))) for _ in range(20)
    ]
    found = calibration._resampled(_believed(model), 0.95, seed=9)
    np.testing.assert_allclose(found.resampled, expected, atol=1e-12)
    assert found.value == pytest.approx(calibration.error(_believed(model)))


def test_calibration_error_of_a_calibrated_model_reaches_zero() -> None:
    calibrated, overconfident = _pair(360, seed=1, sharpness=2.5)
    low, high = calibration.interval(_believed(calibrated), 0.95, seed=0)
    assert low == 0.0
    assert high > calibration.error(_believed(calibrated))
    low, high = calibration.interval(_believed(overconfident), 0.95, seed=0)
    assert 0.0 < low < calibration.error(_believed(overconfident)) < high


def _covered(bounds: Callable[[int], tuple[float, float]], true: float) -> float:
    ends = np.array([bounds(seed) for seed in range(120)])
    return float(np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])))


@pytest.mark.slow
@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("sharpness", [1.0, 2.5])
def test_calibration_error_and_its_change_cover(sharpness: float) -> None:
    population = _pair(50_000, seed=2, sharpness=sharpness)
    true = [calibration.error(_believed(each)) for each in population]

    def draw(seed: int) -> list[ClassAnswers]:
        chosen = np.random.default_rng(seed).integers(50_000, size=200)
        return [each.select(chosen) for each in population]

    for at in (0, 1):
        assert (
            _covered(
                lambda seed, at=at: calibration.interval(_believed(draw(seed)[at]), 0.95, seed),
                true[at],
            )
            >= 0.9
        )
    assert (
        _covered(
            lambda seed: _ends(calibration.change(*map(_believed, draw(seed)), 0.95, seed)),
            true[1] - true[0],
        )
        >= 0.93
    )


def test_calibration_error_without_an_answer() -> None:
    diverged = ClassAnswers.from_outputs([0, 0, 1], [[math.nan, 1.0], [0.0, 0.0], [0.0, 1.0]])
    sound = ClassAnswers.from_outputs([0, 0, 1], [[0.5, 1.0], [0.0, 0.0], [0.0, 1.0]])
    for bounds in (
        calibration.interval(_believed(diverged), 0.95, seed=0),
        calibration.interval(_believed(sound.select(np.array([0]))), 0.95, seed=0),
        _ends(calibration.change(_believed(sound), _believed(diverged), 0.95, seed=0)),
        _ends(calibration.change(_believed(diverged), _believed(sound), 0.95, seed=0)),
    ):
        assert all(map(math.isnan, bounds))


def test_a_weight_of_two_counts_twice() -> None:
    answers = _random_answers(seed=3)
    weights = np.random.default_rng(0).integers(1, 4, size=len(answers))
    weighted = Confidences(answers.confidence, answers.right, weights.astype(float))
    repeated = _believed(answers.select(np.repeat(np.arange(len(answers)), weights)))
    assert calibration.error(weighted) == pytest.approx(calibration.error(repeated))
    pairs = zip(calibration.reliability(weighted), calibration.reliability(repeated), strict=True)
    for one, other in pairs:
        assert (one.confidence, one.accuracy) == pytest.approx((other.confidence, other.accuracy))
    low, high = calibration.interval(weighted, 0.95, seed=0)
    assert low < calibration.error(weighted) < high


def test_several_answers_to_an_example_are_pooled() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.random((50, 3))
    right = rng.random((50, 3)) < confidence
    pooled = calibration.error(Confidences(confidence.ravel(), right.ravel()))
    assert calibration.error(Confidences(confidence, right)) == pytest.approx(pooled)
    bins = calibration.reliability(Confidences(confidence, right))
    assert sum(each.count for each in bins) == 150
    low, high = calibration.interval(Confidences(confidence, right), 0.95, seed=0)
    assert low == 0.0 and high > pooled
