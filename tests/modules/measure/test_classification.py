"""Tests of modules.measure.classification: by hand, against scikit-learn, weights, properties."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk

from modules.judge.schema import ConfusionCell
from modules.judge.task_numbers import NUMBERS, SLICE_NUMBERS
from modules.measure.answers import require_same_examples
from modules.measure.class_answers import ClassAnswers
from modules.measure.classification import Binary, Classification
from modules.measure.registry import metrics_of

METRICS = Classification(0.95, seed=0, top_k=(2, 3))
BINARY = Binary(0.95, seed=0)


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


def _pair(
    count: int = 300, classes: int = 5, seed: int = 0, weighted: bool = False
) -> tuple[ClassAnswers, ClassAnswers]:
    """A good model, and one that is noisier."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(count, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    noisy = logits + rng.normal(scale=0.7, size=logits.shape)
    weights = rng.gamma(2, size=count) if weighted else None
    first, second = (ClassAnswers.from_outputs(labels, each, weights) for each in (logits, noisy))
    return first, second


def _values(metrics: Classification, answers: ClassAnswers) -> dict[str, float]:
    return {name: each.value for name, each in metrics.numbers(answers).items()}


# -- Numbers --


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_agree_with_scikit_learn(weighted: bool) -> None:
    _, answers = _pair(weighted=weighted)
    found = _values(METRICS, answers)
    given = {"y_true": answers.labels, "y_pred": answers.predicted}
    given["sample_weight"] = answers.weights
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(**given))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(**given))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(**given, average="macro"))
    hits = answers.label_rank < 3
    assert found["top_k.3"] == pytest.approx(np.average(hits, weights=answers.weights))
    assert found["loss"] == pytest.approx(np.average(answers.loss, weights=answers.weights))


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_numbers_agree_with_scikit_learn(weighted: bool) -> None:
    _, answers = _pair(classes=2, weighted=weighted)
    found = _values(BINARY, answers)
    given = (answers.labels, answers.margin)
    weights = {"sample_weight": answers.weights}
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(*given, **weights))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(*given, **weights))
    roc = np.array(BINARY.curves(answers)["roc"])
    assert sk.auc(*roc.T) == pytest.approx(found["roc_auc"], abs=2e-3)


@pytest.mark.parametrize("name", ["classification", "binary", "multilabel", "regression"])
def test_the_light_table_of_numbers_is_that_of_the_tasks(name: str) -> None:
    metrics = metrics_of(name, 0.95, 0, top_k=(2,))  # type: ignore[arg-type]
    outputs = np.random.default_rng(0).normal(size=(40, 1 if name == "regression" else 2))
    labels = {"multilabel": outputs > 0.3, "regression": outputs[:, 0] + 1}.get(
        name, (outputs[:, -1] > 0.5).astype(int)
    )
    answers = metrics.answers.from_outputs(labels, outputs)
    found = {each.partition(".")[0] for each in metrics.numbers(answers)}
    # Of two classes there is no second one to count.
    assert found - ({"top_k"} if name == "binary" else set()) == set(NUMBERS[name])  # type: ignore[index]
    assert metrics.slice_numbers == SLICE_NUMBERS[name]  # type: ignore[index]


def test_a_class_that_does_not_occur_does_not_count() -> None:
    answers = _answers([0, 0, 4], [0, 0, 4])
    found = _values(METRICS, answers)
    assert (found["balanced_accuracy"], found["macro_f1"]) == (1.0, 1.0)
    # A class that is only predicted has no accuracy, but an F1 of 0.
    found = _values(METRICS, _answers([0, 0, 4], [0, 2, 4]))
    assert found["balanced_accuracy"] == pytest.approx(0.75)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_top_k_accuracies_grow_from_accuracy_to_one() -> None:
    found = _values(Classification(0.95, 0, top_k=(2, 3, 4, 5)), _pair()[0])
    shares = [found["accuracy"], *(found[f"top_k.{k}"] for k in (2, 3, 4, 5))]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_loss_by_hand() -> None:
    answers = ClassAnswers.from_outputs([0, 0], [[0.0, 0.0], [0.0, math.log(7)]])
    assert _values(METRICS, answers)["loss"] == pytest.approx((math.log(2) + math.log(8)) / 2)


