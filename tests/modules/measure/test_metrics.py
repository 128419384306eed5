"""Tests of modules.measure.metrics: hand-computed values, second formulations, properties."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import confusion_matrix

from modules.judge.schema import ConfusionCell, ReliabilityBin
from modules.measure import metrics
from modules.measure.metrics import Predictions


def _predictions(
    labels: list[int], predicted: list[int], confidence: list[float] | None = None
) -> Predictions:
    count = len(labels)
    return Predictions(
        labels=np.array(labels, dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64),
        confidence=np.array([0.5] * count if confidence is None else confidence),
        loss=np.zeros(count),
        label_rank=(np.array(labels) != np.array(predicted)).astype(np.int64),
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
    for name in ("labels", "predicted", "confidence", "loss", "label_rank"):
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
            label_rank=np.zeros(3, np.int64),
        )


def test_select_takes_a_subset_by_mask_or_index() -> None:
    whole = _random_predictions(count=9)
    odd = np.arange(9) % 2 == 1
    for subset in (whole.select(odd), whole.select(np.array([1, 3, 5, 7]))):
        assert len(subset) == 4
        for name, column in vars(whole).items():
            np.testing.assert_array_equal(getattr(subset, name), column[1::2])


# -- top k --


def test_label_rank_by_hand() -> None:
    logits = [[0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    predictions = Predictions.from_logits([1, 2, 0, 0, 2], logits)
    assert predictions.label_rank.tolist() == [0, 1, 2, 0, 2]


def test_label_rank_is_the_place_in_a_stable_order() -> None:
    rng = np.random.default_rng(6)
    logits = rng.integers(4, size=(300, 9)).astype(np.float64)  # many ties
    labels = rng.integers(9, size=300)
    order = np.argsort(-logits, axis=1, kind="stable")
    places = (order == labels[:, np.newaxis]).argmax(axis=1)
    np.testing.assert_array_equal(Predictions.from_logits(labels, logits).label_rank, places)


@pytest.mark.parametrize(
    "row",
    [
        [math.nan, math.nan, math.nan],
        [0.0, math.nan, 1.0],
        [math.inf, math.nan, math.inf],
        [-math.inf, -math.inf, 0.0],
        [math.inf, 0.0, math.inf],
    ],
)
def test_label_ranks_of_a_diverged_row_are_an_order_with_the_prediction_first(row: list) -> None:
    predictions = Predictions.from_logits([0, 1, 2], [row] * 3)
    assert sorted(predictions.label_rank.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(
        predictions.label_rank == 0, predictions.predicted == predictions.labels
    )


def test_top_k_accuracy_grows_from_accuracy_to_one() -> None:
    predictions = _random_predictions()
    shares = [metrics.top_k_accuracy(predictions, k) for k in range(1, 8)]
    assert shares[0] == metrics.accuracy(predictions)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    by_hand = _predictions([0, 1], [0, 0])
    assert [metrics.top_k_accuracy(by_hand, k) for k in (1, 2)] == [0.5, 1.0]


def test_top_k_accuracy_refuses_no_classes() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        metrics.top_k_accuracy(_random_predictions(), 0)


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


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_is_the_weighted_gap_of_the_reliability_bins(bins: int) -> None:
    predictions = _random_predictions(seed=11)
    found = metrics.reliability(predictions, bins)
    assert sum(each.count for each in found) == len(predictions)
    gap = sum(each.count * abs(each.accuracy - each.confidence) for each in found)
    error = metrics.expected_calibration_error(predictions, bins)
    assert gap / len(predictions) == pytest.approx(error, abs=1e-12)


def test_reliability_by_hand_fits_the_reports_schema() -> None:
    predictions = _predictions([0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.25, 0.8, 1.0])
    found = metrics.reliability(predictions, bins=4)
    parts = [ReliabilityBin.model_validate(asdict(each)) for each in found]
    assert [(part.low, part.high, part.count) for part in parts] == [
        (0.0, 0.25, 1),
        (0.25, 0.5, 1),
        (0.75, 1.0, 2),
    ]
    assert [part.confidence for part in parts] == pytest.approx([0.25, 0.5, 0.9])
    assert [part.accuracy for part in parts] == [0.0, 1.0, 1.0]


def test_reliability_of_a_diverged_model_has_no_confidence() -> None:
    predictions = Predictions.from_logits([0, 0], [[math.nan, 1.0], [0.0, 0.0]])
    confidences = [
        ReliabilityBin.model_validate(asdict(each)).confidence
        for each in metrics.reliability(predictions)
    ]
    assert confidences == [0.5, None]


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


def test_agreement_by_teacher_by_hand() -> None:
    # Right on three, of which the student has two; wrong on two, of which it copies one.
    teacher = _predictions([0, 0, 0, 0, 0], [0, 0, 0, 1, 2])
    student = _predictions([0, 0, 0, 0, 0], [0, 0, 1, 1, 0])
    assert metrics.agreement_by_teacher(teacher, student) == (2 / 3, 0.5)


def test_agreement_by_teacher_makes_up_the_agreement() -> None:
    teacher, student = _random_predictions(seed=1), _random_predictions(seed=2)
    student = replace(student, labels=teacher.labels)
    right, wrong = metrics.agreement_by_teacher(teacher, student)
    assert right is not None and wrong is not None and right != wrong
    share = metrics.accuracy(teacher)
    assert share * right + (1 - share) * wrong == pytest.approx(metrics.agreement(teacher, student))


def test_agreement_by_a_teacher_that_is_never_wrong_or_never_right() -> None:
    student = _predictions([0, 1], [0, 0])
    assert metrics.agreement_by_teacher(_predictions([0, 1], [0, 1]), student) == (0.5, None)
    assert metrics.agreement_by_teacher(_predictions([0, 1], [1, 0]), student) == (None, 0.5)


def test_disagreements_by_hand() -> None:
    labels = [0, 0, 0, 0, 0, 0]
    teacher = _predictions(labels, [0, 0, 1, 1, 0, 2])
    # Lost at 1 and 4, won at 2, wrong in another way at 5, agreed at 0 and 3.
    student = _predictions(labels, [0, 1, 0, 1, 2, 1], [0.9, 0.4, 0.6, 0.9, 0.7, 0.8])
    assert metrics.disagreements(teacher, student, 10).tolist() == [4, 1, 5, 2]
    assert metrics.disagreements(teacher, student, 3).tolist() == [4, 1, 5]
    assert metrics.disagreements(teacher, student, 0).tolist() == []
    assert metrics.disagreements(teacher, teacher, 10).tolist() == []


def test_comparisons_refuse_other_examples() -> None:
    first, second = _predictions([0, 1], [0, 1]), _predictions([1, 0], [0, 1])
    with pytest.raises(ValueError, match="2 of 2 labels differ"):
        metrics.agreement_by_teacher(first, second)
    with pytest.raises(ValueError, match="2 of 2 labels differ"):
        metrics.disagreements(first, second, 5)


# -- per class --


def test_confusion_by_hand() -> None:
    cells = metrics.confusion(_predictions([1, 0, 1, 1, 0], [0, 0, 1, 0, 0]))
    assert cells == [(0, 0, 2), (1, 0, 2), (1, 1, 1)]
    assert [ConfusionCell(label=a, predicted=b, count=c).count for a, b, c in cells] == [2, 2, 1]


def test_confusion_agrees_with_scikit_learn() -> None:
    predictions = _random_predictions(seed=8)
    matrix = np.zeros((7, 7), np.int64)
    for label, predicted, count in metrics.confusion(predictions):
        matrix[label, predicted] = count
    np.testing.assert_array_equal(
        matrix, confusion_matrix(predictions.labels, predictions.predicted)
    )


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
