"""modules.report.table: known numbers to exact lines, the verdict in words, the width."""

from __future__ import annotations

from typing import Any

import pytest
from small_evidence import EVIDENCE, judged
from small_report import entry, evidence_content, latency, speedup, variant

from modules.judge.gate import build_report
from modules.judge.schema import Evidence, Report
from modules.report.table import markdown_table, verdict_lines
from modules.settings import GateSettings

LIMITS = GateSettings(min_accuracy=0.9, min_speedup=3.0, max_size_bytes=100_000)


def _entry(accuracy: float, size_bytes: int, p50_ms: float) -> dict[str, Any]:
    return entry(accuracy, size_bytes // 4, size_bytes, p50_ms) | {
        "loss": 1 - accuracy,
        "ece": 0.0123,
        "intervals": {"accuracy": [accuracy - 0.01, accuracy + 0.01]},
        "latency": latency(p50_ms, p99_ms=p50_ms * 2),
    }


def _report(limits: GateSettings = LIMITS, **changes: Any) -> Report:
    content = evidence_content() | {
        "examples": {"eval": 1600},
        "teacher": _entry(0.975, 10_300_000, 2.0),
        "student": _entry(0.9625, 412_000, 0.5),
        "control": _entry(0.95, 412_000, 0.5) | {"latency": None},
        "variants": {
            name: variant(name, accuracy, size, p50)
            | _entry(accuracy, size, p50)
            | {"speedup": speedup(4.04, 3.9, 4.2)}
            for name, accuracy, size, p50 in (
                ("float32", 0.9625, 320_000, 0.5),
                ("int8", 0.96, 80_000, 0.25),
            )
        },
        "comparison": COMPARISON,
    }
    return build_report(Evidence.model_validate(content | changes), limits)


COMPARISON = {
    "accuracy_change": -0.0125,
    "agreement": 0.9781,
    "distillation_gain": 0.0125,
    "intervals": {"distillation_gain": [0.0025, 0.0225]},
    "speedup": speedup(4.04, 3.9, 4.2),
    "compression": 25.0,
}

PASSED_TEXT = """\
Distillation helps: the student's accuracy is 0.9625, the control's 0.9500, a gain of +0.0125 (95%
interval +0.0025 to +0.0225).

| model          | accuracy |   loss |    ECE | params |    size | p50 ms | p99 ms | speed-up |
|:---------------|---------:|-------:|-------:|-------:|--------:|-------:|-------:|---------:|
| teacher        |   0.9750 | 0.0250 | 0.0123 |  2.58M | 10.3 MB |  2.000 |  4.000 |    1.00x |
| student        |   0.9625 | 0.0375 | 0.0123 |   103k |  412 kB |  0.500 |  1.000 |    4.00x |
| control        |   0.9500 | 0.0500 | 0.0123 |   103k |  412 kB |      - |      - |        - |
| TFLite float32 |   0.9625 | 0.0375 | 0.0123 |  80.0k |  320 kB |  0.500 |  1.000 |    4.00x |
| TFLite int8    |   0.9600 | 0.0400 | 0.0123 |  20.0k | 80.0 kB |  0.250 |  0.500 |    8.00x |

PASSED: 3 of 3 checks hold

- passed `min_accuracy`: student accuracy 0.9625 (95% interval 0.9525 to 0.9725) reaches the
  required 0.9000
- passed `min_speedup[int8]`: TFLite int8 speed-up 4.04x (95% interval 3.90x to 4.20x) reaches the
  required 3.00x
- (failed) `max_size_bytes[float32]`: TFLite float32 at 320,000 bytes exceeds the limit of 100,000
  bytes; it does not ship
- passed `max_size_bytes[int8]`: TFLite int8 at 80,000 bytes is within the limit of 100,000 bytes

Agreement with the teacher: 0.9781. Speed-up: TFLite int8 4.04x on litert (95% interval 3.90x to
4.20x). Judged on 1,600 examples.
"""


def test_the_text_of_a_blessed_student() -> None:
    assert markdown_table(_report()) == PASSED_TEXT


def test_the_text_fits_a_terminal_of_100_columns_with_large_numbers() -> None:
    large = _report(
        teacher=_entry(0.975, 999_400_000, 999.4),
        student=_entry(0.9625, 999_400_000, 10.0),
        examples={"eval": 1_000_000},
    )
    assert max(map(len, markdown_table(large).splitlines())) <= 100


