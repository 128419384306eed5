"""modules.report.files: building, writing and reading a report, and what its schema refuses."""

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
from small_report import entry, evidence_content

from modules.errors import UserError
from modules.judge.gate import build_report
from modules.judge.schema import Evidence, Report
from modules.report.files import read_report, write_report
from modules.report.table import markdown_table
from modules.settings import GateSettings

FILES = ["index.html", "model_card.md", "report.json", "report.md"]
LIMITS = GateSettings(min_accuracy=0.9, min_speedup=3.0, max_size_bytes=100_000)
SMALL = entry(0.9, 25, 100, 1.0)


def _evidence(**changes: Any) -> dict[str, Any]:
    return evidence_content() | changes


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
        "min_speedup[int8]",
        "max_size_bytes[int8]",
    ]
    assert report.gate.tflite == ["int8"]
    assert _within(_evidence(), report.model_dump(mode="json"))


def test_build_report_of_an_untimed_student_is_refused_not_broken() -> None:
    variants = _evidence()["variants"]
    report = _report(variants={"int8": variants["int8"] | {"speedup": None}})
    assert [check.passed for check in report.gate.checks] == [True, False, True, False]
    assert report.gate.checks[1].reason.startswith("the evidence lacks the speed-up of TFLite int8")
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
        ("student", SMALL | {"typo": 1}),
        ("student", SMALL | {"accuracy": 1.1}),
        ("student", SMALL | {"size_bytes": 0}),
        ("student", SMALL | {"latency": {"p50_ms": 1.0}}),
        ("examples", {"eval": 0}),
        ("push", {"tflite": "int8"}),
        ("variants", {"int8": SMALL}),
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
    for place in ("new/report/report.json", "new/report", "new"):
        assert read_report(tmp_path / place) == report
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == FILES
    markdown = (tmp_path / "new" / "report" / "report.md").read_text(encoding="utf-8")
    assert markdown == markdown_table(report)


def test_report_json_is_what_the_contract_says(tmp_path: Path) -> None:
    write_report(_report(control=None), {}, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    gate = content.pop("gate")
    assert _within(_evidence(control=None), content)
    assert gate["blessed"] is True
    assert gate["checks"][2] == {
        "name": "max_size_bytes[int8]",
        "value": 8_000,
        "threshold": 100_000,
        "passed": True,
        "verdict": "passed",
        "low": None,
        "high": None,
        "variant": "int8",
        "counts": True,
        "reason": "TFLite int8 at 8,000 bytes is within the limit of 100,000 bytes",
    }


def test_a_diverged_students_report_can_be_written_and_read(tmp_path: Path) -> None:
    diverged = SMALL | {"loss": math.nan, "ece": math.inf}
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
        ("[]", "must have schema_version 3, but it is None"),
        ("{}", "must have schema_version 3, but it is None"),
        (json.dumps(_evidence(schema_version=1)), "must have schema_version 3, but it is 1"),
        (json.dumps(_evidence()), r"is damaged: gate: must be set \(1 such errors\)"),
        (
            json.dumps(_without(_report().model_dump(mode="json"), "student", "parameters")),
            r"is damaged: student\.parameters: must be set",
        ),
        (
            json.dumps(_report().model_dump(mode="json") | {"gate": {"blessed": True}}),
            r"is damaged: gate\.verdict: must be set",
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


def test_importing_stays_light() -> None:
    heavy = "{'tensorflow', 'keras', 'scipy', 'tfx', 'ai_edge_litert'}"
    script = (
        f"import sys, modules.report.files; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
