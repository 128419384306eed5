"""report.json: what was measured on teacher and student, and what the gate made of it.

Its schema is `modules.report_schema`. A report is made in three steps:
`describe` and `compare` turn measurements into parts, `Evidence` holds all parts, and
`build_report` has the gate judge exactly this evidence, so that verdict and numbers belong
together. Imports neither TensorFlow nor SciPy: the command line reads reports, too.
"""

from __future__ import annotations

import json
import os
import platform
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tabulate import tabulate

from modules import metrics
from modules.errors import UserError
from modules.gate import TEXT_WIDTH, judge, verdict_lines
from modules.metrics import Predictions
from modules.report_schema import (
    SCHEMA_VERSION,
    ClassAccuracy,
    Comparison,
    Entry,
    Environment,
    Evidence,
    Latency,
    Report,
    Speedup,
    Variant,
)
from modules.settings import GateSettings

REPORT_JSON, REPORT_MARKDOWN = "report.json", "report.md"
# Whose versions decide what comes out of a run.
DISTRIBUTIONS = ("tensorflow", "keras", "tfx", "tensorflow-model-analysis", "ai-edge-litert")
_HEADERS = ("model", "accuracy", "loss", "ECE", "params", "size", "p50 ms", "p99 ms", "speed-up")


def describe(
    predictions: Predictions,
    parameters: int,
    size_bytes: int,
    latency: Mapping[str, Any] | None = None,
) -> Entry:
    """One model's entry.

    Args:
        predictions: of the model on the eval split.
        parameters: number of weights.
        size_bytes: of the SavedModel directory, or of the TFLite file.
        latency: `Timing.summary()`, or None if the model was not timed.
    """
    return Entry(
        accuracy=metrics.accuracy(predictions),
        loss=metrics.mean_loss(predictions),
        ece=metrics.expected_calibration_error(predictions),
        parameters=parameters,
        size_bytes=size_bytes,
        latency=None if latency is None else Latency.model_validate(latency),
    )


def describe_variant(entry: Entry, file: str, sha256: str, teacher_tflite_bytes: int) -> Variant:
    """The entry of a TFLite file: what was measured on it, and which file that was.

    Args:
        entry: made by `describe` from the answers and the size of this file.
        file: its path within the export.
        sha256: its hexadecimal digest.
        teacher_tflite_bytes: size of the teacher's float32 TFLite file.
    """
    return Variant(
        **entry.model_dump(),
        file=file,
        sha256=sha256,
        compression=teacher_tflite_bytes / entry.size_bytes,
    )


def compare(
    teacher: Entry,
    student: Entry,
    control: Entry | None,
    agreement: float,
    speedup: Mapping[str, Any] | None,
) -> Comparison:
    """The student against its teacher and its control.

    Args:
        teacher: entry of the teacher's SavedModel.
        student: entry of the student's SavedModel.
        control: entry of the same student trained without the teacher, or None.
        agreement: of teacher and student, from `metrics.agreement`.
        speedup: what `latency.speedup` returned, or None if nothing was timed.

    Returns:
        `accuracy_change` is student - teacher, `distillation_gain` student - control,
        `compression` teacher bytes / student bytes.
    """
    return Comparison(
        accuracy_change=student.accuracy - teacher.accuracy,
        agreement=agreement,
        distillation_gain=None if control is None else student.accuracy - control.accuracy,
        speedup=None if speedup is None else Speedup.model_validate(speedup),
        compression=teacher.size_bytes / student.size_bytes,
    )


def per_class(
    labels: Sequence[str], teacher: Predictions, student: Predictions
) -> list[ClassAccuracy]:
    """Accuracy of both models on each class, in the order of `labels`."""
    counts, teacher_shares = metrics.per_class_accuracy(teacher, len(labels))
    _, student_shares = metrics.per_class_accuracy(student, len(labels))
    return [
        ClassAccuracy(label=label, count=count, teacher_accuracy=first, student_accuracy=second)
        for label, count, first, second in zip(
            labels, counts.tolist(), teacher_shares.tolist(), student_shares.tolist(), strict=True
        )
    ]


def environment(accelerators: Sequence[str] = ()) -> Environment:
    """Versions, processor and accelerators of this machine.

    Args:
        accelerators: names of the GPUs in use; the caller knows, this module stays light.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return Environment(
        versions=versions,
        platform=platform.platform(),
        cpu=_cpu_name(),
        cpu_count=_cpu_count(),
        accelerators=list(accelerators),
    )


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model name Linux gives, else what Python knows (on ARM, for one, there is none)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "unknown"


def _cpu_count() -> int:
    """CPUs this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def build_report(evidence: Evidence, limits: GateSettings) -> Report:
    """Has the gate judge the evidence as it will stand in the file, and joins the two."""
    parts = evidence.model_dump(mode="json")
    return Report.model_validate({**parts, "gate": judge(parts, limits)})


def write_report(report: Report, directory: str | Path) -> None:
    """Writes report.json and, for people, report.md; each appears whole or not at all.

    Args:
        report: what `build_report` returned.
        directory: a local directory, made if it is not there.

    Raises:
        ValueError: the directory is a URL, which `pathlib` would take for a local one.
    """
    if "://" in str(directory):
        raise ValueError(f"directory must be local, got {directory}; copy the files from there")
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, text in (
        (REPORT_MARKDOWN, markdown_table(report)),
        (REPORT_JSON, report.model_dump_json(indent=2) + "\n"),
    ):
        aside = Path(directory, f".{name}.{os.getpid()}")
        try:
            aside.write_text(text, encoding="utf-8")
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
