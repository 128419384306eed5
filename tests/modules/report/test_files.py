"""Tests of modules.report.files: known numbers to exact lines, the schema, reading and writing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from modules.errors import UserError
from modules.judge.gate import build_report
from modules.judge.schema import Evidence, Report
from modules.report import files as report_module
from modules.report.files import markdown_table, read_report, write_report
from modules.settings import GateSettings

FILES = ["index.html", "model_card.md", "report.json", "report.md"]
LIMITS = GateSettings(min_accuracy=0.9, min_speedup=3.0, max_size_bytes=100_000)


def _latency(p50_ms: float, **changes: object) -> dict[str, Any]:
    return {
        "p50_ms": p50_ms,
        "p90_ms": p50_ms * 1.5,
        "p99_ms": p50_ms * 2,
        "throughput": 900 / p50_ms,
        "runtime": "litert",
        "threads": 1,
        "batch_size": 1,
        "queries": 500,
        "distribution_ms": [p50_ms] * 101,
        "intervals": {"p50_ms": [p50_ms * 0.99, p50_ms * 1.01]},
    } | changes


def _entry(accuracy: float, size_bytes: int, p50_ms: float | None = None) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "ece": 0.0123,
        "parameters": size_bytes // 4,
        "size_bytes": size_bytes,
        "intervals": {"accuracy": [accuracy - 0.01, accuracy + 0.01]},
        "latency": None if p50_ms is None else _latency(p50_ms),
    }


def _evidence(**changes: Any) -> dict[str, Any]:
    """A complete report without its gate, as plain data."""
    files = {
        name: _entry(accuracy, size_bytes, p50_ms)
        | {
            "file": f"student/{name}/model.tflite",
            "sha256": "0a" * 32,
            "compression": 10_240_000 / size_bytes,
        }
        for name, accuracy, size_bytes, p50_ms in (
            ("float32", 0.9625, 320_000, 0.5),
            ("int8", 0.96, 80_000, 0.25),
        )
    }
    return {
        "schema_version": 2,
        "name": "test",
        "created": "2026-11-23T09:30:00+00:00",
        "confidence": 0.95,
        "labels": ["cat", "dog"],
        "examples": {"eval": 1600},
        "teacher": _entry(0.975, 10_300_000, 2.0),
        "student": _entry(0.9625, 412_000, 0.5),
        "control": _entry(0.95, 412_000),
        "variants": files,
        "per_class": [
            {"label": "cat", "count": 1600, "teacher_accuracy": 0.975, "student_accuracy": 0.9625},
            {"label": "dog", "count": 0, "teacher_accuracy": None, "student_accuracy": None},
        ],
        "comparison": {
            "accuracy_change": -0.0125,
            "agreement": 0.9781,
            "distillation_gain": 0.0125,
            "speedup": {
                "median": 4.04,
                "ci_low": 3.9,
                "ci_high": 4.2,
                "confidence": 0.95,
                "runtime": "litert",
            },
            "compression": 25.0,
        },
        "push": {"tflite": "smallest"},
        "environment": {
            "versions": {"python": "3.11.7"},
            "platform": "Linux",
            "cpu": "some",
            "cpu_count": 2,
            "accelerators": [],
        },
        "config": {"name": "test", "distill": {"alpha": 0.1}},
    } | changes


def _within(expected: Any, found: Any) -> bool:
    """Whether all that is expected was found; what has a default may come in addition."""
    if isinstance(expected, dict):
        return all(key in found and _within(value, found[key]) for key, value in expected.items())
    return bool(expected == found)


def _report(limits: GateSettings = LIMITS, **changes: Any) -> Report:
    return build_report(Evidence.model_validate(_evidence(**changes)), limits)


# -- building, the schema --


def test_build_report_judges_the_evidence() -> None:
    report = _report()
    assert report.gate.blessed
    assert [check.name for check in report.gate.checks] == [
        "min_accuracy",
        "min_speedup",
        "max_size_bytes[float32]",
        "max_size_bytes[int8]",
    ]
    assert report.gate.tflite == ["int8"]
    assert _within(_evidence(), report.model_dump(mode="json"))


def test_build_report_of_an_untimed_student_is_refused_not_broken() -> None:
    comparison = _evidence()["comparison"] | {"speedup": None}
    report = _report(comparison=comparison)
    assert [check.passed for check in report.gate.checks] == [True, False, False, True]
    assert not report.gate.blessed


def test_every_key_of_the_evidence_is_needed() -> None:
    for key in set(_evidence()) - {"schema_version"}:
        incomplete = _evidence()
        del incomplete[key]
        with pytest.raises(ValidationError, match=key):
            Evidence.model_validate(incomplete)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("typo", 1),
        ("student", _entry(0.9, 100) | {"typo": 1}),
        ("student", _entry(1.1, 100)),
        ("student", _entry(0.9, 0)),
        ("student", _entry(0.9, 100) | {"latency": {"p50_ms": 1.0}}),
        ("examples", {"eval": 0}),
        ("push", {"tflite": "int8"}),
        ("variants", {"int8": _entry(0.9, 100)}),
    ],
)
def test_the_schema_refuses(key: str, value: object) -> None:
    Evidence.model_validate(_evidence())
    with pytest.raises(ValidationError):
        Evidence.model_validate(_evidence(**{key: value}))


# -- writing and reading --


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    report = _report()
    write_report(report, {}, tmp_path / "new" / "report")
    assert read_report(tmp_path / "new" / "report" / "report.json") == report
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == FILES
    markdown = (tmp_path / "new" / "report" / "report.md").read_text(encoding="utf-8")
    assert markdown == markdown_table(report)


def test_report_json_is_what_the_contract_says(tmp_path: Path) -> None:
    write_report(_report(control=None), {}, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    gate = content.pop("gate")
    assert _within(_evidence(control=None), content)
    assert gate["blessed"] is True
    assert gate["checks"][3] == {
        "name": "max_size_bytes[int8]",
        "value": 80_000,
        "threshold": 100_000,
        "passed": True,
        "verdict": "passed",
        "low": None,
        "high": None,
        "variant": "int8",
        "counts": True,
        "reason": "TFLite int8 with 80,000 bytes keeps the limit of 100,000 bytes",
    }


def test_a_diverged_students_report_can_be_written_and_read(tmp_path: Path) -> None:
    diverged = _entry(0.1, 412_000) | {"loss": math.nan, "ece": math.inf}
    report = _report(student=diverged)
    write_report(report, {}, tmp_path)
    assert "NaN" not in (tmp_path / "report.json").read_text(encoding="utf-8")
    again = read_report(tmp_path / "report.json")
    assert again == report
    assert again.student.loss is again.student.ece is None


def test_a_failing_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(_report(), {}, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def disk_full(self: Path, text: str, **options: object) -> None:
        self.write_bytes(text[:100].encode())
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="no space"):
        write_report(_report(control=None), {}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_write_that_cannot_be_completed_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(_report(), {}, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def killed(source: Path, target: Path) -> None:
        raise OSError(f"{target.name} from {len(source.read_text(encoding='utf-8'))} characters")

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(OSError, match=r"report\.md from \d{3,} characters"):
        write_report(_report(control=None), {}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_write_report_refuses_a_url() -> None:
    with pytest.raises(ValueError, match="must be local, got gs://bucket/report"):
        write_report(_report(), {}, "gs://bucket/report")
    assert not Path("gs:").exists()


def _without(report: dict[str, Any], *path: str) -> dict[str, Any]:
    place = report
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return report


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must have schema_version 2, but it is None"),
        ("{}", "must have schema_version 2, but it is None"),
        (json.dumps(_evidence(schema_version=1)), "must have schema_version 2, but it is 1"),
        (json.dumps(_evidence()), r"is damaged: gate: Field required \(1 such errors\)"),
        (
            json.dumps(_without(_report().model_dump(mode="json"), "student", "ece")),
            r"is damaged: student\.ece: Field required",
        ),
        (
            json.dumps(_report().model_dump(mode="json") | {"gate": {"blessed": True}}),
            r"is damaged: gate\.verdict: Field required",
        ),
        (
            json.dumps(
                _report().model_dump(mode="json")
                | {
                    "gate": {
                        "blessed": True,
                        "verdict": "passed",
                        "checks": [],
                        "tflite": [],
                        "why": "",
                    }
                }
            ),
            r"is damaged: gate\.why",
        ),
    ],
)
def test_a_broken_report_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_report(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_report_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json \(No such file or directory\); run the"):
        read_report(tmp_path / "none.json")


# -- the table --

PASSED_TEXT = """\
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
- passed `min_speedup`: the speed-up of 4.04x (95% interval 3.90x to 4.20x) reaches the required
  3.00x