def test_no_examples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no example"):
        METRICS.numbers(ClassAnswers.from_outputs([], np.zeros((0, 3))))


def test_a_diverged_model_has_an_accuracy_and_nothing_else() -> None:
    answers = ClassAnswers.from_outputs([0, 1, 1], [[math.nan, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = BINARY.numbers(answers)
    assert found["accuracy"].value == 1.0
    for name in ("loss", "ece", "roc_auc", "pr_auc"):
        assert math.isnan(found[name].value)
        assert all(map(math.isnan, found[name].interval))


# -- Intervals --


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 5])
def test_every_number_lies_in_its_interval(classes: int, weighted: bool) -> None:
    reference, answers = _pair(classes=classes, weighted=weighted)
    metrics = BINARY if classes == 2 else METRICS
    for name, each in metrics.numbers(answers).items():
        assert each.interval[0] <= each.value <= each.interval[1], name
        assert 0 < each.interval[1] - each.interval[0] < 0.4, name
    for name, pair in metrics.changes(reference, answers).items():
        assert pair.change.low < pair.change.value < pair.change.high, name


def test_changes_are_paired() -> None:
    reference, answers = _pair(seed=3)
    single, paired = METRICS.numbers(answers), METRICS.changes(reference, answers)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss"):
        low, high = single[name].interval
        assert paired[name].change.high - paired[name].change.low < high - low, name


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc"])
def test_a_perfect_model_is_not_certain_to_be_perfect(name: str) -> None:
    labels = np.arange(50) % 2
    answers = ClassAnswers.from_outputs(labels, np.stack([1 - labels, labels], axis=1) * 9.0)
    found = BINARY.numbers(answers)[name]
    assert found.value == 1.0 == found.interval[1]
    assert 0.85 < found.interval[0] < 0.95
    change = BINARY.changes(answers, answers)[name].change
    assert change.value == 0.0
    assert 0.05 < change.high == pytest.approx(-change.low)


def test_weights_widen_the_interval() -> None:
    answers, _ = _pair()
    few = np.where(np.arange(len(answers)) < 30, 1.0, 1e-3)
    weighted = METRICS.numbers(replace(answers, weights=few))["accuracy"].interval
    plain = METRICS.numbers(answers)["accuracy"].interval
    assert weighted[1] - weighted[0] > 2 * (plain[1] - plain[0])


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "roc_auc", "pr_auc"])
@pytest.mark.thorough
def test_intervals_cover(name: str) -> None:
    population = ClassAnswers.concatenate([_pair(40_000, classes=2, seed=1)[1]])
    true = BINARY.statistics(population)[name].value
    covered = below = 0
    for seed in range(150):
        chosen = np.random.default_rng(seed).integers(40_000, size=250)
        found = BINARY.statistics(population.select(chosen))[name]
        low, high = BINARY.measured(found).interval
        covered += low <= true <= high
        below += true < low
    assert covered >= 0.9 * 150
    assert below <= 0.06 * 150  # The bound on which a gate rests.


# -- Agreement --


def test_agreement_by_hand() -> None:
    # Right on three, of which the student has two; wrong on two, of which it copies one.
    teacher = _answers([0, 0, 0, 0, 0], [0, 0, 0, 1, 2])
    student = _answers([0, 0, 0, 0, 0], [0, 0, 1, 1, 0])
    found = METRICS.agreement(teacher, student)
    assert found.agreement.value == pytest.approx(3 / 5)
    assert (found.teacher_right, found.teacher_wrong) == (pytest.approx(2 / 3), 0.5)
    weighted = [replace(each, weights=np.array([1.0, 0, 3, 2, 0])) for each in (teacher, student)]
    found = METRICS.agreement(*weighted)
    assert found.agreement.value == pytest.approx(3 / 6)
    assert (found.teacher_right, found.teacher_wrong) == (1 / 4, 1.0)


def test_agreement_is_made_up_of_where_the_teacher_is_right_and_wrong() -> None:
    teacher, student = _pair(seed=5)
    found = METRICS.agreement(teacher, student)
    assert METRICS.agreement(student, teacher).agreement == found.agreement
    assert METRICS.agreement(teacher, teacher).agreement.value == 1.0
    assert found.teacher_right is not None and found.teacher_wrong is not None
    share = teacher.right.mean()
    whole = share * found.teacher_right + (1 - share) * found.teacher_wrong
    assert whole == pytest.approx(found.agreement.value)


