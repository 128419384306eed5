"""report.json: what was measured on teacher and student, and what the gate made of it.

Its schema is `modules.judge.schema`. Imports neither TensorFlow nor SciPy: the command line reads
reports, too.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from tabulate import tabulate

from modules.errors import UserError
from modules.judge.gate import TEXT_WIDTH, verdict_lines
from modules.judge.schema import SCHEMA_VERSION, Entry, Latency, Report

REPORT_JSON, REPORT_MARKDOWN = "report.json", "report.md"
REPORT_HTML, MODEL_CARD = "index.html", "model_card.md"
REPORT_FILES = (REPORT_MARKDOWN, REPORT_HTML, MODEL_CARD, REPORT_JSON)
_HEADERS = ("model", "accuracy", "loss", "ECE", "params", "size", "p50 ms", "p99 ms", "speed-up")


def write_report(report: Report, images: Mapping[str, bytes], directory: str | Path) -> None:
    """Writes `REPORT_FILES`, report.json last; each appears whole or not at all.

    Args:
        report: what `build_report` returned.
        images: PNG files of `report.disagreements`, by example id.
        directory: a local directory, made if it is not there.

    Raises:
        ValueError: the directory is a URL, which `pathlib` would take for a local one.
    """
    if "://" in str(directory):
        raise ValueError(f"directory must be local, got {directory}; copy the files from there")
    # Charts take a second to import, and whoever only reads a report needs none.
    from modules.report import model_card, page

    Path(directory).mkdir(parents=True, exist_ok=True)
    texts = {
        REPORT_MARKDOWN: markdown_table(report),
        REPORT_HTML: page.render(report, images),
        MODEL_CARD: model_card.render(report),
        REPORT_JSON: report.model_dump_json(indent=2) + "\n",
    }
    for name in REPORT_FILES:
        aside = Path(directory, f".{name}.{os.getpid()}")
        try:
            aside.write_text(texts[name], encoding="utf-8")
            os.replace(aside, Path(directory, name))
        finally:
            aside.unlink(missing_ok=True)


def read_report(path: str | Path) -> Report:
    """Reads report.json.

    Raises:
        UserError: there is no such file, it is not a report, or one of another schema version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"no report can be read at {path} ({error.strerror}); "
            "run the pipeline up to the Evaluator, which writes it"
        ) from error
    except ValueError as error:
        raise UserError(
            f"the report {path} is not valid JSON ({error}); run the Evaluator again"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"the report {path} must have schema_version {SCHEMA_VERSION}, but it is {version!r}; "
            "read it with the tfx-distill that wrote it, or run the Evaluator again"
        )
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(key) for key in first["loc"])
        raise UserError(
            f"the report {path} is damaged: {place}: {first['msg']} "
            f"({error.error_count()} such errors); run the Evaluator again"
        ) from error


def markdown_table(report: Report) -> str:
    """The report for people: a table of the models, the verdict with its reasons, the comparison.

    GitHub Markdown, at most 100 columns wide with numbers of a usual size, so that it can be
    printed in a terminal as it is. The speed-up in the table is the ratio of the two p50, shown
    only for the same runtime and threads; the one with an interval is the one that is judged.
    """
    rows = [_row(name, entry, report.teacher) for name, entry in _models(report)]
    # As a row of their own, for tabulate makes columns with headers two wider than need be.
    rule, header, *body = tabulate(
        [_HEADERS, *rows],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(_HEADERS) - 1)),
    ).splitlines()
    table = "\n".join([header, rule, *body])
    return (
        "\n".join([table, "", *verdict_lines(report.gate), "", *_comparison_lines(report)]) + "\n"
    )


def _models(report: Report) -> Iterator[tuple[str, Entry | None]]:
    yield "teacher", report.teacher
    yield "student", report.student
    yield "control", report.control
    for name, variant in report.variants.items():
        yield f"TFLite {name}", variant


def _row(name: str, entry: Entry | None, teacher: Entry) -> list[str]:
    if entry is None:
        return [name, *["-"] * (len(_HEADERS) - 1)]
    timing, reference = entry.latency, teacher.latency
    ratio = None
    if timing and reference and _conditions(timing) == _conditions(reference):
        ratio = reference.p50_ms / timing.p50_ms
    return [
        name,
        f"{entry.accuracy:.4f}",
        _or_dash(entry.loss, ".4f"),
        _or_dash(entry.ece, ".4f"),
        _scaled(entry.parameters, ("", "k", "M", "G")),
        _scaled(entry.size_bytes, (" B", " kB", " MB", " GB")),
        _or_dash(timing.p50_ms if timing else None, ".3f"),
        _or_dash(timing.p99_ms if timing else None, ".3f"),
        _or_dash(ratio, ".2f", "x"),
    ]


def _conditions(latency: Latency) -> tuple[str, int]:
    return latency.runtime, latency.threads


def _or_dash(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _scaled(count: float, units: tuple[str, ...]) -> str:
    """A count in powers of 1000, with three significant digits."""
    power = 0
    while count >= 999.5 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    decimals = 0 if power == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{decimals}f}{units[power]}"


def _comparison_lines(report: Report) -> list[str]:
    comparison = report.comparison
    speedup = comparison.speedup
    speed = "-"
    if speedup:
        speed = (
            f"{speedup.median:.2f}x on {speedup.runtime} "
            f"({speedup.confidence:.0%} interval {speedup.ci_low:.2f}x to {speedup.ci_high:.2f}x)"
        )
    return textwrap.wrap(
        f"Agreement with the teacher: {comparison.agreement:.4f}. Speed-up: {speed}. "
        f"Distillation gain: {_or_dash(comparison.distillation_gain, '+.4f')}. "
        f"Judged on {report.examples.eval:,} examples.",
        TEXT_WIDTH,
    )
