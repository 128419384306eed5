"""Tests of modules.measure.multilabel: by hand, against scikit-learn, weights, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from modules.measure.multilabel import LabelAnswers, Multilabel

METRICS = Multilabel(0.95, seed=0)


def _pair(weighted: bool = False, seed: int = 0) -> tuple[LabelAnswers, LabelAnswers]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(250, 4)) - [0, 1, 2, 0]
    labels = rng.random(logits.shape) < expit(logits)
    noisy = logits + rng.normal(scale=0.8, size=logits.shape)
    weights = rng.gamma(2, size=250) if weighted else None
    first, second = (LabelAnswers.from_outputs(labels, each, weights) for each in (logits, noisy))
    return first, second


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_agree_with_scikit_learn(weighted: bool) -> None:
    _, answers = _pair(weighted)
    found = {name: each.value for name, each in METRICS.numbers(answers).items()}
    weights = {"sample_weight": answers.weights}
    truth, chosen, logits = answers.labels, answers.predicted, answers.logits
    assert found["accuracy"] == pytest.approx(1 - sk.hamming_loss(truth, chosen, **weights))
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(truth, chosen, average="macro", **weights)
    )
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, logits, **weights))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(truth, logits, **weights))
    losses = [sk.log_loss(truth[:, at], expit(logits[:, at]), **weights) for at in range(4)]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_number_lies_in_its_interval(weighted: bool) -> None:
    reference, answers = _pair(weighted)
    for name, each in METRICS.numbers(answers).items():
        assert each.interval[0] <= each.value <= each.interval[1], name
        assert 0 < each.interval[1] - each.interval[0] < 0.3, name
    for name, pair in METRICS.changes(reference, answers).items():
        assert pair.change.low < pair.change.value < pair.change.high, name


@pytest.mark.parametrize("weighted", [False, True])
def test_the_curves_are_of_all_labels_together(weighted: bool) -> None:
    _, answers = _pair(weighted)
    curves = {name: np.array(points).T for name, points in METRICS.curves(answers).items()}
    weights = {"sample_weight": answers.weights}
    area = sk.roc_auc_score(answers.labels, answers.logits, average="micro", **weights)
    # The curve has lost some of its points.
    assert np.trapezoid(*curves["roc"][::-1]) == pytest.approx(area, abs=0.005)
    recall, precision = curves["precision_recall"]
    area = sk.average_precision_score(answers.labels, answers.logits, average="micro", **weights)
    assert np.trapezoid(precision, recall) == pytest.approx(area, abs=0.02)


def test_numbers_are_finite_at_huge_logits() -> None:
    answers = LabelAnswers.from_outputs([[1, 0], [0, 1]], [[1e4, -1e4], [1e4, -1e4]])
    found = METRICS.numbers(answers)
    assert found["loss"].value == pytest.approx(5e3)
    assert (found["accuracy"].value, found["ece"].value) == (0.5, 0.5)


def test_a_label_that_is_always_or_never_there_has_no_rank() -> None:
    answers = LabelAnswers.from_outputs([[1, 0, 0], [1, 0, 1]], [[1, -1, -1.0], [-1, -1, 1.0]])
    found = METRICS.numbers(answers)
    assert found["roc_auc"].value == 1.0  # of the third
    counts, numbers = METRICS.by_class(answers, 3)
    assert counts == [2, 0, 1]
    assert [math.isnan(each["roc_auc"]) for each in numbers] == [True, True, False]
    assert [each["accuracy"] for each in numbers] == [0.5, 1.0, 1.0]
    assert [each["f1"] for each in numbers] == pytest.approx([2 / 3, 0.0, 1.0])


def test_numbers_of_the_labels_average_to_the_macro_ones() -> None:
    _, answers = _pair(weighted=True)
    _, numbers = METRICS.by_class(answers, 4)
    whole = METRICS.statistics(answers)
    for name, macro in (("f1", "macro_f1"), ("roc_auc", "roc_auc"), ("accuracy", "accuracy")):
        assert np.mean([each[name] for each in numbers]) == pytest.approx(whole[macro].value)


def test_agreement_by_hand() -> None:
    labels = [[1, 0], [1, 1]]
    teacher = LabelAnswers.from_outputs(labels, [[1, 1.0], [1, 1.0]])  # wrong once
    student = LabelAnswers.from_outputs(labels, [[1, 1.0], [-1, 1.0]])
    found = METRICS.agreement(teacher, student)
    assert found.agreement.value == 0.75
    assert (found.teacher_right, found.teacher_wrong) == (pytest.approx(2 / 3), 1.0)
    (only,) = METRICS.differing(teacher, student, 5)
    assert (only.at, only.label, only.teacher, only.student) == (1, [0, 1], [0, 1], [1])
    assert only.student_confidence == pytest.approx(expit(1) ** 2)


def test_differing_begins_with_what_the_student_lost_most() -> None:
    labels = np.zeros((4, 3), int)
    teacher = LabelAnswers.from_outputs(labels, [[-1.0] * 3, [1.0] * 3, [-1.0] * 3, [-1.0] * 3])
    student = LabelAnswers.from_outputs(
        labels, [[1.0, -1, -1], [-1.0] * 3, [1.0, 1, -1], [-1.0] * 3]
    )
    assert [each.at for each in METRICS.differing(teacher, student, 9)] == [2, 0, 1]
    assert [each.at for each in METRICS.differing(teacher, student, 1)] == [2]


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 1], [[0.0], [1.0]], r"\[batch, labels\], got \(2,\) and \(2, 1\)"),
        ([[0, 1]], [[0.0]], r"\(1, 2\) and \(1, 1\)"),
        ([[2]], [[0.0]], "0 or 1, got"),
        ([[-1]], [[0.0]], "0 or 1, got"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list, logits: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelAnswers.from_outputs(labels, logits)
