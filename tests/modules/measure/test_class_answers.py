"""Tests of modules.measure.class_answers: hand-computed values, second formulations, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from modules.measure.class_answers import ClassAnswers

COLUMNS = ("labels", "predicted", "confidence", "loss", "label_rank")


def _random_answers(count: int = 400, classes: int = 7, seed: int = 0) -> ClassAnswers:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, classes))
    return ClassAnswers.from_outputs(rng.integers(classes, size=count), logits)


def test_from_logits_by_hand() -> None:
    # Row 1: probabilities 1/4, 3/4. Row 2: 1/2, 1/2, a tie that the lower index wins.
    answers = ClassAnswers.from_outputs([0, 1], [[0.0, math.log(3)], [5.0, 5.0]])
    assert answers.labels.tolist() == [0, 1]
    assert answers.predicted.tolist() == [1, 0]
    np.testing.assert_allclose(answers.confidence, [0.75, 0.5], rtol=1e-14)
    np.testing.assert_allclose(answers.loss, [math.log(4), math.log(2)], rtol=1e-14)


def test_from_logits_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=10.0, size=(200, 11)).astype(np.float32)
    labels = rng.integers(11, size=200)
    answers = ClassAnswers.from_outputs(labels, logits)
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(
        answers.loss, -log_softmax(exact, axis=1)[np.arange(200), labels], atol=1e-12
    )
    np.testing.assert_allclose(answers.confidence, softmax(exact, axis=1).max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(answers.predicted, logits.argmax(axis=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_finite_and_exact_at_huge_logits(dtype: str) -> None:
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [1e4, 1e4]]).astype(dtype)
    answers = ClassAnswers.from_outputs([0, 1, 0], logits)
    np.testing.assert_allclose(answers.loss, [0.0, 2e4, math.log(2)], rtol=1e-12)
    np.testing.assert_allclose(answers.confidence, [1.0, 1.0, 0.5], rtol=1e-12)


def test_answers_do_not_change_when_logits_are_shifted() -> None:
    logits = np.random.default_rng(5).normal(size=(50, 4))
    labels = np.arange(50) % 4
    plain = ClassAnswers.from_outputs(labels, logits)
    shifted = ClassAnswers.from_outputs(labels, logits + 1000.0)
    np.testing.assert_allclose(shifted.loss, plain.loss, atol=1e-10)
    np.testing.assert_allclose(shifted.confidence, plain.confidence, atol=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_diverged_rows_are_nan_and_leave_the_others_alone(bad: float) -> None:
    answers = ClassAnswers.from_outputs([0, 0], [[bad, 1.0], [0.0, 0.0]])
    assert np.isnan(answers.loss).tolist() == [True, False]
    assert np.isnan(answers.confidence).tolist() == [True, False]


def test_batches_concatenate_to_the_whole() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(23, 5)), rng.integers(5, size=23)
    whole = ClassAnswers.from_outputs(labels, logits)
    parts = [
        ClassAnswers.from_outputs(labels[at : at + 8], logits[at : at + 8]) for at in (0, 8, 16)
    ]
    joined = ClassAnswers.concatenate(parts)
    assert len(joined) == 23
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_concatenate_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="at least one ClassAnswers"):
        ClassAnswers.concatenate([])


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
        ClassAnswers.from_outputs(labels, logits)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        ClassAnswers(
            labels=np.zeros(3, np.int64),
            predicted=np.zeros(2, np.int64),
            confidence=np.zeros(3),
            loss=np.zeros(3),
            label_rank=np.zeros(3, np.int64),
        )


def test_select_takes_a_subset_by_mask_or_index() -> None:
    whole = _random_answers(count=9)
    odd = np.arange(9) % 2 == 1
    for subset in (whole.select(odd), whole.select(np.array([1, 3, 5, 7]))):
        assert len(subset) == 4
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(subset, name), getattr(whole, name)[1::2])


def test_label_rank_by_hand() -> None:
    logits = [[0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    answers = ClassAnswers.from_outputs([1, 2, 0, 0, 2], logits)
    assert answers.label_rank.tolist() == [0, 1, 2, 0, 2]


def test_label_rank_is_the_place_in_a_stable_order() -> None:
    rng = np.random.default_rng(6)
    logits = rng.integers(4, size=(300, 9)).astype(np.float64)  # many ties
    labels = rng.integers(9, size=300)
    order = np.argsort(-logits, axis=1, kind="stable")
    places = (order == labels[:, np.newaxis]).argmax(axis=1)
    np.testing.assert_array_equal(ClassAnswers.from_outputs(labels, logits).label_rank, places)


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
    answers = ClassAnswers.from_outputs([0, 1, 2], [row] * 3)
    assert sorted(answers.label_rank.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(answers.label_rank == 0, answers.predicted == answers.labels)


def test_weights_are_kept_with_their_examples() -> None:
    logits, labels = np.zeros((4, 2)), [0, 1, 0, 1]
    parts = [
        ClassAnswers.from_outputs(labels[:3], logits[:3], [[1.0], [2.0], [3.0]]),
        ClassAnswers.from_outputs(labels[3:], logits[3:], [4.0]),
    ]
    joined = ClassAnswers.concatenate(parts)
    assert joined.weights is not None and joined.weights.tolist() == [1, 2, 3, 4]
    assert joined.select(np.array([3, 0])).weights.tolist() == [4, 1]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="all have weights, or none"):
        ClassAnswers.concatenate([parts[0], ClassAnswers.from_outputs([0], logits[:1])])
    for weights in ([1.0], [1.0, -1.0, 1.0, 1.0], [math.nan] * 4):
        with pytest.raises(ValueError, match="4 numbers of at least 0"):
            ClassAnswers.from_outputs(labels, logits, weights)


def test_margin_is_of_two_classes_alone() -> None:
    two = ClassAnswers.from_outputs([0, 1], [[1.0, 3.0], [0.0, -1.0]])
    assert two.margin is not None and two.margin.tolist() == [2.0, -1.0]
    assert _random_answers().margin is None