- (failed) `max_size_bytes[float32]`: TFLite float32 with 320,000 bytes exceeds the limit of 100,000
  bytes; it is not to ship
- passed `max_size_bytes[int8]`: TFLite int8 with 80,000 bytes keeps the limit of 100,000 bytes

Agreement with the teacher: 0.9781. Speed-up: 4.04x on litert (95% interval 3.90x to 4.20x).
Distillation gain: +0.0125. Judged on 1,600 examples.
"""


def test_the_text_of_a_blessed_student() -> None:
    assert markdown_table(_report()) == PASSED_TEXT


def test_the_text_fits_a_terminal_of_100_columns_with_large_numbers() -> None:
    large = _report(
        teacher=_entry(0.975, 999_400_000, 1234.5),
        student=_entry(0.9625, 999_400_000, 10.0),
        examples={"eval": 1_000_000},
    )
    assert max(map(len, markdown_table(large).splitlines())) <= 100


def test_a_refused_student_is_refused_in_words() -> None:
    lines = markdown_table(_report(GateSettings(min_accuracy=0.98, min_speedup=3))).splitlines()
    assert lines[8:12] == [
        "REFUSED: 1 of 2 checks failed, nothing is pushed",
        "",
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
    comparison = _evidence()["comparison"] | {"speedup": None, "distillation_gain": None}
    student = _entry(0.9625, 412_000) | {"loss": None}
    lines = markdown_table(
        _report(control=None, comparison=comparison, student=student)
    ).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:5]]
    assert cells == [
        ["student", "0.9625", "-", "0.0123", "103k", "412 kB", "-", "-", "-"],
        ["control", *["-"] * 8],
    ]
    assert lines[-1] == (
        "Agreement with the teacher: 0.9781. Speed-up: -. Distillation gain: -. "
        "Judged on 1,600 examples."
    )


@pytest.mark.parametrize("change", [{"threads": 4}, {"runtime": "other"}])
def test_no_speedup_between_unlike_measurements(change: dict[str, object]) -> None:
    student = _entry(0.9625, 412_000) | {"latency": _latency(0.5, **change)}
    lines = markdown_table(_report(student=student)).splitlines()
    assert lines[3].endswith("|  0.500 |  1.000 |        - |")
    assert lines[5].endswith("|  0.500 |  1.000 |    4.00x |")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_995, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (4_950_000, "4.95 MB"),
        (2_000_000_000_000, "2000 GB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert report_module._scaled(count, (" B", " kB", " MB", " GB")) == text


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'scipy', 'tfx', 'ai_edge_litert'}"
    script = (
        f"import sys, modules.report.files; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
