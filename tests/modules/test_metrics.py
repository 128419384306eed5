"""Tests of modules.metrics: hand-computed values, second formulations, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from modules import metrics
from modules.metrics import Predictions


def _predictions(
    labels: list[int], predicted: list[int], confidence: list[float] | None = None
) -> Predictions:
    count = len(labels)
    return Predictions(
        labels=np.array(labels, dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64),
        confidence=np.array([0.5] * count if confidence is None else confidence),
        loss=np.zeros(count),
    )


def _random_predictions(count: int = 400, classes: int = 7, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, classes))
    return Predictions.from_logits(rng.integers(classes, size=count), logits)


# -- Predictions --


def test_from_logits_by_hand() -> None:
    # Row 1: probabilities 1/4, 3/4. Row 2: 1/2, 1/2, a tie that the lower index wins.
    predictions = Predictions.from_logits([0, 1], [[0.0, math.log(3)], [5.0, 5.0]])
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.predicted.tolist() == [1, 0]
    np.testing.assert_allclose(predictions.confidence, [0.75, 0.5], rtol=1e-14)
    np.testing.assert_allclose(predictions.loss, [math.log(4), math.log(2)], rtol=1e-14)


def test_from_logits_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=10.0, size=(200, 11)).astype(np.float32)
    labels = rng.integers(11, size=200)
    predictions = Predictions.from_logits(labels, logits)
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(
        predictions.loss, -log_softmax(exact, axis=1)[np.arange(200), labels], atol=1e-12
    )
    np.testing.assert_allclose(
        predictions.confidence, softmax(exact, axis=1).max(axis=1), rtol=1e-12
    )
    np.testing.assert_array_equal(predictions.predicted, logits.argmax(axis=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_finite_and_exact_at_huge_logits(dtype: str) -> None:
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [1e4, 1e4]]).astype(dtype)
    predictions = Predictions.from_logits([0, 1, 0], logits)
    np.testing.assert_allclose(predictions.loss, [0.0, 2e4, math.log(2)], rtol=1e-12)
    np.testing.assert_allclose(predictions.confidence, [1.0, 1.0, 0.5], rtol=1e-12)


def test_predictions_do_not_change_when_logits_are_shifted() -> None:
    logits = np.random.default_rng(5).normal(size=(50, 4))
    labels = np.arange(50) % 4
    plain = Predictions.from_logits(labels, logits)
    shifted = Predictions.from_logits(labels, logits + 1000.0)
    np.testing.assert_allclose(shifted.loss, plain.loss, atol=1e-10)
    np.testing.assert_allclose(shifted.confidence, plain.confidence, atol=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_diverged_rows_are_nan_and_leave_the_others_alone(bad: float) -> None:
    predictions = Predictions.from_logits([0, 0], [[bad, 1.0], [0.0, 0.0]])
    assert np.isnan(predictions.loss).tolist() == [True, False]
    assert np.isnan(predictions.confidence).tolist() == [True, False]
    assert math.isnan(metrics.mean_loss(predictions))
    assert math.isnan(metrics.expected_calibration_error(predictions))


def test_batches_concatenate_to_the_whole() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(23, 5)), rng.integers(5, size=23)
    whole = Predictions.from_logits(labels, logits)
    parts = [Predictions.from_logits(labels[at : at + 8], logits[at : at + 8]) for at in (0, 8, 16)]
    joined = Predictions.concatenate(parts)
    assert len(joined) == 23
    for name in ("labels", "predicted", "confidence", "loss"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_concatenate_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Predictions.concatenate([])


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 1], [[0.0, 1.0]], r"\(2,\) and \(1, 2\)"),
        ([0], [0.0], "logits \\[batch, classes\\]"),
        ([[0]], [[0.0, 1.0]], r"\(1, 1\)"),
        ([2], [[0.0, 1.0]], "from 0 to 1"),
        ([-1], [[0.0, 1.0]], "from 0 to 1"),
        ([0.5], [[0.0, 1.0]], "integers"),
    ],
)
def test_from_logits_refuses_what_does_not_fit(labels: list, logits: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictions.from_logits(labels, logits)


def test_predictions_refuse_arrays_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="one length"):
        Predictions(
            labels=np.zeros(3, np.int64),
            predicted=np.zeros(2, np.int64),
            confidence=np.zeros(3),
            loss=np.zeros(3),
        )


# -- accuracy and loss --


def test_accuracy_by_hand() -> None:
    assert metrics.accuracy(_predictions([0, 1, 2, 2], [0, 1, 2, 1])) == 0.75


def test_mean_loss_by_hand() -> None:
    predictions = Predictions.from_logits([0, 0], [[0.0, 0.0], [0.0, math.log(7)]])
    assert metrics.mean_loss(predictions) == pytest.approx((math.log(2) + math.log(8)) / 2)


def test_no_examples_is_an_error() -> None:
    empty = Predictions.from_logits([], np.zeros((0, 3)))
    for statistic in (metrics.accuracy, metrics.mean_loss, metrics.expected_calibration_error):
        with pytest.raises(ValueError, match="no example"):
            statistic(empty)


# -- calibration --


def test_ece_by_hand() -> None:
    # Two bins. (0, 0.5]: confidences 0.4, 0.5 and one of two right, gap |0.5 - 0.45| = 0.05.
    # (0.5, 1]: 0.9, 0.9, 0.6, all wrong but one, gap |1/3 - 0.8| = 7/15.
    # ECE = 2/5 * 0.05 + 3/5 * 7/15 = 0.02 + 0.28.
    predictions = _predictions([0, 0, 0, 0, 0], [0, 1, 0, 1, 1], [0.4, 0.5, 0.9, 0.9, 0.6])
    assert metrics.expected_calibration_error(predictions, bins=2) == pytest.approx(0.30)


def test_ece_bins_are_closed_above() -> None:
    # 0.5 belongs to (0, 0.5]. There it offsets 0.25: |(1 - 0.5) + (0 - 0.25)| / 2 = 0.125;
    # in a bin of its own the gaps would add up to (0.5 + 0.25) / 2 = 0.375.
    predictions = _predictions([0, 0], [0, 1], [0.5, 0.25])
    assert metrics.expected_calibration_error(predictions, bins=2) == pytest.approx(0.125)


def test_ece_counts_full_confidence_in_the_last_bin() -> None:
    right = _predictions([0, 0], [0, 0], [1.0, 1.0])
    wrong = _predictions([0, 0], [1, 1], [1.0, 1.0])
    assert metrics.expected_calibration_error(right) == 0.0
    assert metrics.expected_calibration_error(wrong) == 1.0


@pytest.mark.parametrize("bins", [1, 4, 15, 100])
def test_ece_agrees_with_the_papers_sum_over_bins(bins: int) -> None:
    predictions = _random_predictions()
    total = 0.0
    for m in range(1, bins + 1):
        inside = (predictions.confidence > (m - 1) / bins) & (predictions.confidence <= m / bins)
        if inside.any():
            right = predictions.predicted[inside] == predictions.labels[inside]
            gap = abs(right.mean() - predictions.confidence[inside].mean())
            total += inside.sum() / len(predictions) * gap
    value = metrics.expected_calibration_error(predictions, bins=bins)
    assert value == pytest.approx(total, abs=1e-12)
    assert 0.0 < value <= 1.0


def test_ece_with_one_bin_is_the_gap_of_the_means() -> None:
    predictions = _random_predictions(seed=9)
    gap = abs(metrics.accuracy(predictions) - predictions.confidence.mean())
    assert metrics.expected_calibration_error(predictions, bins=1) == pytest.approx(gap)


def test_ece_refuses_no_bins() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        metrics.expected_calibration_error(_random_predictions(), bins=0)


# -- agreement --


def test_agreement_by_hand() -> None:
    # Agreement counts shared mistakes too: the first two are wrong in the same way.
    first = _predictions([0, 0, 0, 0], [1, 1, 0, 0])
    second = _predictions([0, 0, 0, 0], [1, 1, 0, 2])
    assert metrics.agreement(first, second) == 0.75


def test_agreement_is_symmetric_and_one_with_itself() -> None:
    labels = np.arange(60) % 3
    rng = np.random.default_rng(2)
    first = Predictions.from_logits(labels, rng.normal(size=(60, 3)))
    second = Predictions.from_logits(labels, rng.normal(size=(60, 3)))
    assert metrics.agreement(first, first) == 1.0
    assert metrics.agreement(first, second) == metrics.agreement(second, first)
    assert 0.0 < metrics.agreement(first, second) < 1.0


def test_agreement_refuses_different_lengths() -> None:
    with pytest.raises(ValueError, match="same examples, got 3 and 2"):
        metrics.agreement(_predictions([0, 1, 2], [0, 1, 2]), _predictions([0, 1], [0, 1]))


def test_agreement_refuses_different_labels() -> None:
    first, second = _predictions([0, 1, 2], [0, 1, 2]), _predictions([0, 2, 1], [0, 1, 2])
    with pytest.raises(ValueError, match=r"2 of 3 labels differ, first at index 1 \(1 and 2\)"):
        metrics.agreement(first, second)


# -- per class --


def test_per_class_accuracy_by_hand() -> None:
    predictions = _predictions([0, 0, 0, 0, 2], [0, 0, 0, 2, 2])
    counts, shares = metrics.per_class_accuracy(predictions, classes=4)
    assert counts.tolist() == [4, 0, 1, 0]
    np.testing.assert_array_equal(shares, [0.75, math.nan, 1.0, math.nan])


def test_per_class_accuracy_averages_to_accuracy() -> None:
    predictions = _random_predictions(seed=4)
    counts, shares = metrics.per_class_accuracy(predictions, classes=7)
    weighted = (counts * shares).sum() / counts.sum()
    assert weighted == pytest.approx(metrics.accuracy(predictions))


def test_per_class_accuracy_refuses_too_few_classes() -> None:
    with pytest.raises(ValueError, match="classes is 2, but the labels go up to 2"):
        metrics.per_class_accuracy(_predictions([0, 2], [0, 2]), classes=2)
