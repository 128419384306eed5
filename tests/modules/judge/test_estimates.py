"""modules.judge.estimates: numbers with their intervals, compared, on slices, or missing."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import pytest
from pydantic import ValidationError
from small_evidence import EVIDENCE, changed_content, evidence, judged, only_check, verdicts

from modules.judge.schema import Evidence

THREES = {"class_name": "3"}


# -- numbers --


@pytest.mark.parametrize(
    ("number", "value", "interval"),
    [
        ("student.loss", 0.1, (0.07, 0.14)),
        ("student.top_k.3", 0.99, (0.974, 0.996)),
        ("teacher.latency.p99_ms", 12.0, (11.5, 12.6)),
        ("comparison.agreement", 0.975, (0.955, 0.986)),
        ("variants.int8.speedup", 3.6, (3.4, 3.8)),
        ("teacher.ece", 0.02, (None, None)),
        ("variants.int8.size_bytes", 90_000, (None, None)),
    ],
)
def test_a_number_is_read_with_its_interval(number: str, value: float, interval: tuple) -> None:
    check = judged(EVIDENCE, {"number": number, "max": 1e9}).checks[0]
    assert (check.value, (check.low, check.high)) == (value, interval)
    assert check.name == number


def test_a_paired_change_is_taken_from_the_report() -> None:
    check = only_check(EVIDENCE, {"number": "student.accuracy", "against": "teacher", "min": -0.02})
    assert (check.value, check.low, check.high) == (-0.01, -0.019, -0.002)


def test_without_a_paired_change_the_intervals_are_put_together() -> None:
    # sqrt(0.03^2 + 0.04^2) below, sqrt(0.04^2 + 0.03^2) above.
    limit = {"number": "student.loss", "against": "teacher", "max": 0.08}
    check = only_check(EVIDENCE, limit)
    assert (check.value, check.low, check.high) == pytest.approx((0.02, -0.03, 0.07))
    exact = only_check(EVIDENCE, {**limit, "number": "student.ece"})
    assert (exact.value, exact.low, exact.high) == (pytest.approx(0.01), None, None)


def test_a_relative_limit_judges_the_quotient() -> None:
    limit = {"number": "student.latency.p99_ms", "against": "teacher", "relative": True}
    timed = evidence(("variants/float32/latency/intervals", {"p99_ms": [2.9, 3.2]}))
    check = judged(timed, {**limit, "max": 0.3}).checks[0]
    assert check.name == "student.latency.p99_ms[float32]"
    assert check.value == 0.25
    assert check.low == pytest.approx(
        0.25 / math.exp(math.hypot(math.log(3 / 2.9), math.log(1.05)))
    )
    assert check.high is not None and 0.25 * 3.2 / 3 < check.high < 3.2 / 11.5
    assert judged(timed, {**limit, "max": 0.26}).checks[0].verdict == "inconclusive"
    zero = evidence(("teacher/ece", 0))
    assert only_check(zero, {**limit, "number": "student.ece", "max": 9}).reason.startswith(
        "the evidence lacks numbers above 0 for the quotient of the ECE of the student"
    )


def test_a_limit_against_a_variant_s_own_student_is_paired_too() -> None:
    check = judged(EVIDENCE, max_tflite_accuracy_drop=0.02).checks[1]
    assert (check.value, check.low, check.high) == (0.005, -0.004, 0.014)


# -- the pushed student --

PUSHED = {
    "version": 7,
    "student": {"accuracy": 0.96, "intervals": {"accuracy": [0.935, 0.975]}},
    "variants": {"int8": {"size_bytes": 100_000}},
}
NO_WORSE = {"number": "student.accuracy", "against": "pushed", "min": -0.03}


def test_against_the_pushed_student_on_other_examples() -> None:
    check = only_check(evidence(("pushed", PUSHED)), NO_WORSE)
    assert check.value == pytest.approx(0.01)
    assert check.low == pytest.approx(0.01 - math.hypot(0.97 - 0.948, 0.975 - 0.96))
    assert check.high == pytest.approx(0.01 + math.hypot(0.983 - 0.97, 0.96 - 0.935))
    assert check.passed


def test_a_first_release_has_nothing_to_be_compared_with() -> None:
    result = judged(EVIDENCE, NO_WORSE)
    assert result.blessed
    assert (result.checks[0].value, result.checks[0].verdict) == (None, "passed")
    assert result.checks[0].reason == (
        "nothing has been pushed yet, so the limit of -0.03 against the pushed student does not "
        "apply to this first release"
    )


def test_a_damaged_manifest_is_no_first_release() -> None:
    damaged: list[Any] = [None, math.nan, math.inf, "0.99", True, [0.9], {}]
    students = [None, {}, *({"accuracy": each} for each in damaged)]
    for student in students:
        result = judged(evidence(("pushed", PUSHED | {"student": student})), NO_WORSE)
        assert result.verdict == "failed"
        assert "lacks the accuracy of the pushed student" in result.checks[0].reason


def test_a_variant_against_the_one_pushed_before() -> None:
    limit = {"number": "variants.*.size_bytes", "against": "pushed", "relative": True, "max": 1}
    result = judged(evidence(("pushed", PUSHED), ("push/tflite", "smallest")), limit)
    assert verdicts(result) == {
        "variants.*.size_bytes[float32]": "failed",
        "variants.*.size_bytes[int8]": "passed",
    }
    assert result.checks[1].reason == (
        "TFLite int8 size at 0.900 times the pushed TFLite int8's (pushed TFLite int8 100,000 "
        "bytes, TFLite int8 90,000 bytes) is within the limit of 1.000"
    )
    assert result.tflite == ["int8"]


@pytest.mark.parametrize(
    "interval", [None, [], [0.9], [0.9, None], [math.nan, 1], [0.9, 0.8], 0.9, ["0", "1"]]
)
def test_a_damaged_interval_of_the_manifest_makes_no_number_exact(interval: object) -> None:
    student = {"accuracy": 0.96, "intervals": {"accuracy": interval}}
    check = only_check(evidence(("pushed", PUSHED | {"student": student})), NO_WORSE)
    assert check.verdict == "failed"
    assert "lacks the confidence interval of the accuracy of the pushed student" in check.reason


@pytest.mark.parametrize("pushed", [{}, [], {"student": {}}, "nonsense"])
def test_what_is_no_manifest_is_no_evidence(pushed: object) -> None:
    with pytest.raises(ValidationError):
        evidence(("pushed", pushed))


# -- slices --


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ({"number": "student.accuracy", "min": 0.7}, (0.9, 0.77, 0.96)),
        ({"number": "student.top_k.3", "min": 0.8}, (0.975, 0.87, 0.996)),
        ({"number": "teacher.accuracy", "min": 0.9}, (0.95, None, None)),
        (
            {"number": "student.accuracy", "against": "teacher", "min": -0.2},
            (-0.05, -0.16, 0.04),
        ),
        ({"number": "student.loss", "against": "teacher", "max": 0.2}, (0.1, None, None)),
    ],
)
def test_a_slice_has_numbers_of_its_own(limit: dict, found: tuple) -> None:
    check = only_check(EVIDENCE, {**limit, "slice": THREES})
    assert (check.value, check.low, check.high) == pytest.approx(found, abs=1e-12)
    assert check.passed
    assert check.name == f"{limit['number']}[class_name=3]"
    assert check.reason.startswith("on class_name=3, ")


def test_a_slice_that_was_not_evaluated_refuses_and_says_which_were() -> None:
    limit = {"number": "student.accuracy", "min": 0.5, "slice": {"hospital": "A"}}
    assert only_check(EVIDENCE, limit).reason == (
        "the evidence lacks the slice hospital=A (evaluated by: class_name; add [hospital] to "
        "evaluate.slices), so the limit of 0.5 cannot be checked"
    )
    absent = only_check(EVIDENCE, {**limit, "slice": {"class_name": "12"}})
    assert absent.verdict == "failed"
    assert "the slice class_name=12 (no eval example has these values)" in absent.reason


# -- missing evidence --


@pytest.mark.parametrize(
    ("path", "limit", "lacks"),
    [
        (
            "student/against/teacher/accuracy/value",
            {"max_accuracy_drop": 1},
            "the paired change of the accuracy of the student",
        ),
        (
            "student/against/teacher/accuracy/low",
            {"max_accuracy_drop": 1},
            "the paired change of the accuracy of the student",
        ),
        ("variants/int8/speedup", {"min_speedup": 1}, "the speed-up of TFLite int8"),
        ("comparison/distillation_gain", {"number": "comparison.distillation_gain"}, "the dis"),
        ("student/loss", {"number": "student.loss"}, "the loss of the student"),
        (
            "variants/int8/latency",
            {"number": "student.latency.p99_ms"},
            "the p99 latency of TFLite",
        ),
        ("teacher/loss", {"number": "student.loss", "against": "teacher"}, "the loss of the teach"),
        ("variants/int8/ece", {"number": "variants.*.ece"}, "the ECE of TFLite int8"),
        ("slices/0/student/loss", {"number": "student.loss", "slice": THREES}, "the loss of the"),
    ],
)
def test_a_missing_number_refuses(path: str, limit: dict[str, Any], lacks: str) -> None:
    is_short = "number" not in limit
    content = changed_content()
    *outer, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    functools.reduce(operator.getitem, outer, content)[last] = None
    lacking = Evidence.model_validate(content)
    limits = [] if is_short else [{**limit, "max": 1e9, "min": -1e9}]
    result = judged(lacking, *limits, **(limit if is_short else {}))
    failed = [check for check in result.checks if not check.passed]
    assert (result.blessed, result.verdict, len(failed)) == (False, "failed", 1 + (not is_short))
    for check in failed:
        assert (check.verdict, check.value, check.counts) == ("failed", None, True)
        assert check.reason.startswith(f"the evidence lacks {lacks}")


@pytest.mark.parametrize("interval", [(None, None), (0.9, None), (math.nan, 1), (0.99, 0.98)])
def test_an_interval_that_is_none_makes_no_number_exact(interval: object) -> None:
    check = only_check(evidence(("student/intervals/accuracy", interval)), min_accuracy=0.5)
    assert check.verdict == "failed"
    assert check.reason == (
        "the evidence lacks the confidence interval of the accuracy of the student, "
        "so the limit of 0.5 cannot be checked"
    )


@pytest.mark.parametrize(
    "number", ["student", "nonsense.deep", "variants", "variants.int8", "x", "student.model_dump"]
)
def test_a_number_that_no_report_has_refuses(number: str) -> None:
    result = judged(EVIDENCE, {"number": number, "max": 1})
    assert result.verdict == "failed"
    assert result.checks[0].reason.startswith("the evidence lacks the ")


@pytest.mark.parametrize("value", [..., None, math.nan, math.inf, "nonsense", -0.1])
@pytest.mark.parametrize(
    "path",
    [
        "student/accuracy",
        "teacher/accuracy",
        "variants/int8/accuracy",
        "variants/int8/size_bytes",
        "comparison/speedup/median",
        "comparison/speedup/ci_low",
    ],
)
def test_a_number_that_every_report_has_cannot_be_left_out(path: str, value: object) -> None:
    with pytest.raises(ValidationError):
        evidence((path, value))


@pytest.mark.parametrize("value", [None, [], [0.9], 0.9, ["a", "b"]])
def test_what_is_no_interval_is_no_evidence(value: object) -> None:
    with pytest.raises(ValidationError):
        evidence(("student/intervals/accuracy", value))


@pytest.mark.parametrize("part", ["teacher", "student", "variants", "comparison", "push"])
def test_a_part_that_every_report_has_cannot_be_left_out(part: str) -> None:
    for value in (..., None, [], "nonsense", *([] if part == "variants" else [{}])):
        with pytest.raises(ValidationError):
            evidence((part, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("push/tflite", []),
        ("push/tflite", "nonsense"),
        *(("variants/int8", entry) for entry in (None, [], "nonsense", {})),
        *(("student/fresh/litert", entry) for entry in (None, {}, {"passed": 1}, "nonsense")),
    ],
)
def test_a_damaged_part_is_no_evidence(path: str, value: object) -> None:
    with pytest.raises(ValidationError):
        evidence((path, value))


# -- regression --


def _regression() -> Evidence:
    """Errors of 5 and 5.5, whose paired quotient is 1.1 within 1.02 and 1.18."""
    numbers = {"accuracy": None, "ece": None, "loss": 25.0, "rmse": 5.0, "mae": 4.0, "r2": 0.8}
    worse = {"rmse": 5.5, "mae": 4.4, "intervals": {"rmse": [4.9, 6.2], "mae": [4.0, 4.9]}}
    relative = {"value": 1.1, "low": 1.02, "high": 1.18}
    change = {"value": 0.5, "low": 0.1, "high": 0.9, "relative": relative}
    steady = change | {"value": 0.0, "low": -0.05, "high": 0.05}
    steady |= {"relative": {"value": 1.0, "low": 0.99, "high": 1.01}}
    content = changed_content(("task", "regression"))
    content["teacher"] |= numbers | {"intervals": {"rmse": [4.5, 5.6]}}
    content["student"] |= numbers | worse | {"against": {"teacher": {"rmse": change}}}
    for each in content["variants"].values():
        each |= numbers | worse | {"against": {"student": {"rmse": steady}}}
    content["slices"] = []
    return Evidence.model_validate(content)


def test_an_increase_of_an_error_is_relative_and_paired() -> None:
    check = only_check(_regression(), max_rmse_increase=0.2)
    assert (check.value, check.low, check.high) == pytest.approx((0.1, 0.02, 0.18))
    assert check.verdict == "passed"
    assert check.reason == (
        "the RMSE increase of 0.100 (teacher 5.0000, student 5.5000; 95% interval 0.020 to 0.180) "
        "is within the limit of 0.200"
    )
    assert only_check(_regression(), max_rmse_increase=0.15).verdict == "inconclusive"
    assert only_check(_regression(), max_rmse_increase=0.01).verdict == "failed"


def test_an_increase_is_judged_for_every_variant() -> None:
    found = {
        each.name: each for each in judged(_regression(), max_tflite_rmse_increase=0.02).checks
    }
    check = found["max_tflite_rmse_increase[int8]"]
    assert check.verdict == "passed"
    assert (check.low, check.high) == pytest.approx((-0.01, 0.01))
    assert check.reason.startswith("RMSE does not increase (student 5.5000, TFLite int8 5.5000")


def test_an_error_is_limited_in_its_unit() -> None:
    check = only_check(_regression(), max_rmse=6.5)
    assert (check.value, check.low, check.high, check.verdict) == (5.5, 4.9, 6.2, "passed")


def test_without_a_paired_quotient_the_intervals_are_put_together() -> None:
    limit = {"number": "student.mae", "against": "teacher", "relative": True, "max": 2}
    check = only_check(_regression(), limit)
    assert check.value == pytest.approx(1.1)
    assert check.low == pytest.approx(1.0)


def test_an_error_of_zero_has_no_increase() -> None:
    evidence = _regression()
    perfect = evidence.teacher.model_copy(update={"rmse": 0.0, "intervals": {}})
    check = only_check(evidence.model_copy(update={"teacher": perfect}), max_rmse_increase=0.2)
    assert (check.verdict, check.value) == ("failed", None)
    assert "numbers above 0 for the quotient" in check.reason