def test_agreement_with_a_teacher_that_is_never_wrong_or_never_right() -> None:
    student = _answers([0, 1], [0, 0])
    for predicted, expected in (([0, 1], (0.5, None)), ([1, 0], (None, 0.5))):
        found = METRICS.agreement(_answers([0, 1], predicted), student)
        assert (found.teacher_right, found.teacher_wrong) == expected


def test_differing_by_hand() -> None:
    labels = [0, 0, 0, 0, 0, 0]
    teacher = _answers(labels, [0, 0, 1, 1, 0, 2])
    # Lost at 1 and 4, won at 2, wrong in another way at 5, agreed at 0 and 3.
    student = _answers(labels, [0, 1, 0, 1, 2, 1], [0.9, 0.4, 0.6, 0.9, 0.7, 0.8])
    for limit in (10, 3, 0):
        found = METRICS.differing(teacher, student, limit)
        assert [each.at for each in found] == [4, 1, 5, 2][:limit]
    first = METRICS.differing(teacher, student, 1)[0]
    assert (first.label, first.teacher, first.student) == (0, 0, 2)
    assert (first.teacher_confidence, first.student_confidence) == (0.5, 0.7)
    assert METRICS.differing(teacher, teacher, 10) == []


def test_comparisons_refuse_other_examples() -> None:
    first, second = _answers([0, 1], [0, 1]), _answers([1, 0], [0, 1])
    for compare in (
        METRICS.agreement,
        METRICS.changes,
        lambda *both: METRICS.differing(*both, 5),
    ):
        with pytest.raises(ValueError, match="2 of 2 labels differ"):
            compare(first, second)
    with pytest.raises(ValueError, match=r"2 of 3 labels differ, first at index 1 \(1 and 2\)"):
        require_same_examples(_answers([0, 1, 2], [0, 1, 2]), _answers([0, 2, 1], [0, 1, 2]))
    with pytest.raises(ValueError, match="same examples, got 3 and 2"):
        require_same_examples(_answers([0, 1, 2], [0, 1, 2]), first)


# -- Classes --


def test_confusion_by_hand() -> None:
    cells = METRICS.confusion(_answers([1, 0, 1, 1, 0], [0, 0, 1, 0, 0]))
    assert cells == [(0, 0, 2), (1, 0, 2), (1, 1, 1)]
    assert [ConfusionCell(label=a, predicted=b, count=c).count for a, b, c in cells] == [2, 2, 1]


def test_confusion_agrees_with_scikit_learn() -> None:
    answers, _ = _pair(seed=8)
    matrix = np.zeros((5, 5), np.int64)
    for label, predicted, count in METRICS.confusion(answers):
        matrix[label, predicted] = count
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(answers.labels, answers.predicted))


def test_by_class_by_hand() -> None:
    counts, numbers = METRICS.by_class(_answers([0, 0, 0, 0, 2], [0, 0, 0, 2, 2]), classes=4)
    assert counts == [4, 0, 1, 0]
    np.testing.assert_array_equal(
        [each["accuracy"] for each in numbers], [0.75, math.nan, 1.0, math.nan]
    )
    np.testing.assert_allclose([each["f1"] for each in numbers], [6 / 7, math.nan, 2 / 3, math.nan])


def test_by_class_agrees_with_scikit_learn() -> None:
    answers, _ = _pair(seed=4, weighted=True)
    _, numbers = METRICS.by_class(answers, classes=5)
    given = (answers.labels, answers.predicted)
    for name, score in (("accuracy", sk.recall_score), ("f1", sk.f1_score)):
        expected = score(*given, average=None, sample_weight=answers.weights)
        assert [each[name] for each in numbers] == pytest.approx(expected)


def test_by_class_refuses_too_few_classes() -> None:
    with pytest.raises(ValueError, match="classes is 2, but the labels go up to 2"):
        METRICS.by_class(_answers([0, 2], [0, 2]), classes=2)