def test_a_refused_student_is_refused_in_words() -> None:
    lines = markdown_table(_report(GateSettings(min_accuracy=0.98, min_speedup=3))).splitlines()
    assert lines[11] == "REFUSED: 1 of 2 checks failed, nothing is pushed"
    assert lines[13:15] == [
        "- FAILED `min_accuracy`: student accuracy 0.9625 (95% interval 0.9525 to 0.9725) is below "
        "the",
        "  required 0.9800",
    ]


def test_a_limit_within_the_interval_cannot_be_decided() -> None:
    report = _report(GateSettings(min_accuracy=0.96, min_speedup=3))
    assert not report.gate.blessed
    text = markdown_table(report)
    assert "INCONCLUSIVE: 1 of 2 checks cannot be decided, nothing is pushed" in text
    assert "- INCONCLUSIVE `min_accuracy`" in text


def test_what_was_not_measured_shows_a_dash() -> None:
    comparison = COMPARISON | {"speedup": None, "distillation_gain": None}
    untimed = variant("int8", 0.9, 1000, 1.0) | {"speedup": None}
    student = _entry(0.9625, 412_000, 0.5) | {"loss": None, "latency": None}
    lines = markdown_table(
        _report(control=None, comparison=comparison, student=student, variants={"int8": untimed})
    ).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:5]]
    assert cells == [
        ["student", "0.9625", "-", "0.0123", "103k", "412 kB", "-", "-", "-"],
        ["control", *["-"] * 8],
    ]
    assert lines[-1] == (
        "Agreement with the teacher: 0.9781. Speed-up: -. Judged on 1,600 examples."
    )


@pytest.mark.parametrize(
    ("unlabeled", "sentence"),
    [
        ([], ""),
        ([0, 0, 0], "Training examples: teacher, student and control 1,090 labeled."),
        (
            [0, 12_345, 0],
            "Training examples: teacher and control 1,090 labeled, student 1,090 labeled and "
            "12,345 unlabeled.",
        ),
    ],
)
def test_it_is_said_how_many_examples_each_model_learned_from(
    unlabeled: list[int], sentence: str
) -> None:
    learned_from = {
        role: {"labeled": 1090, "unlabeled": count, "steps_per_epoch": 35}
        for role, count in zip(("teacher", "student", "control"), unlabeled, strict=False)
    }
    text = " ".join(markdown_table(_report(learned_from=learned_from)).split())
    assert text.endswith(f"Judged on 1,600 examples. {sentence}".rstrip())


@pytest.mark.parametrize("change", [{"threads": 4}, {"runtime": "other"}])
def test_no_speedup_between_unlike_measurements(change: dict[str, object]) -> None:
    student = _entry(0.9625, 412_000, 0.5) | {"latency": latency(0.5, p99_ms=1.0, **change)}
    lines = markdown_table(_report(student=student)).splitlines()
    assert lines[6].endswith("|  0.500 |  1.000 |        - |")
    assert lines[8].endswith("|  0.500 |  1.000 |    4.00x |")


def test_failed_weighs_more_than_inconclusive() -> None:
    lines = verdict_lines(judged(EVIDENCE, min_accuracy=0.95, max_size_bytes=1))
    assert lines[0] == "REFUSED: 1 of 2 checks failed, 1 cannot be decided, nothing is pushed"


def test_verdict_lines_of_a_blessed_student() -> None:
    assert verdict_lines(judged(EVIDENCE, min_accuracy=0.94, max_size_bytes=100_000)) == [
        "PASSED: 2 of 2 checks hold",
        "",
        "- passed `min_accuracy`: student accuracy 0.9700 (95% interval 0.9480 to 0.9830) "
        "reaches the",
        "  required 0.9400",
        "- (failed) `max_size_bytes[float32]`: TFLite float32 at 300,000 bytes exceeds the "
        "limit of 100,000",
        "  bytes; it does not ship",
        "- passed `max_size_bytes[int8]`: TFLite int8 at 90,000 bytes is within the limit of "
        "100,000 bytes",
    ]


def test_verdict_lines_of_the_other_verdicts_fit_the_terminal() -> None:
    refused = verdict_lines(judged(EVIDENCE, min_accuracy=0.94, min_speedup=4))
    assert refused[0] == "REFUSED: 1 of 2 checks failed, nothing is pushed"
    assert refused[-2].startswith("- FAILED `min_speedup[int8]`: TFLite int8 speed-up 3.60x")
    undecided = verdict_lines(judged(EVIDENCE, min_accuracy=0.95, min_speedup=3))
    assert undecided[0] == "INCONCLUSIVE: 1 of 2 checks cannot be decided, nothing is pushed"
    assert undecided[2].startswith("- INCONCLUSIVE `min_accuracy`: student accuracy 0.9700")
    assert max(map(len, [*refused, *undecided])) <= 100
