"""modules.judge.gate: verdicts by interval, the choice of files, files in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from small_evidence import EVIDENCE, evidence, judged, only_check, verdicts
from small_report import entry, fresh, speedup

from modules.judge.gate import judge
from modules.judge.schema import GateResult
from modules.report.table import verdict_lines
from modules.settings import GateSettings

ALL_LIMITS = GateSettings(
    min_accuracy=0.94,
    max_accuracy_drop=0.02,
    max_tflite_accuracy_drop=0.015,
    min_speedup=3.0,
    max_size_bytes=100_000,
)


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
        "min_speedup[float32]": (4.0, 3.0, False),
        "min_speedup[int8]": (3.6, 3.0, True),
        "max_size_bytes[float32]": (300_000, 100_000, False),
        "max_size_bytes[int8]": (90_000, 100_000, True),
    }
    variants = [check.variant for check in result.checks]
    assert variants == [None, None, *["float32", "int8"] * 3]


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
        ("variants/int8/speedup/ci_low", 2.99, "min_speedup[int8]", "inconclusive"),
        ("variants/int8/speedup", speedup(2.9, 2.8, 2.99), "min_speedup[int8]", "failed"),
        ("variants/int8/size_bytes", 100_001, "max_size_bytes[int8]", "failed"),
    ],
)
def test_one_limit_that_is_not_kept_for_certain_refuses_and_leaves_the_others(
    path: str, value: Any, refused_by: str, verdict: str
) -> None:
    result = judge(evidence((path, value)), ALL_LIMITS)
    assert (result.blessed, result.verdict, result.tflite) == (False, verdict, [])
    refusing = {
        check.name: check.verdict
        for check in result.checks
        if check.counts and check.verdict != "passed"
    }
    assert refusing == {refused_by: verdict}
    assert len(result.checks) == 8


def test_failed_weighs_more_than_inconclusive() -> None:
    result = judged(EVIDENCE, min_accuracy=0.95, max_size_bytes=1)
    assert (result.verdict, set(verdicts(result).values())) == (
        "failed",
        {"failed", "inconclusive"},
    )


def test_without_a_limit_nothing_is_proved() -> None:
    result = judge(EVIDENCE, GateSettings())
    (check,) = result.checks
    assert (result.blessed, result.verdict, result.tflite) == (False, "failed", [])
    assert (check.name, check.value, check.threshold, check.passed) == ("gate", None, None, False)
    assert "set at least one of gate: min_accuracy, max_accuracy_drop, " in check.reason


def test_a_limit_of_zero_is_a_limit() -> None:
    assert only_check(EVIDENCE, max_accuracy_drop=0).verdict == "failed"


def test_the_verdict_is_plain_json() -> None:
    unbounded = evidence(("teacher/intervals/loss", [0.0, 0.12]))
    relative = {"number": "student.loss", "against": "teacher", "relative": True, "max": 2}
    result = judged(unbounded, relative, {"number": "control.loss", "max": 1}, min_accuracy=0.5)
    assert result.checks[1].low is not None and result.checks[1].high is None  # infinity
    assert GateResult.model_validate_json(result.model_dump_json()) == result


def test_without_any_evidence_each_limit_refuses() -> None:
    nothing = evidence(
        ("variants", {}),
        ("push/tflite", "smallest"),
        ("student/intervals", {"accuracy": [None, None]}),
        ("student/against", {}),
    )
    result = judge(nothing, ALL_LIMITS)
    names = ["min_accuracy", "max_accuracy_drop", "max_tflite_accuracy_drop", "min_speedup"]
    assert verdicts(result) == dict.fromkeys([*names, "max_size_bytes", "push.tflite"], "failed")
    assert all(check.value is None for check in result.checks)
    assert "lacks any TFLite variant" in result.checks[2].reason


# -- intervals --


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
    check = only_check(EVIDENCE, {"number": "student.accuracy", **limit})
    assert (check.verdict, check.passed) == (verdict, verdict == "passed")
    assert (check.value, check.low, check.high) == (0.97, 0.948, 0.983)


def test_a_minimum_and_a_maximum_are_two_checks() -> None:
    result = judged(EVIDENCE, {"number": "comparison.agreement", "min": 0.95, "max": 0.96})
    assert [(check.name, check.threshold, check.verdict) for check in result.checks] == [
        ("comparison.agreement", 0.95, "passed"),
        ("comparison.agreement", 0.96, "inconclusive"),
    ]


@pytest.mark.parametrize("limit", [{"min": 0.031}, {"max": 0.029}])
def test_an_exact_number_is_never_inconclusive(limit: dict[str, float]) -> None:
    check = only_check(EVIDENCE, {"number": "student.ece", **limit})
    assert (check.verdict, check.low, check.high) == ("failed", None, None)
    assert only_check(EVIDENCE, {"number": "student.ece", "min": 0.03, "max": None}).passed


@pytest.mark.parametrize(("teacher", "student"), [(0.98, 0.97), (0.97, 0.96), (0.31, 0.3)])
def test_a_drop_of_exactly_the_limit_passes_in_floating_point(
    teacher: float, student: float
) -> None:
    exact = evidence(
        ("teacher/accuracy", teacher),
        ("teacher/intervals", {}),
        ("student/accuracy", student),
        ("student/intervals", {}),
        ("student/against", {}),
    )
    assert only_check(exact, max_accuracy_drop=0.01).passed
    assert not only_check(exact, max_accuracy_drop=0.0099999).passed


def test_a_size_and_a_bound_of_exactly_the_limit_pass() -> None:
    assert judged(EVIDENCE, max_size_bytes=90_000).blessed
    assert not judged(EVIDENCE, max_size_bytes=89_999).blessed
    assert judged(EVIDENCE, min_speedup=3.4).blessed
    assert not judged(EVIDENCE, min_speedup=3.4001).blessed


# -- the choice of files --


def _choice(push: Any, *changes: tuple[str, Any], **keys: Any) -> GateResult:
    return judged(evidence(("push/tflite", push), *changes), **(keys or {"min_accuracy": 0.9}))


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


def test_what_was_not_timed_is_not_the_fastest() -> None:
    untimed = [(f"variants/{name}/latency", None) for name in ("float32", "int8")]
    assert _choice("fastest", untimed[0]).tflite == ["int8"]
    result = _choice("fastest", *untimed)
    assert result.verdict == "failed"
    assert result.checks[-1].reason == "the evidence lacks the latency of TFLite float32, int8"


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
        "the evidence lacks TFLite float16, which push.tflite names"
    )


def test_the_worse_of_two_limits_on_a_number_decides_whether_a_variant_might_yet_pass() -> None:
    change = {"number": "variants.*.accuracy", "against": "student"}
    smallest = evidence(("push/tflite", "smallest"))
    result = judged(smallest, {**change, "min": 0.01}, {**change, "max": 0.003})
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
    smallest = judged(evidence(("push/tflite", "smallest")), limit, min_accuracy=0.9)
    assert (smallest.blessed, smallest.tflite) == (True, ["float32"])
    assert (smallest.checks[1].variant, smallest.checks[1].counts) == ("int8", False)
    assert not judged(EVIDENCE, limit).blessed
    absent = judged(EVIDENCE, {"number": "variants.float16.latency.p99_ms", "max": 3.2})
    assert (absent.blessed, absent.checks[0].counts) == (False, True)


def test_a_limit_on_nothing_that_ships_proves_nothing() -> None:
    limit = {"number": "variants.int8.latency.p99_ms", "max": 3.2}
    result = judged(evidence(("push/tflite", "smallest")), limit)
    assert (result.blessed, result.verdict) == (False, "failed")
    assert [check.name for check in result.checks] == [limit["number"], "gate"]
    assert result.checks[1].reason == ("no limit covers the student or float32, which would ship")


def test_a_speedup_of_a_variant_binds_that_variant() -> None:
    speedups = {"float32": speedup(3.0, 2.9, 3.1), "int8": speedup(2.0, 1.9, 2.1)}
    timed = evidence(
        ("comparison/speedups", {"litert_batch_1": speedups}), ("push/tflite", "smallest")
    )
    result = judged(timed, {"number": "comparison.speedups.litert_batch_1.*", "min": 2.5})
    assert (result.blessed, result.tflite) == (True, ["float32"])
    assert result.checks[1].reason == (
        "the speed-up (litert_batch_1, int8) of 2.00x (95% interval 1.90x to 2.10x) is below the "
        "required 2.50x"
    )


def test_the_file_that_ships_is_the_one_that_has_to_be_fast() -> None:
    slow = ("variants/int8/speedup", speedup(0.6, 0.59, 0.61))
    refused = judged(evidence(slow), min_speedup=1.5)
    assert (refused.blessed, verdicts(refused)["min_speedup[int8]"]) == (False, "failed")
    assert refused.checks[1].reason == (
        "TFLite int8 speed-up 0.60x (95% interval 0.59x to 0.61x) is below the required 1.50x"
    )
    # Where there is a choice, the next smallest ships instead.
    chosen = judged(evidence(slow, ("push/tflite", "smallest")), min_speedup=1.5)
    assert (chosen.blessed, chosen.tflite) == (True, ["float32"])


@pytest.mark.parametrize(
    "number", ["comparison.speedup", "student.latency.p99_ms", "student.latencies.litert_batch_9"]
)
def test_times_of_the_student_are_those_of_its_files(number: str) -> None:
    number += ".p99_ms" if number.endswith("9") else ""
    names = [check.name for check in judged(EVIDENCE, {"number": number, "max": 1e9}).checks]
    assert names == [f"{number}[float32]", f"{number}[int8]"]


# -- teacher, student and control --

CONTROL = ("control", entry(0.95, 3_000, 20_000, 1.0))


def _gain(value: float, low: float, high: float) -> list[tuple[str, Any]]:
    return [
        CONTROL,
        ("comparison/distillation_gain", value),
        ("comparison/intervals/distillation_gain", [low, high]),
    ]


def test_a_student_that_is_worse_than_its_control_for_certain_is_refused() -> None:
    hurt = evidence(*_gain(-0.18, -0.22, -0.14))
    result = judged(hurt, min_accuracy=0.9)
    assert (result.blessed, verdicts(result)) == (
        False,
        {"min_accuracy": "passed", "below_control": "failed"},
    )
    assert result.checks[1].reason == (
        "distillation hurts: the student's accuracy is 0.9700, the control's 0.9500, a gain of "
        "-0.1800 (95% interval -0.2200 to -0.1400); improve the teacher or the distillation, or "
        "set gate.allow_below_control: true"
    )
    assert judged(hurt, min_accuracy=0.9, allow_below_control=True).blessed
    # That alone is no limit.
    assert not judged(hurt, allow_below_control=True).blessed


@pytest.mark.parametrize(
    ("gain", "verb"),
    [
        ((0.02, 0.01, 0.03), "helps"),
        ((-0.01, -0.03, 0.0), "makes no clear difference"),
        ((-0.01, -0.03, -0.001), "hurts"),
    ],
)
def test_the_gain_is_said_in_words(gain: tuple[float, float, float], verb: str) -> None:
    result = judged(evidence(*_gain(*gain)), min_accuracy=0.9)
    (remark,) = result.remarks
    assert ("below_control" in verdicts(result)) is (verb == "hurts")
    assert remark.startswith(f"Distillation {verb}: the student's accuracy is 0.9700, ")
    assert f"a gain of {gain[0]:+.4f} (95% interval {gain[1]:+.4f} to {gain[2]:+.4f})" in remark
    assert judged(evidence(), min_accuracy=0.9).remarks == []


def test_a_least_gain_is_a_limit() -> None:
    won = evidence(*_gain(0.02, 0.01, 0.03))
    assert only_check(won, min_distillation_gain=0.01).verdict == "passed"
    assert only_check(won, min_distillation_gain=0.02).verdict == "inconclusive"
    assert only_check(won, min_distillation_gain=0.04).verdict == "failed"


def test_a_teacher_that_is_worse_than_the_control_is_named() -> None:
    worse = {"control": {"accuracy": {"value": -0.5, "low": -0.55, "high": -0.45}}}
    found = evidence(CONTROL, ("teacher/accuracy", 0.45), ("teacher/against", worse))
    assert judged(found, min_accuracy=0.9).remarks[-1] == (
        "The teacher is worse than the control, which learned from the labels alone: its accuracy "
        "is 0.4500, the control's 0.9500 (95% interval of the change -0.5500 to -0.4500)"
    )


def test_the_gain_comes_before_a_weak_teacher() -> None:
    weak = [("comparison/weak_teacher", True), ("comparison/constant_answer", 0.99)]
    first, second = judged(evidence(*_gain(0.02, 0.01, 0.03), *weak), min_accuracy=0.9).remarks
    assert first.startswith("Distillation helps") and second.startswith("The teacher is weak")


def test_a_weak_teacher_is_in_the_first_line() -> None:
    weak = evidence(("comparison/weak_teacher", True), ("comparison/constant_answer", 0.99))
    result = judged(weak, min_accuracy=0.9)
    assert verdict_lines(result)[0] == "PASSED, with a weak teacher: 1 of 1 checks hold"
    assert result.remarks == [
        "The teacher is weak: its accuracy is 0.9800, and the most frequent answer, whatever the "
        "example, has 0.9900"
    ]


# -- fresh processes --

DIED = {"passed": False, "max_difference": None, "problem": "ended by signal 9"}


def test_files_have_to_answer_in_a_fresh_process() -> None:
    changes = [
        ("student/fresh", {"saved_model": fresh("saved_model")}),
        ("variants/float32/fresh", {"litert": fresh("litert")}),
        ("variants/int8/fresh", {"litert": fresh("litert", **DIED)}),
    ]
    result = _choice("smallest", *changes)
    assert (result.blessed, result.tflite) == (True, ["float32"])
    assert verdicts(result) == {
        "min_accuracy": "passed",
        "fresh_process[saved_model]": "passed",
        "fresh_process[float32]": "passed",
        "fresh_process[int8]": "failed",
    }
    assert [check.reason for check in result.checks[1:]] == [
        "in a fresh process with saved_model, student repeats its judged answers to all canary "
        "examples",
        "in a fresh process with litert, TFLite float32 repeats its judged answers to all canary "
        "examples",
        "in a fresh process with litert, TFLite int8 does not repeat its judged answers: ended by "
        "signal 9",
    ]
    assert not _choice(["int8"], *changes).blessed


def test_a_student_that_does_not_answer_in_a_fresh_process_is_refused() -> None:
    died = fresh("saved_model", **DIED)
    result = _choice("smallest", ("student/fresh", {"saved_model": died}))
    assert (result.blessed, result.verdict) == (False, "failed")


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'numpy', 'scipy', 'tfx', 'ai_edge_litert'}"
    script = (
        "import sys, modules.judge.gate, modules.judge.limits; "
        f"sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# -- a teacher that is no model --

NOT_TIMED = (
    ("teacher/latency", None),
    ("comparison/speedup", None),
    ("variants/float32/speedup", None),
    ("variants/int8/speedup", None),
)
ONLY_ASKED = evidence(
    *NOT_TIMED,
    ("teacher/size_bytes", None),
    ("teacher/parameters", None),
    ("comparison/compression", None),
)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ({"number": "comparison.speedup", "min": 2}, "inconclusive"),
        ({"number": "comparison.compression", "min": 2}, "inconclusive"),
        ({"number": "student.size_bytes", "against": "teacher", "max": 0}, "inconclusive"),
        ({"number": "student.latency.p50_ms", "against": "teacher", "max": 0}, "inconclusive"),
        ({"number": "student.latency.p50_ms", "max": 3}, "passed"),
        ({"number": "student.accuracy", "against": "teacher", "min": -0.02}, "passed"),
        # That is missing for another reason.
        ({"number": "student.mae", "against": "teacher", "max": 1}, "failed"),
    ],
)
def test_only_limits_on_its_cost_are_inconclusive(limit: dict[str, Any], verdict: str) -> None:
    check = judged(ONLY_ASKED, limit).checks[0]
    assert check.verdict == verdict
    assert ("no model to time" in check.reason) == (verdict == "inconclusive")


def test_a_teacher_that_did_not_convert_leaves_its_speed_open() -> None:
    check = judged(evidence(*NOT_TIMED), min_speedup=2).checks[0]
    assert (check.verdict, check.reason.rpartition(": ")[2]) == (
        "inconclusive",
        "the teacher has no TFLite file to time",
    )
    # Of a teacher that was timed, a missing number still refuses the student.
    missing = evidence(*NOT_TIMED[1:])
    assert judged(missing, min_speedup=2).checks[0].verdict == "failed"
