"""Tests of modules.measure.regression: by hand, against scikit-learn, coverage, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from modules.measure.regression import Regression, ValueAnswers

METRICS = Regression(0.95, seed=0)


def _pair(
    count: int = 250, weighted: bool = False, seed: int = 0
) -> tuple[ValueAnswers, ValueAnswers]:
    """A good model, and one with errors that are a fifth larger."""
    rng = np.random.default_rng(seed)
    labels = rng.lognormal(mean=3, size=count)
    errors = rng.normal(scale=4, size=count)
    weights = rng.gamma(2, size=count) if weighted else None
    worse = 1.2 * errors + rng.normal(scale=0.5, size=count)
    first, second = (
        ValueAnswers.from_outputs(labels, (labels + each)[:, np.newaxis], weights)
        for each in (errors, worse)
    )
    return first, second


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_agree_with_scikit_learn(weighted: bool) -> None:
    _, answers = _pair(weighted=weighted)
    found = {name: each.value for name, each in METRICS.numbers(answers).items()}
    given = {"y_true": answers.labels, "y_pred": answers.values, "sample_weight": answers.weights}
    assert found == pytest.approx(
        {
            "loss": sk.mean_squared_error(**given),
            "rmse": sk.root_mean_squared_error(**given),
            "mae": sk.mean_absolute_error(**given),
            "r2": sk.r2_score(**given),
        }
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_every_number_lies_in_its_interval(weighted: bool) -> None:
    reference, answers = _pair(weighted=weighted)
    for name, each in METRICS.numbers(answers).items():
        assert each.interval[0] < each.value < each.interval[1], name
    for name, pair in METRICS.changes(reference, answers).items():
        assert pair.change.low < pair.change.value < pair.change.high, name
        assert (pair.relative is None) == (name not in ("rmse", "mae"))


def test_an_increase_is_paired_and_relative() -> None:
    reference, answers = _pair()
    found = METRICS.changes(reference, answers)["rmse"].relative
    assert found is not None
    expected = np.sqrt(np.mean(answers.errors**2) / np.mean(reference.errors**2))
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    # Errors of both are nearly proportional: far narrower than of two independent numbers.
    low, high = METRICS.numbers(answers)["rmse"].interval
    assert (found.high - found.low) < 0.3 * (high - low) / float(
        np.sqrt(np.mean(answers.errors**2))
    )


@pytest.mark.thorough
def test_intervals_of_errors_cover() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(50_000, 2)) * rng.lognormal(sigma=0.3, size=(50_000, 1))
    errors[:, 1] = 0.8 * errors[:, 0] + 0.75 * errors[:, 1]
    labels = rng.normal(scale=3, size=50_000)
    whole = [ValueAnswers.from_outputs(labels, labels + each) for each in errors.T]
    true = {name: each.value for name, each in METRICS.statistics(whole[1]).items()}
    ratio = true["rmse"] / METRICS.statistics(whole[0])["rmse"].value
    covered = dict.fromkeys([*true, "ratio"], 0)
    for seed in range(120):
        chosen = np.random.default_rng(seed).integers(50_000, size=200)
        first, second = (each.select(chosen) for each in whole)
        for name, each in METRICS.numbers(second).items():
            covered[name] += each.interval[0] <= true[name] <= each.interval[1]
        relative = METRICS.changes(first, second, ["rmse"])["rmse"].relative
        assert relative is not None
        covered["ratio"] += relative.low <= ratio <= relative.high
    assert {name: count for name, count in covered.items() if count < 0.88 * 120} == {}


def test_agreement_by_hand() -> None:
    # The labels' deviation is 10: values agree up to a difference of 1.
    labels = [0.0, 20.0, 0.0, 20.0]
    teacher = ValueAnswers.from_outputs(labels, [1.0, 19.0, 3.0, 20.0])
    student = ValueAnswers.from_outputs(labels, [2.0, 19.0, 4.5, 22.0])
    found = METRICS.agreement(teacher, student)
    assert found.agreement.value == 0.5
    assert found.mean_absolute_difference is not None
    assert found.mean_absolute_difference.value == pytest.approx(4.5 / 4)
    assert (found.teacher_right, found.teacher_wrong) == (None, None)
    differing = METRICS.differing(teacher, student, 9)
    assert [each.at for each in differing] == [3, 2, 0]
    assert (differing[0].label, differing[0].teacher, differing[0].student) == (20, 20, 22)


def test_a_gain_is_a_lower_error() -> None:
    better, worse = _pair()
    found = METRICS.gain(worse, better)
    assert found.value > 0
    assert found.low < found.value < found.high
    assert METRICS.gain(better, worse).value == pytest.approx(-found.value)


def test_values_that_are_not_finite_are_nan() -> None:
    answers = ValueAnswers.from_outputs([1.0, 2.0, 3.0], [1.0, math.nan, 3.0])
    for each in METRICS.numbers(answers).values():
        assert math.isnan(each.value)
        assert all(map(math.isnan, each.interval))
    assert METRICS.curves(answers)["values"] == [(1.0, 1.0), (3.0, 3.0)]
    sound = ValueAnswers.from_outputs([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    assert [each.at for each in METRICS.differing(sound, answers, 5)] == [1, 2]


def test_constant_labels_have_no_r2() -> None:
    found = METRICS.numbers(ValueAnswers.from_outputs([2.0, 2.0, 2.0], [1.0, 2.0, 4.0]))
    assert math.isnan(found["r2"].value)
    assert found["mae"].value == 1.0


def test_a_perfect_model_has_no_error() -> None:
    answers = ValueAnswers.from_outputs([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    found = METRICS.numbers(answers)
    assert (found["rmse"].value, found["rmse"].interval) == (0.0, (0.0, 0.0))
    assert METRICS.changes(answers, answers)["rmse"].relative is None


def test_charts_show_some_of_very_many_examples() -> None:
    answers, _ = _pair(4000)
    points = METRICS.curves(answers)["values"]
    assert len(points) == 500
    assert points[0][0] == answers.labels.min() and points[-1][0] == answers.labels.max()


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [([1.0], [1.0, 2.0], "each of 1 labels, got 2"), ([math.nan], [1.0], "finite numbers")],
)
def test_what_does_not_fit_is_refused(labels: list, values: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ValueAnswers.from_outputs(labels, values)
