"""modules.judge.gate: verdicts by interval, missing evidence, the choice of files, the words."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest
from pydantic import TypeAdapter

from modules.judge.gate import Check, GateResult, judge, verdict_lines
from modules.settings import GateSettings

EVIDENCE: dict[str, Any] = {
    "confidence": 0.95,
    "examples": {"eval": 400},
    "teacher": {
        "accuracy": 0.98,
        "loss": 0.08,
        "ece": 0.02,
        "intervals": {"accuracy": [0.961, 0.99], "loss": [0.05, 0.12]},
        "latency": {"p99_ms": 12.0, "intervals": {"p99_ms": [11.5, 12.6]}},
    },
    "student": {
        "accuracy": 0.97,
        "loss": 0.1,
        "ece": 0.03,
        "top_k": {"3": 0.99},
        "intervals": {
            "accuracy": [0.948, 0.983],
            "loss": [0.07, 0.14],
            "top_k.3": [0.974, 0.996],
        },
        "against": {"teacher": {"accuracy": {"value": -0.01, "low": -0.019, "high": -0.002}}},
        "latency": {"p99_ms": 3.0, "intervals": {"p99_ms": [2.9, 3.2]}},
    },
    "control": None,
    "variants": {
        "float32": {
            "accuracy": 0.97,
            "size_bytes": 300_000,
            "latency": {"p50_ms": 2.0, "p99_ms": 3.0},
            "against": {"student": {"accuracy": {"value": 0.0, "low": -0.006, "high": 0.006}}},
        },
        "int8": {
            "accuracy": 0.965,
            "size_bytes": 90_000,
            "latency": {"p50_ms": 2.5, "p99_ms": 3.5},
            "against": {"student": {"accuracy": {"value": -0.005, "low": -0.014, "high": 0.004}}},
        },
    },
    "comparison": {
        "speedup": {"median": 3.6, "ci_low": 3.4, "ci_high": 3.8},
        "agreement": 0.975,
        "intervals": {"agreement": [0.955, 0.986]},
    },
    "slices": [
        {
            "slice": {"class_name": "3"},
            "count": 40,
            "teacher": {"accuracy": 0.95, "loss": 0.2},
            "student": {
                "accuracy": 0.9,
                "loss": 0.3,
                "top_k": {"3": 0.975},
                "intervals": {"accuracy": [0.77, 0.96], "top_k.3": [0.87, 0.996]},
            },
            "accuracy_change": {"value": -0.05, "low": -0.16, "high": 0.04},
        }
    ],
    "pushed": None,
    "push": {"tflite": ["int8"]},
}
ALL_LIMITS = GateSettings(
    min_accuracy=0.94,
    max_accuracy_drop=0.02,
    max_tflite_accuracy_drop=0.015,
    min_speedup=3.0,
    max_size_bytes=100_000,
)


def _evidence(*changes: tuple[str, Any]) -> dict[str, Any]:
    """EVIDENCE with other values at dotted keys; `...` removes the key."""
    evidence = copy.deepcopy(EVIDENCE)
    for path, value in changes:
        *outer, last = path.split("/")
        place = evidence
        for key in outer:
            place = place.setdefault(key, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return evidence


def _judge(evidence: dict[str, Any] = EVIDENCE, *limits: dict, **keys: Any) -> GateResult:
    return judge(evidence, GateSettings.model_validate({"limits": limits, **keys}))


def _only(evidence: dict[str, Any] = EVIDENCE, *limits: dict, **keys: Any) -> Check:
    result = _judge(evidence, *limits, **keys)
    (check,) = [check for check in result.checks if check.name != "push.tflite"]
    return check


def _verdicts(result: GateResult) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}


# -- the whole --


def test_a_student_that_keeps_all_limits_is_blessed_in_their_order() -> None:
    result = judge(EVIDENCE, ALL_LIMITS)
    assert (result.blessed, result.verdict, result.tflite) == (True, "passed", ["int8"])
    found = {check.name: (check.value, check.threshold, check.counts) for check in result.checks}
    assert found == {
        "min_accuracy": (0.97, 0.94, True),
        "max_accuracy_drop": (0.01, 0.02, True),
        "max_tflite_accuracy_drop[float32]": (0.0, 0.015, False),
        "max_tflite_accuracy_drop[int8]": (0.005, 0.015, True),
        "min_speedup": (3.6, 3.0, True),
        "max_size_bytes[float32]": (300_000, 100_000, False),
        "max_size_bytes[int8]": (90_000, 100_000, True),
    }
    assert [check.variant for check in result.checks] == [
        None,
        None,
        "float32",
        "int8",
        None,
        "float32",
        "int8",
    ]


@pytest.mark.parametrize(
    ("path", "value", "refused_by", "verdict"),
    [
        ("student/intervals/accuracy", [0.9, 0.939], "min_accuracy", "failed"),
        ("student/intervals/accuracy", [0.9, 0.941], "min_accuracy", "inconclusive"),
        ("student/against/teacher/accuracy/low", -0.0201, "max_accuracy_drop", "inconclusive"),
        (
            "variants/int8/against/student/accuracy/low",
            -0.0151,
            "max_tflite_accuracy_drop[int8]",
            "inconclusive",
        ),
        ("comparison/speedup/ci_low", 2.99, "min_speedup", "inconclusive"),
        ("comparison/speedup/ci_high", 3.39, "min_speedup", "failed"),
        ("variants/int8/size_bytes", 100_001, "max_size_bytes[int8]", "failed"),
    ],
)
def test_one_limit_that_is_not_kept_for_certain_refuses_and_leaves_the_others(
    path: str, value: Any, refused_by: str, verdict: str
) -> None:
    result = judge(_evidence((path, value)), ALL_LIMITS)
    assert (result.blessed, result.verdict, result.tflite) == (False, verdict, [])
    refusing = {
        check.name: check.verdict
        for check in result.checks
        if check.counts and check.verdict != "passed"
    }
    assert refusing == {refused_by: verdict}
    assert len(result.checks) == 7


def test_failed_weighs_more_than_inconclusive() -> None:
    result = _judge(EVIDENCE, min_accuracy=0.95, max_size_bytes=1)
    assert result.verdict == "failed"
    assert verdict_lines(result)[0] == (
        "REFUSED: 1 of 2 checks failed, 1 cannot be decided, nothing is pushed"
    )


def test_without_a_limit_nothing_is_proved() -> None:
    result = judge(EVIDENCE, GateSettings())
    (check,) = result.checks
    assert (result.blessed, result.verdict, result.tflite) == (False, "failed", [])
    assert (check.name, check.value, check.threshold, check.passed) == ("gate", None, None, False)
    assert "set at least one of gate: min_accuracy, max_accuracy_drop, " in check.reason


def test_a_limit_of_zero_is_a_limit() -> None:
    assert _only(EVIDENCE, max_accuracy_drop=0).verdict == "failed"


def test_the_verdict_is_plain_json() -> None:
    unbounded = _evidence(("teacher/intervals/loss", [0.0, 0.12]))
    relative = {"number": "student.loss", "against": "teacher", "relative": True, "max": 2}
    result = _judge(unbounded, relative, {"number": "control.loss", "max": 1}, min_accuracy=0.5)
    assert result.checks[1].low is not None and result.checks[1].high is None  # infinity
    text = json.dumps(asdict(result), allow_nan=False)
    assert TypeAdapter(GateResult).validate_json(text) == result


# -- bounds --


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ({"min": 0.948}, "passed"),
        ({"min": 0.9481}, "inconclusive"),
        ({"min": 0.983}, "inconclusive"),
        ({"min": 0.9831}, "failed"),
        ({"max": 0.983}, "passed"),
        ({"max": 0.9829}, "inconclusive"),
        ({"max": 0.948}, "inconclusive"),
        ({"max": 0.9479}, "failed"),
    ],
)
def test_the_whole_interval_has_to_keep_a_limit(limit: dict[str, float], verdict: str) -> None:
    check = _only(EVIDENCE, {"number": "student.accuracy", **limit})
    assert (check.verdict, check.passed) == (verdict, verdict == "passed")
    assert (check.value, check.low, check.high) == (0.97, 0.948, 0.983)


def test_a_minimum_and_a_maximum_are_two_checks() -> None:
    result = _judge(EVIDENCE, {"number": "comparison.agreement", "min": 0.95, "max": 0.96})
    assert [(check.name, check.threshold, check.verdict) for check in result.checks] == [
        ("comparison.agreement", 0.95, "passed"),
        ("comparison.agreement", 0.96, "inconclusive"),
    ]


@pytest.mark.parametrize("limit", [{"min": 0.031}, {"max": 0.029}])
def test_an_exact_number_is_never_inconclusive(limit: dict[str, float]) -> None:
    check = _only(EVIDENCE, {"number": "student.ece", **limit})
    assert (check.verdict, check.low, check.high) == ("failed", None, None)
    assert _only(EVIDENCE, {"number": "student.ece", "min": 0.03, "max": None}).passed


@pytest.mark.parametrize(("teacher", "student"), [(0.98, 0.97), (0.97, 0.96), (0.31, 0.3)])
def test_a_drop_of_exactly_the_limit_passes_in_floating_point(
    teacher: float, student: float
) -> None:
    evidence = {"teacher": {"accuracy": teacher}, "student": {"accuracy": student}}
    assert _only(evidence, max_accuracy_drop=0.01).passed
    assert not _only(evidence, max_accuracy_drop=0.0099999).passed


def test_a_size_and_a_bound_of_exactly_the_limit_pass() -> None:
    assert _judge(EVIDENCE, max_size_bytes=90_000).blessed
    assert not _judge(EVIDENCE, max_size_bytes=89_999).blessed
    assert _judge(EVIDENCE, min_speedup=3.4).blessed
    assert not _judge(EVIDENCE, min_speedup=3.4001).blessed


# -- numbers --


@pytest.mark.parametrize(
    ("number", "value", "interval"),
    [
        ("student.loss", 0.1, (0.07, 0.14)),
        ("student.top_k.3", 0.99, (0.974, 0.996)),
        ("student.latency.p99_ms", 3.0, (2.9, 3.2)),
        ("comparison.agreement", 0.975, (0.955, 0.986)),
        ("comparison.speedup", 3.6, (3.4, 3.8)),
        ("teacher.ece", 0.02, (None, None)),
        ("variants.int8.size_bytes", 90_000, (None, None)),
    ],
)
def test_a_number_is_read_with_its_interval(number: str, value: float, interval: tuple) -> None:
    check = _judge(EVIDENCE, {"number": number, "max": 1e9}).checks[0]
    assert (check.value, (check.low, check.high)) == (value, interval)
    assert check.name == number


def test_a_paired_change_is_taken_from_the_report() -> None:
    check = _only(EVIDENCE, {"number": "student.accuracy", "against": "teacher", "min": -0.02})
    assert (check.value, check.low, check.high) == (-0.01, -0.019, -0.002)


def test_without_a_paired_change_the_intervals_are_put_together() -> None:
    # sqrt(0.03^2 + 0.04^2) below, sqrt(0.04^2 + 0.03^2) above.
    limit = {"number": "student.loss", "against": "teacher", "max": 0.08}
    check = _only(EVIDENCE, limit)
    assert (check.value, check.low, check.high) == pytest.approx((0.02, -0.03, 0.07))
    exact = _only(EVIDENCE, {**limit, "number": "student.ece"})
    assert (exact.value, exact.low, exact.high) == (pytest.approx(0.01), None, None)


def test_a_relative_limit_judges_the_quotient() -> None:
    limit = {"number": "student.latency.p99_ms", "against": "teacher", "relative": True}
    check = _only(EVIDENCE, {**limit, "max": 0.3})
    assert check.value == 0.25
    assert check.low == pytest.approx(
        0.25 / math.exp(math.hypot(math.log(3 / 2.9), math.log(1.05)))
    )
    assert check.high is not None and 0.25 * 3.2 / 3 < check.high < 3.2 / 11.5
    assert _only(EVIDENCE, {**limit, "max": 0.26}).verdict == "inconclusive"
    zero = _evidence(("teacher/latency/p99_ms", 0))
    assert _only(zero, {**limit, "max": 9}).reason.startswith(
        "the evidence lacks numbers above 0 for the quotient of the p99 latency of the student"
    )


def test_a_limit_against_a_variant_s_own_student_is_paired_too() -> None:
    check = _judge(EVIDENCE, max_tflite_accuracy_drop=0.02).checks[1]
    assert (check.value, check.low, check.high) == (0.005, -0.004, 0.014)


# -- the pushed student --

PUSHED = {
    "version": 7,
    "student": {"accuracy": 0.96, "intervals": {"accuracy": [0.935, 0.975]}},
    "variants": {"int8": {"size_bytes": 100_000}},
}
NO_WORSE = {"number": "student.accuracy", "against": "pushed", "min": -0.03}


def test_against_the_pushed_student_on_other_examples() -> None:
    check = _only(_evidence(("pushed", PUSHED)), NO_WORSE)
    assert check.value == pytest.approx(0.01)
    assert check.low == pytest.approx(0.01 - math.hypot(0.97 - 0.948, 0.975 - 0.96))
    assert check.high == pytest.approx(0.01 + math.hypot(0.983 - 0.97, 0.96 - 0.935))
    assert check.passed


def test_a_first_release_has_nothing_to_be_compared_with() -> None:
    result = _judge(EVIDENCE, NO_WORSE)
    assert result.blessed
    assert (result.checks[0].value, result.checks[0].verdict) == (None, "passed")
    assert result.checks[0].reason == (
        "nothing has been pushed yet, so the limit of -0.03 against the pushed student does not "
        "apply to this first release"
    )


def test_a_damaged_manifest_is_no_first_release() -> None:
    for pushed in (..., {}, [], {"student": {}}, "nonsense"):
        result = _judge(_evidence(("pushed", pushed)), NO_WORSE)
        assert result.verdict == "failed"
        assert "lacks the accuracy of the pushed student" in result.checks[0].reason


def test_a_variant_against_the_one_pushed_before() -> None:
    limit = {"number": "variants.*.size_bytes", "against": "pushed", "relative": True, "max": 1}
    result = _judge(_evidence(("pushed", PUSHED), ("push/tflite", "smallest")), limit)
    assert _verdicts(result) == {
        "variants.*.size_bytes[float32]": "failed",
        "variants.*.size_bytes[int8]": "passed",
    }
    assert result.checks[1].reason == (
        "TFLite int8 size at 0.900 times the pushed TFLite int8's (pushed TFLite int8 100,000 "
        "bytes, TFLite int8 90,000 bytes) keeps the limit of 1.000"
    )
    assert result.tflite == ["int8"]


# -- slices --

THREES = {"class_name": "3"}


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
    check = _only(EVIDENCE, {**limit, "slice": THREES})
    assert (check.value, check.low, check.high) == pytest.approx(found, abs=1e-12)
    assert check.passed
    assert check.name == f"{limit['number']}[class_name=3]"
    assert check.reason.startswith("on class_name=3, ")


def test_a_slice_that_was_not_evaluated_refuses_and_says_which_were() -> None:
    limit = {"number": "student.accuracy", "min": 0.5, "slice": {"hospital": "A"}}
    assert _only(EVIDENCE, limit).reason == (
        "the evidence lacks the slice hospital=A (evaluated by: class_name; add [hospital] to "
        "evaluate.slices), so the limit of 0.5 cannot be confirmed"
    )
    absent = _only(EVIDENCE, {**limit, "slice": {"class_name": "12"}})
    assert absent.verdict == "failed"
    assert "the slice class_name=12 (no eval example has these values)" in absent.reason


# -- missing evidence --

MISSING: list[object] = [..., None, math.nan, math.inf, "0.99", True]


@pytest.mark.parametrize("value", MISSING)
@pytest.mark.parametrize(
    ("path", "limit", "name", "lacks"),
    [
        ("student/accuracy", "min_accuracy", "min_accuracy", "the accuracy of the student"),
        (
            "teacher/accuracy",
            "max_accuracy_drop",
            "max_accuracy_drop",
            "the accuracy of the teacher",
        ),
        (
            "student/against/teacher/accuracy/low",
            "max_accuracy_drop",
            "max_accuracy_drop",
            "the paired change of the accuracy of the student",
        ),
        (
            "variants/int8/accuracy",
            "max_tflite_accuracy_drop",
            "max_tflite_accuracy_drop[int8]",
            "the accuracy of TFLite int8",
        ),
        (
            "comparison/speedup/ci_low",
            "min_speedup",
            "min_speedup",
            "the confidence interval of the speed-up",
        ),
        ("comparison/speedup/median", "min_speedup", "min_speedup", "the speed-up"),
        (
            "variants/int8/size_bytes",
            "max_size_bytes",
            "max_size_bytes[int8]",
            "the size of TFLite int8",
        ),
    ],
)
def test_a_missing_number_refuses(
    path: str, limit: str, name: str, lacks: str, value: object
) -> None:
    result = judge(_evidence((path, value)), GateSettings.model_validate({limit: 1}))
    (failed,) = [check for check in result.checks if check.name == name]
    assert (result.blessed, result.verdict) == (False, "failed")
    assert (failed.verdict, failed.value, failed.counts) == ("failed", None, True)
    assert failed.reason.startswith(f"the evidence lacks {lacks}")


@pytest.mark.parametrize(
    "interval", [None, [], [0.9], [0.9, None], [math.nan, 1], [0.9, 0.8], 0.9, ["0", "1"]]
)
def test_an_interval_that_is_none_makes_no_number_exact(interval: object) -> None:
    check = _only(_evidence(("student/intervals/accuracy", interval)), min_accuracy=0.5)
    assert check.verdict == "failed"
    assert check.reason == (
        "the evidence lacks the confidence interval of the accuracy of the student, "
        "so the limit of 0.5 cannot be confirmed"
    )


@pytest.mark.parametrize("part", ["teacher", "student", "variants", "comparison", "push"])
@pytest.mark.parametrize("value", [..., None, [], "nonsense", {}])
def test_a_missing_part_refuses(part: str, value: object) -> None:
    # Limits that anything keeps, so that only what is missing can refuse.
    lenient = GateSettings(
        min_accuracy=0.0,
        max_accuracy_drop=1.0,
        max_tflite_accuracy_drop=1.0,
        min_speedup=1e-3,
        max_size_bytes=10**12,
    )
    assert judge(EVIDENCE, lenient).blessed
    result = judge(_evidence((part, value)), lenient)
    assert (result.blessed, result.verdict) == (False, "failed")
    assert all(check.value is None for check in result.checks if not check.passed)


def test_empty_evidence_is_refused_by_each_limit() -> None:
    result = judge({}, ALL_LIMITS)
    assert _verdicts(result) == dict.fromkeys(
        [
            "min_accuracy",
            "max_accuracy_drop",
            "max_tflite_accuracy_drop",
            "min_speedup",
            "max_size_bytes",
            "push.tflite",
        ],
        "failed",
    )
    assert "lacks any TFLite variant" in result.checks[2].reason


@pytest.mark.parametrize("number", ["student", "nonsense.deep", "variants", "variants.int8", "x"])
def test_a_number_that_no_report_has_refuses(number: str) -> None:
    result = _judge(EVIDENCE, {"number": number, "max": 1})
    assert result.verdict == "failed"
    assert result.checks[0].reason.startswith("the evidence lacks the ")


# -- the choice of files --


def _choice(push: Any, *changes: tuple[str, Any], **keys: Any) -> GateResult:
    return _judge(_evidence(("push/tflite", push), *changes), **(keys or {"min_accuracy": 0.9}))


def test_the_smallest_or_the_fastest_of_those_that_pass() -> None:
    assert _choice("smallest").tflite == ["int8"]
    assert _choice("fastest").tflite == ["float32"]
    assert _choice(["float32", "int8"]).tflite == ["float32", "int8"]


def test_a_tie_goes_to_the_first_of_the_report() -> None:
    assert _choice("fastest", ("variants/int8/latency/p50_ms", 2.0)).tflite == ["float32"]
    assert _choice("smallest", ("variants/int8/size_bytes", 300_000)).tflite == ["float32"]


def test_a_variant_that_does_not_pass_is_not_chosen_and_does_not_count() -> None:
    result = _choice("smallest", min_accuracy=0.9, max_tflite_accuracy_drop=0.01)
    assert (result.blessed, result.tflite) == (True, ["float32"])
    assert [(check.name, check.verdict, check.counts) for check in result.checks] == [
        ("min_accuracy", "passed", True),
        ("max_tflite_accuracy_drop[float32]", "passed", True),
        ("max_tflite_accuracy_drop[int8]", "inconclusive", False),
    ]


def test_a_named_variant_has_to_pass() -> None:
    result = _choice(["int8"], max_tflite_accuracy_drop=0.01)
    assert (result.verdict, result.tflite) == ("inconclusive", [])
    assert _choice(["float32"], max_tflite_accuracy_drop=0.01).tflite == ["float32"]
    both = _choice(["int8", "float32"], max_tflite_accuracy_drop=0.01)
    assert both.verdict == "inconclusive"


def test_no_variant_left_refuses() -> None:
    result = _choice("smallest", max_size_bytes=1)
    assert (result.blessed, result.verdict, result.tflite) == (False, "failed", [])
    refusal = result.checks[-1]
    assert (refusal.name, refusal.verdict, refusal.variant) == ("push.tflite", "failed", None)
    assert refusal.reason == (
        "no TFLite variant passes all of its checks: float32 (max_size_bytes[float32] failed), "
        "int8 (max_size_bytes[int8] failed)"
    )


def test_no_variant_left_is_inconclusive_if_one_might_yet_pass() -> None:
    result = _choice("smallest", max_tflite_accuracy_drop=0.005, max_size_bytes=100_000)
    assert (result.blessed, result.verdict) == (False, "inconclusive")
    assert result.checks[-1].reason == (
        "no TFLite variant passes all of its checks: float32 "
        "(max_tflite_accuracy_drop[float32] inconclusive, max_size_bytes[float32] failed), int8 "
        "(max_tflite_accuracy_drop[int8] inconclusive)"
    )


@pytest.mark.parametrize("push", ["smallest", "fastest"])
def test_what_was_not_measured_is_not_chosen(push: str) -> None:
    unmeasured = [
        (f"variants/{name}/{key}", None)
        for name in ("float32", "int8")
        for key in ("latency", "size_bytes")
    ]
    assert _choice(push, *unmeasured[:2]).tflite == ["int8"]
    result = _choice(push, *unmeasured)
    assert result.verdict == "failed"
    assert result.checks[-1].reason.startswith("the evidence lacks the ")
    assert result.checks[-1].reason.endswith(" of TFLite float32, int8")


def test_a_named_file_that_was_not_exported_is_refused() -> None:
    result = _choice(["float16"], max_tflite_accuracy_drop=1.0)
    assert [(check.name, check.verdict, check.counts) for check in result.checks] == [
        ("max_tflite_accuracy_drop[float32]", "passed", False),
        ("max_tflite_accuracy_drop[int8]", "passed", False),
        ("max_tflite_accuracy_drop[float16]", "failed", True),
        ("push.tflite", "failed", True),
    ]
    unlimited = _choice(["float16"])
    assert not unlimited.blessed
    assert unlimited.checks[-1].reason == (
        "the evidence lacks TFLite float16, which is to be pushed"
    )


@pytest.mark.parametrize("entry", [None, [], "nonsense"])
def test_a_variant_without_an_entry_was_not_exported(entry: object) -> None:
    assert _choice("smallest", ("variants/int8", entry)).tflite == ["float32"]
    assert _choice(["int8"], ("variants/int8", entry)).verdict == "failed"


def test_the_worse_of_two_limits_on_a_number_decides_whether_a_variant_might_yet_pass() -> None:
    change = {"number": "variants.*.accuracy", "against": "student"}
    evidence = _evidence(("push/tflite", "smallest"))
    result = _judge(evidence, {**change, "min": 0.01}, {**change, "max": 0.003})
    assert [check.verdict for check in result.checks] == [
        "failed",
        "failed",
        "inconclusive",
        "inconclusive",
        "failed",
    ]
    assert result.verdict == "failed"


def test_a_limit_on_one_variant_binds_only_that_one() -> None:
    limit = {"number": "variants.int8.latency.p99_ms", "max": 3.2}
    smallest = _judge(_evidence(("push/tflite", "smallest")), limit, min_accuracy=0.9)
    assert (smallest.blessed, smallest.tflite) == (True, ["float32"])
    assert (smallest.checks[1].variant, smallest.checks[1].counts) == ("int8", False)
    assert not _judge(EVIDENCE, limit).blessed
    absent = _judge(EVIDENCE, {"number": "variants.float16.latency.p99_ms", "max": 3.2})
    assert (absent.blessed, absent.checks[0].counts) == (False, True)


def test_a_limit_on_nothing_that_ships_proves_nothing() -> None:
    limit = {"number": "variants.int8.latency.p99_ms", "max": 3.2}
    result = _judge(_evidence(("push/tflite", "smallest")), limit)
    assert (result.blessed, result.verdict) == (False, "failed")
    assert [check.name for check in result.checks] == [limit["number"], "gate"]
    assert result.checks[1].reason == ("no limit is on the student or on float32, which is to ship")


def test_a_speedup_of_a_variant_binds_that_variant() -> None:
    speedups = {
        "float32": {"median": 3.0, "ci_low": 2.9, "ci_high": 3.1},
        "int8": {"median": 2.0, "ci_low": 1.9, "ci_high": 2.1},
    }
    evidence = _evidence(
        ("comparison/speedups", {"litert_batch_1": speedups}), ("push/tflite", "smallest")
    )
    result = _judge(evidence, {"number": "comparison.speedups.litert_batch_1.*", "min": 2.5})
    assert (result.blessed, result.tflite) == (True, ["float32"])
    assert result.checks[1].reason == (
        "the speed-up (litert_batch_1, int8) of 2.00x (95% interval 1.90x to 2.10x) is below the "
        "required 2.50x"
    )


# -- fresh processes --

ANSWERED = {"passed": True, "canaries": 16, "max_difference": 1e-7, "problem": None}
DIED = {"passed": False, "canaries": 16, "max_difference": None, "problem": "ended by signal 9"}


def test_files_have_to_answer_in_a_fresh_process() -> None:
    changes = [
        ("student/fresh", {"saved_model": ANSWERED}),
        ("variants/float32/fresh", {"litert": ANSWERED}),
        ("variants/int8/fresh", {"litert": DIED}),
    ]
    result = _choice("smallest", *changes)
    assert (result.blessed, result.tflite) == (True, ["float32"])
    assert _verdicts(result) == {
        "min_accuracy": "passed",
        "fresh_process[saved_model]": "passed",
        "fresh_process[float32]": "passed",
        "fresh_process[int8]": "failed",
    }
    assert [check.reason for check in result.checks[1:]] == [
        "in a fresh process with saved_model, student answers all canary examples as it was judged",
        "in a fresh process with litert, TFLite float32 answers all canary examples as it was "
        "judged",
        "in a fresh process with litert, TFLite int8 does not answer as it was judged: ended by "
        "signal 9",
    ]
    assert not _choice(["int8"], *changes).blessed


@pytest.mark.parametrize("process", [DIED, None, {}, {"passed": 1}, "nonsense"])
def test_a_student_that_does_not_answer_in_a_fresh_process_is_refused(process: object) -> None:
    result = _choice("smallest", ("student/fresh", {"saved_model": process}))
    assert (result.blessed, result.verdict) == (False, "failed")


# -- words --


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (
            {"min_accuracy": 0.94},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required 0.9400",
        ),
        (
            {"min_accuracy": 0.99},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) is below the required 0.9900",
        ),
        # Rounded to four digits the bound and the limit would be the same number.
        (
            {"min_accuracy": 0.947996},
            "student accuracy 0.970000 (95% interval 0.948000 to 0.983000) reaches the required "
            "0.947996",
        ),
        (
            {"min_accuracy": 0.96},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required 0.9600, "
            "but its interval reaches below it; at the same rates it takes about 2,000 eval "
            "examples instead of 400 to decide, or a looser limit",
        ),
        (
            {"min_accuracy": 0.98},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) is below the required 0.9800, "
            "but its interval reaches above it; improve the student or loosen the limit",
        ),
        (
            {"min_accuracy": 0.9699},
            "student accuracy 0.9700 (95% interval 0.9480 to 0.9830) reaches the required 0.9699, "
            "but its interval reaches below it; judge it on far more eval examples or loosen the "
            "limit",
        ),
        (
            {"max_accuracy_drop": 0.02},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 to "
            "0.0190) keeps the limit of 0.0200",
        ),
        (
            {"max_accuracy_drop": 0.001},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 to "
            "0.0190) exceeds the limit of 0.0010",
        ),
        (
            {"max_accuracy_drop": 0.015},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700; 95% interval 0.0020 to "
            "0.0190) keeps the limit of 0.0150, but its interval reaches above it; at the same "
            "rates it takes about 1,300 eval examples instead of 400 to decide, or a looser limit",
        ),
        (
            {"min_speedup": 3},
            "the speed-up of 3.60x (95% interval 3.40x to 3.80x) reaches the required 3.00x",
        ),
        (
            {"min_speedup": 3.5},
            "the speed-up of 3.60x (95% interval 3.40x to 3.80x) reaches the required 3.50x, but "
            "its interval reaches below it; time it in more latency.processes or loosen the limit",
        ),
        (
            {"min_speedup": 4},
            "the speed-up of 3.60x (95% interval 3.40x to 3.80x) is below the required 4.00x",
        ),
        (
            {"limits": [{"number": "student.ece", "max": 0.025}]},
            "student ECE 0.0300 exceeds the limit of 0.0250",
        ),
        (
            {"limits": [{"number": "student.top_k.3", "min": 0.97}]},
            "student top-3 accuracy 0.9900 (95% interval 0.9740 to 0.9960) reaches the required "
            "0.9700",
        ),
        (
            {"limits": [{"number": "student.loss", "against": "teacher", "max": 0.08}]},
            "the change of student loss by +0.0200 (teacher 0.0800, student 0.1000; 95% interval "
            "-0.0300 to +0.0700) keeps the limit of +0.0800",
        ),
        (
            {
                "limits": [
                    {
                        "number": "student.latency.p99_ms",
                        "against": "teacher",
                        "relative": True,
                        "max": 0.5,
                    }
                ]
            },
            "student p99 latency at 0.250 times the teacher's (teacher 12.000 ms, student 3.000 "
            "ms; 95% interval 0.236 to 0.270) keeps the limit of 0.500",
        ),
        (
            {"limits": [{"number": "control.accuracy", "min": 0.5}]},
            "the evidence lacks the accuracy of the control, so the limit of 0.5 cannot be "
            "confirmed",
        ),
    ],
)
def test_reasons_are_sentences_with_all_numbers(limits: dict, reason: str) -> None:
    assert _only(EVIDENCE, **limits).reason == reason


def test_reasons_name_the_file() -> None:
    result = _judge(EVIDENCE, max_tflite_accuracy_drop=0.01, max_size_bytes=100_000)
    assert [check.reason for check in result.checks] == [
        "accuracy does not drop at all (student 0.9700, TFLite float32 0.9700; 95% interval "
        "-0.0060 to 0.0060), the limit is 0.0100",
        "the accuracy drop of 0.0050 (student 0.9700, TFLite int8 0.9650; 95% interval -0.0040 "
        "to 0.0140) keeps the limit of 0.0100, but its interval reaches above it; at the same "
        "rates it takes about 1,300 eval examples instead of 400 to decide, or a looser limit",
        "TFLite float32 with 300,000 bytes exceeds the limit of 100,000 bytes",
        "TFLite int8 with 90,000 bytes keeps the limit of 100,000 bytes",
    ]


def test_verdict_lines_of_a_blessed_student() -> None:
    assert verdict_lines(_judge(EVIDENCE, min_accuracy=0.94, max_size_bytes=100_000)) == [
        "PASSED: 2 of 2 checks hold",
        "",
        "- passed `min_accuracy`: student accuracy 0.9700 (95% interval 0.9480 to 0.9830) "
        "reaches the",
        "  required 0.9400",
        "- (failed) `max_size_bytes[float32]`: TFLite float32 with 300,000 bytes exceeds the "
        "limit of 100,000",
        "  bytes; it is not to ship",
        "- passed `max_size_bytes[int8]`: TFLite int8 with 90,000 bytes keeps the limit of "
        "100,000 bytes",
    ]


def test_verdict_lines_of_the_other_verdicts_fit_the_terminal() -> None:
    refused = verdict_lines(_judge(EVIDENCE, min_accuracy=0.94, min_speedup=4))
    assert refused[0] == "REFUSED: 1 of 2 checks failed, nothing is pushed"
    assert refused[-2].startswith("- FAILED `min_speedup`: the speed-up of 3.60x")
    undecided = verdict_lines(_judge(EVIDENCE, min_accuracy=0.95, min_speedup=3))
    assert undecided[0] == "INCONCLUSIVE: 1 of 2 checks cannot be decided, nothing is pushed"
    assert undecided[2].startswith("- INCONCLUSIVE `min_accuracy`: student accuracy 0.9700")
    assert max(map(len, [*refused, *undecided])) <= 100


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'numpy', 'scipy', 'tfx', 'ai_edge_litert'}"
    script = (
        "import sys, modules.judge.gate, modules.judge.limits; "
        f"sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
