"""Runs side by side: what is marked as better, what is noted, and how it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_report import changed, content, entry, latency

from modules.judge.schema import Report
from modules.report.comparison import compare_runs
from pipeline.cli.main import main
from pipeline.terminal.comparisons import comparison_text


def compared(*contents: dict[str, Any]) -> Any:
    reports = [Report.model_validate(each) for each in contents]
    return compare_runs([f"run{at}" for at in range(len(contents))], reports)


def best(*contents: dict[str, Any]) -> dict[str, int]:
    rows = compared(*contents).rows
    return {row.number.path: row.best for row in rows if row.best is not None}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_report(name: str, **changes: Any) -> Path:
        file = tmp_path / name / "report" / "report.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(changed(**changes)))
        return tmp_path / name

    return write_report


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_equal_runs_have_no_best() -> None:
    comparison = compared(content(), content(), content())
    assert {row.best for row in comparison.rows} == {None}
    assert (comparison.differences, comparison.notes) == ({}, ())


def test_an_estimate_is_best_only_beyond_the_other_interval() -> None:
    # The interval reaches from 0.015 below the value to 0.010 above it.
    assert best(content(), changed(student=entry(0.984, 3_000, 20_000, 1.0))) == {}
    clear = changed(student=entry(0.986, 3_000, 20_000, 1.0))
    assert best(content(), clear) == {"student.accuracy": 1}
    assert best(clear, content()) == {"student.accuracy": 0}


def test_the_best_has_to_be_clear_of_every_other_run() -> None:
    runs = [changed(student=entry(value, 3_000, 20_000, 1.0)) for value in (0.9, 0.94, 0.95)]
    assert best(*runs) == {}
    assert best(runs[0], runs[2]) == {"student.accuracy": 1}


def test_times_and_sizes_are_better_when_low() -> None:
    other = changed(student=entry(0.96, 2_999, 20_000, 0.8), variants__int8__size_bytes=7_999)
    assert best(content(), other) == {
        "student.parameters": 1,
        "student.latency.p50_ms": 1,
        "variants.int8.size_bytes": 1,
    }
    slightly = changed(student=entry(0.96, 3_000, 20_000, 0.9))  # up to 0.99, the other from 0.9
    assert best(content(), slightly) == {}


def test_intervals_of_the_comparison_are_its_own() -> None:
    intervals = {"accuracy_change": [0.002, 0.01], "distillation_gain": [0.021, 0.03]}
    intervals["agreement"] = [0.981, 0.99]
    other = changed(
        comparison__accuracy_change=0.005,
        comparison__distillation_gain=0.025,
        comparison__agreement=0.985,
        comparison__intervals=intervals,
        comparison__speedup__median=25.0,
        comparison__speedup__ci_low=24.6,
        comparison__speedup__ci_high=25.4,
    )
    numbers = ("accuracy_change", "distillation_gain", "agreement", "speedup.median")
    assert best(content(), other) == {f"comparison.{number}": 1 for number in numbers}


def test_a_value_without_an_interval_is_not_judged() -> None:
    other = changed(student__accuracy=1.0, student__intervals={})
    assert best(content(), other) == {}


def test_what_a_run_lacks_is_passed_over() -> None:
    bare = changed(control=None, variants={}, student__latency=None)
    bare["comparison"] |= {"speedup": None, "distillation_gain": None}
    comparison = compared(content(), bare)
    missing = {row.number.path for row in comparison.rows if row.values[1] is None}
    assert missing == {
        "control.accuracy",
        "comparison.distillation_gain",
        "comparison.speedup.median",
        "student.latency.p50_ms",
        "variants.int8.accuracy",
        "variants.int8.size_bytes",
        "variants.int8.latency.p50_ms",
    }
    assert {row.best for row in comparison.rows} == {None}  # alone is not best
    assert "not exported" in comparison_text(comparison)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config__data__split_seed": 1}, "data.split_seed"),
        ({"config__data__path": "photos"}, "data.path"),
        ({"examples__eval": 300}, "345 and 300 examples"),
        ({"per_class__": None}, "different classes or class counts"),
    ],
)
def test_other_examples_are_noted_and_no_accuracy_marked(
    changes: dict[str, Any], reason: str
) -> None:
    if "per_class__" in changes:
        other = changed()
        other["per_class"][0]["count"], other["per_class"][1]["count"] = 200, 145
    else:
        other = changed(**changes)
    other["student"] = entry(0.7, 2_000, 20_000, 1.0)
    comparison = compared(content(), other)
    assert comparison.notes == (
        f"Not judged on the same examples ({reason}): no accuracy or error is marked as better.",
    )
    assert best(content(), other) == {"student.parameters": 1}


def test_settings_that_leave_the_examples_alone_are_no_note() -> None:
    assert compared(content(), changed(config__data__image_size=16)).notes == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"environment__cpu": "another"}, "a CPU, 2 CPUs and another, 2 CPUs"),
        ({"student__latency__threads": 4}, "litert, 1 threads and litert, 4 threads"),
    ],
)
def test_other_machines_are_noted_and_no_time_marked(changes: dict[str, Any], reason: str) -> None:
    other = changed(**changes)
    other["student"] |= {"parameters": 2_000}
    other["variants"]["int8"] |= {"latency": latency(0.1)}
    assert compared(content(), other).notes == (
        f"Not timed under the same conditions ({reason}): no time or speed-up is marked as better.",
    )
    assert best(content(), other) == {"student.parameters": 1}


def test_other_levels_are_noted() -> None:
    notes = compared(content(), changed(confidence=0.9), content()).notes
    assert notes == ("The confidence levels differ: 95% and 90%.",)


def test_differences_are_dotted_down_to_single_settings() -> None:
    methods = [{"name": "soft_target", "weight": 0.7}, {"name": "hint"}]
    other = changed(
        config__distill__methods=methods,
        config__student__parameters={"filters": [16, 32]},
        config__search={"objective": "fastest"},
    )
    assert compared(content(), other, content()).differences == {
        "distill.methods.0.weight": (None, 0.7, None),
        "distill.methods.1.name": (None, "hint", None),
        "student.parameters.filters": ([8, 16], [16, 32], [8, 16]),
        "search.objective": (None, "fastest", None),
    }


def test_table_of_two_runs(write: Any) -> None:
    one = write("one")
    two = write("two", config__distill__alpha=0.9, student=entry(0.99, 2_500, 20_000, 1.0))
    result = compare(one, two / "report" / "report.json")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    rows = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert rows["created (UTC)"] == ["2026-11-23 08:30"] * 2
    assert rows["student accuracy, %"] == ["96.00 [94.50, 97.00]", "99.00 [97.50, 100.00]*"]
    assert rows["accuracy change, %"] == ["-2.00 [-4.00, +0.10]"] * 2
    assert rows["speed-up, times"] == ["24.00 [23.50, 24.50]"] * 2
    assert rows["student parameters"] == ["3,000", "2,500*"]
    assert rows["student p50, ms"] == ["1.00 [0.900, 1.10]"] * 2
    assert rows["TFLite int8"] == ["ships", "ships"]
    assert "  p50, µs             500 [450, 550]" in result.stdout
    assert rows["distill.alpha"] == ["0.5", "0.9"]
    assert "* better than every other run; the intervals do not overlap.\n" in result.stdout


@pytest.mark.parametrize("count", [2, 3, 7])
def test_no_line_is_wider_than_100_columns(write: Any, count: int) -> None:
    runs = [
        write(
            f"{at}{'-with-a-long-name' * 3}",
            student=entry(0.5 + 0.05 * at, 3_000_000 - at, 20_000, 1_200.0),
            config__student__parameters={"filters": list(range(40 + at))},
            config__distill__a_key_that_has_a_very_long_name_indeed=at,
        )
        for at in range(count)
    ]
    result = compare(*runs)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("student accuracy, %") for line in lines) == -(-count // 3)


def test_json_has_the_numbers_as_the_reports_have_them(write: Any) -> None:
    one, two = write("one"), write("two", config__distill__alpha=0.9, gate__verdict="inconclusive")
    result = compare("--json", one, two)
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert [run["run"] for run in found["runs"]] == [str(one), str(two)]
    assert [run["verdict"] for run in found["runs"]] == ["passed", "inconclusive"]
    numbers = {row["number"]: row for row in found["numbers"]}
    assert numbers["student.accuracy"] == {
        "number": "student.accuracy",
        "better": "high",
        "best": None,
        "values": [{"value": 0.96, "low": 0.96 - 0.015, "high": 0.96 + 0.01}] * 2,
    }
    assert found["differences"] == {"distill.alpha": [0.5, 0.9]}
    assert found["notes"] == []


def test_one_run_is_a_usage_error(write: Any) -> None:
    run = write("one")
    result = compare(run)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        f"Error: compare needs two or more runs, got only {run}; `tfx-distill report {run}` "
        "shows one"
    )


def test_a_run_without_a_report(write: Any, tmp_path: Path) -> None:
    result = compare(write("one"), tmp_path / "none")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: no report can be read at {tmp_path}/none/report/report.json (")


def test_a_report_of_an_older_schema(write: Any) -> None:
    result = compare(write("one"), write("two", schema_version=1))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "must have schema_version 3, but it is 1" in result.stderr
