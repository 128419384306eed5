"""Tests of modules.gate: every limit at, above and below; evidence that is missing; the words."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

from modules.gate import Check, GateResult, judge, verdict_lines
from modules.settings import GateSettings

EVIDENCE: dict[str, Any] = {
    "teacher": {"accuracy": 0.98},
    "student": {"accuracy": 0.97},
    "variants": {
        "float32": {"accuracy": 0.97, "size_bytes": 300_000},
        "int8": {"accuracy": 0.965, "size_bytes": 90_000},
    },
    "comparison": {"speedup": {"median": 3.6, "ci_low": 3.4, "ci_high": 3.8}},
    "push": {"tflite": ["int8"]},
}
ALL_LIMITS = GateSettings(
    min_accuracy=0.965,
    max_accuracy_drop=0.02,
    max_tflite_accuracy_drop=0.01,
    min_speedup=3.0,
    max_size_bytes=100_000,
)


def _evidence(*path: str, value: object) -> dict[str, Any]:
    """EVIDENCE with another value at a path of keys; `...` removes the key."""
    evidence = copy.deepcopy(EVIDENCE)
    place = evidence
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return evidence


def _only_check(evidence: dict[str, Any], **limits: float) -> Check:
    result = judge(evidence, GateSettings.model_validate(limits))
    assert len(result.checks) == 1
    assert result.blessed is result.checks[0].passed
    return result.checks[0]


# -- the whole --


def test_a_student_that_keeps_all_limits_is_blessed_in_their_order() -> None:
    result = judge(EVIDENCE, ALL_LIMITS)
    assert result.blessed
    assert [check.name for check in result.checks] == [
        "min_accuracy",
        "max_accuracy_drop",
        "max_tflite_accuracy_drop[float32]",
        "max_tflite_accuracy_drop[int8]",
        "min_speedup",
        "max_size_bytes[int8]",
    ]
    assert [check.value for check in result.checks] == pytest.approx(
        [0.97, 0.01, 0.0, 0.005, 3.4, 90_000]
    )
    assert [check.threshold for check in result.checks] == [0.965, 0.02, 0.01, 0.01, 3.0, 100_000]


@pytest.mark.parametrize(
    ("path", "value", "refused_by"),
    [
        (("student", "accuracy"), 0.9649, "min_accuracy"),
        (("teacher", "accuracy"), 0.9901, "max_accuracy_drop"),
        (("variants", "float32", "accuracy"), 0.9599, "max_tflite_accuracy_drop[float32]"),
        (("variants", "int8", "accuracy"), 0.9599, "max_tflite_accuracy_drop[int8]"),
        (("comparison", "speedup", "ci_low"), 2.99, "min_speedup"),
        (("variants", "int8", "size_bytes"), 100_001, "max_size_bytes[int8]"),
    ],
)
def test_one_broken_limit_refuses_and_leaves_the_others(
    path: tuple[str, ...], value: float, refused_by: str
) -> None:
    result = judge(_evidence(*path, value=value), ALL_LIMITS)
    assert not result.blessed
    assert [check.name for check in result.checks if not check.passed] == [refused_by]
    assert len(result.checks) == 6


def test_what_is_not_limited_is_not_checked() -> None:
    hopeless = {"student": {"accuracy": 0.97}}
    result = judge(hopeless, GateSettings(min_accuracy=0.5))
    assert result.blessed
    assert [check.name for check in result.checks] == ["min_accuracy"]


def test_without_a_limit_nothing_is_proved() -> None:
    check = _only_check(EVIDENCE)
    assert (check.name, check.value, check.threshold, check.passed) == ("gate", None, None, False)
    assert "set at least one of gate: min_accuracy, max_accuracy_drop, " in check.reason


def test_a_limit_of_zero_is_a_limit() -> None:
    assert [c.name for c in judge(EVIDENCE, GateSettings(max_accuracy_drop=0)).checks] == [
        "max_accuracy_drop"
    ]


def test_the_verdict_is_plain_json() -> None:
    result = judge(_evidence("comparison", value=None), ALL_LIMITS)
    again = json.loads(json.dumps(asdict(result), allow_nan=False))
    assert GateResult(again["blessed"], [Check(**check) for check in again["checks"]]) == result


# -- limits that are just met --


@pytest.mark.parametrize(("teacher", "student"), [(0.98, 0.97), (0.97, 0.96), (0.31, 0.3)])
def test_a_drop_of_exactly_the_limit_passes_in_floating_point(
    teacher: float, student: float
) -> None:
    evidence = {"teacher": {"accuracy": teacher}, "student": {"accuracy": student}}
    assert _only_check(evidence, max_accuracy_drop=0.01).passed
    assert not _only_check(evidence, max_accuracy_drop=0.0099999).passed


def test_accuracy_of_exactly_the_limit_passes_in_floating_point() -> None:
    noisy = 0.3 * 3  # 0.8999999999999999
    assert noisy < 0.9
    assert _only_check(_evidence("student", "accuracy", value=noisy), min_accuracy=0.9).passed
    assert not _only_check(_evidence("student", "accuracy", value=0.89999), min_accuracy=0.9).passed


def test_size_and_speedup_of_exactly_the_limit_pass() -> None:
    assert _only_check(EVIDENCE, max_size_bytes=90_000).passed
    assert not _only_check(EVIDENCE, max_size_bytes=89_999).passed
    assert _only_check(EVIDENCE, min_speedup=3.4).passed
    assert not _only_check(EVIDENCE, min_speedup=3.41).passed


def test_a_tiny_model_on_many_examples_is_still_told_apart() -> None:
    # One example of a hundred million more than allowed.
    evidence = {"teacher": {"accuracy": 0.98}, "student": {"accuracy": 0.97 - 1e-8}}
    assert not _only_check(evidence, max_accuracy_drop=0.01).passed


# -- meaning of the limits --


def test_speedup_is_judged_by_its_lower_bound() -> None:
    check = _only_check(EVIDENCE, min_speedup=3.5)
    assert (check.passed, check.value) == (False, 3.4)
    assert check.reason == (
        "the lower bound of the speed-up, 3.40x, is below the required 3.50x; "
        "the median of 3.60x does not count, it is not certain enough"
    )


def test_only_the_pushed_file_has_to_be_small() -> None:
    assert _only_check(EVIDENCE, max_size_bytes=100_000).name == "max_size_bytes[int8]"
    both = _evidence("push", "tflite", value=["int8", "float32"])
    result = judge(both, GateSettings(max_size_bytes=100_000))
    assert [(check.name, check.passed) for check in result.checks] == [
        ("max_size_bytes[int8]", True),
        ("max_size_bytes[float32]", False),
    ]


def test_a_student_better_than_its_teacher_does_not_drop() -> None:
    check = _only_check(_evidence("student", "accuracy", value=0.99), max_accuracy_drop=0.0)
    assert check.passed
    assert check.value == pytest.approx(-0.01)
    assert check.reason == (
        "accuracy does not drop at all (teacher 0.9800, student 0.9900), the limit is 0.0000"
    )


# -- missing evidence --

MISSING: list[object] = [..., None, math.nan, math.inf, "0.99", True]


@pytest.mark.parametrize("value", MISSING)
@pytest.mark.parametrize(
    ("path", "limit", "name", "lacks"),
    [
        (("student", "accuracy"), "min_accuracy", "min_accuracy", "the student's accuracy"),
        (
            ("teacher", "accuracy"),
            "max_accuracy_drop",
            "max_accuracy_drop",
            "the accuracy of the teacher",
        ),
        (
            ("student", "accuracy"),
            "max_accuracy_drop",
            "max_accuracy_drop",
            "the accuracy of the student",
        ),
        (
            ("variants", "int8", "accuracy"),
            "max_tflite_accuracy_drop",
            "max_tflite_accuracy_drop[int8]",
            "the accuracy of the TFLite int8",
        ),
        (
            ("comparison", "speedup", "ci_low"),
            "min_speedup",
            "min_speedup",
            "the lower confidence bound of the speed-up",
        ),
        (
            ("variants", "int8", "size_bytes"),
            "max_size_bytes",
            "max_size_bytes[int8]",
            "the size of TFLite int8",
        ),
    ],
)
def test_a_missing_number_refuses(
    path: tuple[str, ...], limit: str, name: str, lacks: str, value: object
) -> None:
    settings = GateSettings.model_validate({limit: 1})
    result = judge(_evidence(*path, value=value), settings)
    (failed,) = [check for check in result.checks if not check.passed]
    assert not result.blessed
    assert (failed.name, failed.value) == (name, None)
    assert failed.reason.startswith(f"the evidence lacks {lacks}")


@pytest.mark.parametrize("part", ["teacher", "student", "variants", "comparison", "push"])
@pytest.mark.parametrize("value", [..., None, [], "nonsense"])
def test_a_missing_part_refuses(part: str, value: object) -> None:
    evidence = _evidence(part, value=value)
    # Limits that anything keeps, so that only what is missing can refuse.
    lenient = GateSettings(
        min_accuracy=0.0,
        max_accuracy_drop=1.0,
        max_tflite_accuracy_drop=1.0,
        min_speedup=1e-3,
        max_size_bytes=10**12,
    )
    assert judge(EVIDENCE, lenient).blessed
    result = judge(evidence, lenient)
    assert not result.blessed
    assert all(check.value is None for check in result.checks if not check.passed)


def test_empty_evidence_is_refused_by_each_limit() -> None:
    result = judge({}, ALL_LIMITS)
    assert [check.name for check in result.checks] == [
        "min_accuracy",
        "max_accuracy_drop",
        "max_tflite_accuracy_drop",
        "min_speedup",
        "max_size_bytes",
    ]
    assert not any(check.passed for check in result.checks)


def test_a_pushed_file_that_was_not_exported_is_refused() -> None:
    evidence = _evidence("push", "tflite", value=["float16"])
    size = _only_check(evidence, max_size_bytes=10**9)
    assert (size.name, size.passed) == ("max_size_bytes[float16]", False)
    assert size.reason == (
        "the evidence lacks the size of TFLite float16, which is to be pushed, "
        "so the limit of 1,000,000,000 cannot be confirmed"
    )
    drop = judge(evidence, GateSettings(max_tflite_accuracy_drop=1.0))
    assert not drop.blessed
    assert [(check.name, check.passed) for check in drop.checks] == [
        ("max_tflite_accuracy_drop[float32]", True),
        ("max_tflite_accuracy_drop[int8]", True),
        ("max_tflite_accuracy_drop[float16]", False),
    ]


# -- words --


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_accuracy": 0.965}, "student accuracy 0.9700 reaches the required 0.9650"),
        ({"min_accuracy": 0.975}, "student accuracy 0.9700 is below the required 0.9750"),
        # Rounded to four digits these two would be the same number.
        ({"min_accuracy": 0.97001}, "student accuracy 0.97000 is below the required 0.97001"),
        (
            {"max_accuracy_drop": 0.02},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700) "
            "keeps the limit of 0.0200",
        ),
        (
            {"max_accuracy_drop": 0.005},
            "the accuracy drop of 0.0100 (teacher 0.9800, student 0.9700) "
            "exceeds the limit of 0.0050",
        ),
        ({"min_speedup": 3}, "the lower bound of the speed-up, 3.40x, reaches the required 3.00x"),
        (
            {"min_speedup": 4},
            "the lower bound of the speed-up, 3.40x, is below the required 4.00x",
        ),
        (
            {"max_size_bytes": 100_000},
            "TFLite int8 with 90,000 bytes keeps the limit of 100,000 bytes",
        ),
        (
            {"max_size_bytes": 80_000},
            "TFLite int8 with 90,000 bytes exceeds the limit of 80,000 bytes",
        ),
    ],
)
def test_reasons_are_sentences_with_both_numbers(limits: dict, reason: str) -> None:
    assert _only_check(EVIDENCE, **limits).reason == reason


def test_reasons_name_the_file() -> None:
    result = judge(EVIDENCE, GateSettings(max_tflite_accuracy_drop=0.001))
    assert [check.reason for check in result.checks] == [
        "accuracy does not drop at all (student 0.9700, TFLite float32 0.9700), "
        "the limit is 0.0010",
        "the accuracy drop of 0.0050 (student 0.9700, TFLite int8 0.9650) "
        "exceeds the limit of 0.0010",
    ]


def test_verdict_lines_of_a_blessed_student() -> None:
    assert verdict_lines(judge(EVIDENCE, GateSettings(min_accuracy=0.965, min_speedup=3))) == [
        "PASSED: 2 of 2 checks hold",
        "",
        "- passed `min_accuracy`: student accuracy 0.9700 reaches the required 0.9650",
        "- passed `min_speedup`: the lower bound of the speed-up, 3.40x, "
        "reaches the required 3.00x",
    ]


def test_verdict_lines_of_a_refused_student_fit_the_terminal() -> None:
    lines = verdict_lines(judge(EVIDENCE, GateSettings(min_accuracy=0.965, min_speedup=3.5)))
    assert lines == [
        "REFUSED: 1 of 2 checks failed, nothing is pushed",
        "",
        "- passed `min_accuracy`: student accuracy 0.9700 reaches the required 0.9650",
        "- FAILED `min_speedup`: the lower bound of the speed-up, 3.40x, is below the required "
        "3.50x; the",
        "  median of 3.60x does not count, it is not certain enough",
    ]
    assert max(map(len, lines)) <= 100


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'numpy', 'scipy', 'tfx', 'ai_edge_litert'}"
    script = f"import sys, modules.gate; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
