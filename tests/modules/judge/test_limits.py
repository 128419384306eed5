"""Tests of modules.judge.limits: what a report will have, and whether the gate finds it there."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from small_report import entry, evidence_content, fresh, latency, speedup, variant

from modules.errors import ConfigError
from modules.judge import limits
from modules.judge.estimates import estimate
from modules.judge.requirements import SHORT_FORMS, requirements
from modules.judge.schema import Evidence
from modules.settings import EvaluateSettings, GateSettings

VARIANTS = ("float32", "int8")
EVALUATE = EvaluateSettings(top_k=(2, 3), slices=(("class_name",), ("site", "class_name")))


def _check(limit: dict[str, Any], control: bool = True) -> None:
    gate = GateSettings.model_validate({"limits": [limit]})
    limits.check_limits(gate, VARIANTS, EVALUATE, control=control)


@pytest.mark.parametrize(
    "limit",
    [
        {"number": "student.accuracy"},
        {"number": "student.top_k.3", "against": "teacher"},
        {"number": "variants.*.latency.p99_ms", "against": "teacher", "relative": True},
        {"number": "variants.int8.accuracy", "against": "student"},
        {"number": "variants.int8.size_bytes", "against": "pushed"},
        {"number": "student.ece", "against": "control"},
        {"number": "teacher.latencies.saved_model_batch_32.throughput"},
        {"number": "variants.*.fresh.litert.load_ms"},
        {"number": "comparison.speedup"},
        {"number": "comparison.speedups.litert_batch_1.int8"},
        {"number": "comparison.speedups.litert_batch_1.*"},
        {"number": "comparison.agreement_teacher_right"},
        {"number": "student.accuracy", "slice": {"class_name": "3"}},
        {"number": "student.top_k.2", "slice": {"class_name": "3", "site": "A"}},
        {"number": "student.accuracy", "against": "teacher", "slice": {"class_name": "3"}},
    ],
)
def test_numbers_of_a_report_can_be_limited(limit: dict[str, Any]) -> None:
    _check({**limit, "min": 0.5})


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (
            {"number": "student.acuracy"},
            "number must be one of report.json, got student.acuracy; did you mean student.accuracy",
        ),
        ({"number": "variants.float16.accuracy"}, "got variants.float16.accuracy; did you mean"),
        ({"number": "student.top_k.5"}, "did you mean student.top_k.3"),
        ({"number": "x"}, "got x; for example student.accuracy"),
        ({"number": "student"}, "got student; did you mean"),
        ({"number": "student.latency"}, "got student.latency; did you mean"),
        ({"number": "student.latency.runtime"}, "got student.latency.runtime;"),
        ({"number": "student.fresh.litert.passed"}, "got student.fresh.litert.passed;"),
        ({"number": "student.intervals.accuracy"}, "got student.intervals.accuracy;"),
        ({"number": "student.against.teacher.loss.value"}, "must be one of report.json"),
        ({"number": "student.*.accuracy"}, "got student.*.accuracy; did you mean"),
        ({"number": "student.latencies.*.p50_ms"}, "got student.latencies.*.p50_ms;"),
        ({"number": "comparison.speedup.median"}, "did you mean comparison.speedup"),
        ({"number": "examples.eval"}, "got examples.eval;"),
        (
            {"number": "comparison.speedup", "against": "teacher"},
            "against must name another model that has this number, got teacher for "
            "comparison.speedup; remove it",
        ),
        ({"number": "variants.*.compression", "against": "student"}, "got student for variants"),
        ({"number": "student.loss", "against": "student"}, "got student for student.loss"),
        (
            {"number": "teacher.loss", "against": "pushed"},
            "of teacher nothing is pushed; remove against: pushed from teacher.loss",
        ),
        (
            {"number": "student.loss", "slice": {"site": "A"}},
            "slice must have the features of one of evaluate.slices, [['class_name'], "
            "['class_name', 'site']], got site=A; add ['site'] to evaluate.slices",
        ),
        ({"number": "student.loss", "slice": {}}, "got none; add [] to evaluate.slices"),
        (
            {"number": "student.ece", "slice": {"class_name": "3"}},
            "on a slice, number must be one of report.json, got student.ece; did you mean",
        ),
        ({"number": "control.loss", "slice": {"class_name": "3"}}, "on a slice, number must"),
        (
            {"number": "student.loss", "against": "control", "slice": {"class_name": "3"}},
            "on a slice, against must be the other of student and teacher, got control",
        ),
    ],
)
def test_what_no_report_will_have_is_refused_in_one_line(
    limit: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as error:
        _check({**limit, "min": 0.5})
    assert str(error.value).startswith("gate.limits.0: ")
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "limit", [{"number": "control.accuracy"}, {"number": "student.loss", "against": "control"}]
)
def test_without_a_control_none_can_be_judged(limit: dict[str, Any]) -> None:
    _check({**limit, "min": 0.5})
    with pytest.raises(ConfigError, match=r"no control to judge; set distill\.control: true"):
        _check({**limit, "min": 0.5}, control=False)


def test_every_wrong_limit_has_its_line() -> None:
    gate = GateSettings.model_validate(
        {"limits": [{"number": number, "max": 1} for number in ("a.b", "student.loss", "c.d")]}
    )
    with pytest.raises(ConfigError) as error:
        limits.check_limits(gate, VARIANTS, EVALUATE, control=True)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["gate.limits.0", "gate.limits.2"]


# -- the gate finds what can be limited --


def _evidence() -> Evidence:
    """A report in which every number has a value."""
    top_k = {"2": 0.95, "3": 0.97}
    more = {"top_k": top_k, "latencies": {"way": latency(1.0)}, "fresh": {"way": fresh("litert")}}
    shares = ("balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "mae", "rmse", "r2")
    more |= dict.fromkeys(shares, 0.8)
    model = entry(0.9, 1000, 4000, 1.0) | more
    ratio = speedup(2.0, 1.9, 2.1)
    sliced = {"accuracy": 0.9, "loss": 0.3, "top_k": top_k}
    change = {"teacher": {"accuracy": {"value": 0.0, "low": -0.03, "high": 0.03}}}
    content = evidence_content()
    content |= dict.fromkeys(("teacher", "student", "control"), model)
    content["variants"] = {name: variant(name, 0.9, 4000, 1.0) | more for name in VARIANTS}
    content["slices"] = [
        {
            "slice": {"class_name": "a"},
            "count": 100,
            "teacher": sliced,
            "student": sliced | {"against": change},
        }
    ]
    content["comparison"] |= {
        "agreement_teacher_right": 0.99,
        "agreement_teacher_wrong": 0.5,
        "mean_absolute_difference": 0.1,
        "constant_answer": 0.1,
        "speedups": {"way": dict.fromkeys((*VARIANTS, "student"), ratio)},
        "aa_control": {"way": ratio},
    }
    return Evidence.model_validate(content)


def test_every_number_that_can_be_limited_is_read_from_a_report() -> None:
    evidence = _evidence()
    known = limits._Known(VARIANTS, ["2", "3"], [], control=True)
    numbers = [
        ".".join("way" if key == "<name>" else key for key in path).replace("way.way", "way.int8")
        for path in limits._numbers(known)
    ]
    assert {"student.accuracy", "variants.*.top_k.2", "comparison.aa_control.way"} < set(numbers)
    gate = GateSettings.model_validate(
        {"limits": [{"number": number, "max": 1e9} for number in numbers]}
    )
    limits.check_limits(gate, VARIANTS, EVALUATE, control=True)
    found = {each.name: estimate(evidence, each) for each in requirements(gate, VARIANTS)}
    assert all(math.isfinite(each.value) for each in found.values())
    assert found["student.latency.p50_ms[int8]"].interval == (0.9, 1.1)
    assert found["student.latency.p90_ms[int8]"].interval is None
    assert found["comparison.speedup[int8]"].interval == (47.0, 49.0)
    assert found["variants.*.accuracy[int8]"].interval == pytest.approx((0.885, 0.91))
    assert found["comparison.speedups.way.*[float32]"].interval == (1.9, 2.1)


def test_every_number_of_a_slice_is_read_from_a_report() -> None:
    evidence = _evidence()
    numbers = itertools.product(("student", "teacher"), ("accuracy", "loss", "top_k.3"))
    others = {"student": "teacher", "teacher": "student"}
    gate = GateSettings.model_validate(
        {
            "limits": [
                {
                    "number": f"{role}.{number}",
                    "max": 1,
                    "against": against,
                    "slice": {"class_name": "a"},
                }
                for role, number in numbers
                for against in (None, others[role])
            ]
        }
    )
    limits.check_limits(gate, VARIANTS, EVALUATE, control=True)
    found = [estimate(evidence, each) for each in requirements(gate, VARIANTS)]
    assert len(found) == 12
    assert [each.examples for each in found] == [100] * 12
    assert found[1].interval == (-0.03, 0.03)


# -- Tasks --


@pytest.mark.parametrize(
    ("task", "gate", "problem"),
    [
        (
            "regression",
            {"min_accuracy": 0.9},
            "gate.min_accuracy: regression has no accuracy, which is for classification, binary "
            "and multilabel; set max_rmse instead",
        ),
        (
            "regression",
            {"max_accuracy_drop": 0.1},
            "gate.max_accuracy_drop: regression has no accuracy, which is for classification, "
            "binary and multilabel; set max_rmse_increase instead",
        ),
        (
            "binary",
            {"max_tflite_rmse_increase": 0.1},
            "gate.max_tflite_rmse_increase: binary has no rmse, which is for regression; set "
            "max_tflite_accuracy_drop instead",
        ),
        (
            "classification",
            {"max_roc_auc_drop": 0.1},
            "gate.max_roc_auc_drop: classification has no roc_auc, which is for binary and "
            "multilabel; set max_accuracy_drop instead",
        ),
        (
            "multilabel",
            {"limits": [{"number": "student.top_k.3", "min": 0.5}]},
            "gate.limits.0: multilabel has no top_k, got student.top_k.3, which is for "
            "classification; remove it",
        ),
        (
            "regression",
            {"limits": [{"number": "comparison.accuracy_change", "min": 0.5}]},
            "gate.limits.0: regression has no accuracy_change, got comparison.accuracy_change, "
            "which is for classification, binary and multilabel; remove it",
        ),
        (
            "multilabel",
            {"limits": [{"number": "student.roc_auc", "min": 1, "slice": {"class_name": "3"}}]},
            "gate.limits.0: on a slice, multilabel has no roc_auc, got student.roc_auc, which is "
            "for binary; remove it",
        ),
    ],
)
def test_what_a_task_does_not_have_is_one_line(task: Any, gate: dict, problem: str) -> None:
    settings = GateSettings.model_validate(gate)
    with pytest.raises(ConfigError) as caught:
        limits.check_task(settings, task)
    assert str(caught.value) == problem
    with pytest.raises(ConfigError) as caught:
        limits.check_limits(settings, VARIANTS, EVALUATE, control=True, task=task)
    assert str(caught.value) == problem
    # The task may be found out later.
    limits.check_limits(settings, VARIANTS, EVALUATE, control=True)


@pytest.mark.parametrize(
    ("task", "gate"),
    [
        ("regression", {"max_rmse": 3, "max_rmse_increase": 0, "max_tflite_rmse_increase": 0.1}),
        ("binary", {"min_roc_auc": 0.9, "max_roc_auc_drop": 0.01, "min_accuracy": 0.5}),
        ("multilabel", {"min_roc_auc": 0.9, "max_tflite_accuracy_drop": 0.1}),
        ("classification", {"min_accuracy": 0.5, "min_speedup": 2, "max_size_bytes": 9}),
        ("regression", {"limits": [{"number": "student.r2", "min": 0, "against": "teacher"}]}),
        ("regression", {"limits": [{"number": "variants.*.mae", "max": 2}]}),
        ("multilabel", {"limits": [{"number": "student.latency.p50_ms", "max": 2}]}),
    ],
)
def test_every_task_has_short_forms_and_limits(task: Any, gate: dict) -> None:
    settings = GateSettings.model_validate(gate)
    limits.check_limits(settings, VARIANTS, EVALUATE, control=True, task=task)


def test_short_forms_are_in_the_order_of_the_settings() -> None:
    assert [*SHORT_FORMS, "limits"] == GateSettings.limit_names()


# -- Ranges --


@pytest.mark.parametrize(
    ("limit", "problem"),
    [
        (
            {"number": "student.accuracy", "min": 95},
            "no student can keep min: 95, since student.accuracy lies between 0 and 1",
        ),
        (
            {"number": "student.accuracy", "against": "teacher", "max": -2},
            "no student can keep max: -2, since student.accuracy lies between -1 and 1",
        ),
        (
            {"number": "variants.int8.latency.p99_ms", "max": -1},
            "no student can keep max: -1, since variants.int8.latency.p99_ms is never below 0",
        ),
        (
            {"number": "student.top_k.3", "min": 1.5, "slice": {"class_name": "3"}},
            "no student can keep min: 1.5, since student.top_k.3 lies between 0 and 1",
        ),
    ],
)
def test_a_limit_that_no_student_can_keep_is_refused(limit: dict, problem: str) -> None:
    evaluate = EVALUATE.model_copy(update={"slices": (("class_name",),), "top_k": (3,)})
    gate = GateSettings.model_validate({"limits": [limit]})
    with pytest.raises(ConfigError) as caught:
        limits.check_limits(gate, VARIANTS, evaluate, control=True)
    assert str(caught.value) == f"gate.limits.0: {problem}; give another limit"


@pytest.mark.parametrize(
    "limit",
    [
        {"number": "student.loss", "against": "teacher", "max": -3},
        {"number": "student.accuracy", "against": "teacher", "relative": True, "min": 1.01},
        {"number": "student.accuracy", "against": "control", "min": -1},
        {"number": "comparison.distillation_gain", "max": -5},
        {"number": "student.accuracy", "min": 1},
    ],
)
def test_a_limit_at_the_edge_can_be_kept(limit: dict) -> None:
    gate = GateSettings.model_validate({"limits": [limit]})
    limits.check_limits(gate, VARIANTS, EVALUATE, control=True)


def test_a_gain_needs_a_control_and_has_a_range() -> None:
    with pytest.raises(ConfigError, match="min_distillation_gain: there is no control to judge"):
        limits.check_limits(
            GateSettings(min_distillation_gain=0.0), VARIANTS, EVALUATE, control=False
        )
    gate = GateSettings(min_distillation_gain=2.0)
    limits.check_task(gate, "regression")
    with pytest.raises(ConfigError, match="must not exceed 1 for binary, got 2; "):
        limits.check_task(gate, "binary")
