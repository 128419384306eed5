"""report.md: the report in a terminal, a table of the models and the verdict with its reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from modules.judge.formats import Fixed, text
from modules.judge.schema import Entry, GateResult, Latency, Report
from modules.report.tasks import Column, presentation
from modules.report.text import shipped_speedups, training_examples

TEXT_WIDTH = 100  # columns of a terminal
_COSTS = ("params", "size", "p50 ms", "p99 ms", "speed-up")
_MS = Fixed(3)


def markdown_table(report: Report) -> str:
    """The report for people: what distillation brought, the models, the verdict, the comparison.

    GitHub Markdown, at most 100 columns wide with numbers of a usual size, so that it can be
    printed in a terminal as it is. The speed-up in the table is the ratio of the two p50, shown
    only for the same runtime and threads; the one with an interval is the one that is judged.
    """
    numbers = presentation(report.task).terminal
    headers = ("model", *(each.title for each in numbers), *_COSTS)
    rows = [_row(name, entry, report.teacher, numbers) for name, entry in _models(report)]
    # As a row of their own, for tabulate makes columns with headers two wider than need be.
    rule, header, *body = tabulate(
        [headers, *rows],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    ).splitlines()
    table = [header, rule, *body, ""]
    lines = [*_remarks(report.gate), *table, *verdict_lines(report.gate), ""]
    return "\n".join([*lines, *_comparison_lines(report)]) + "\n"


def _remarks(result: GateResult) -> list[str]:
    """What is to be read first: the gain, if there is a control."""
    lines = [line for remark in result.remarks for line in textwrap.wrap(f"{remark}.", TEXT_WIDTH)]
    return [*lines, ""] if lines else []


def verdict_lines(result: GateResult) -> list[str]:
    """The verdict and each check's reason: Markdown that also reads well in a terminal.

    Of variants that are not to ship, only what has not passed is told, marked in parentheses.
    """
    lines = [_headline(result), ""]
    for check in result.checks:
        if check.counts:
            mark = check.verdict if check.passed else check.verdict.upper()
            line = f"- {mark} `{check.name}`: {check.reason}"
        elif check.passed:
            continue
        else:
            line = f"- ({check.verdict}) `{check.name}`: {check.reason}; it does not ship"
        lines += textwrap.wrap(
            line,
            TEXT_WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _headline(result: GateResult) -> str:
    counting = [check.verdict for check in result.checks if check.counts]
    taught = ", with a weak teacher" if result.weak_teacher else ""
    failed, undecided = counting.count("failed"), counting.count("inconclusive")
    of_all = f"of {len(counting)} checks"
    if result.verdict == "passed":
        return f"PASSED{taught}: {len(counting)} {of_all} hold"
    if result.verdict == "inconclusive":
        return f"INCONCLUSIVE{taught}: {undecided} {of_all} cannot be decided, nothing is pushed"
    more = f", {undecided} cannot be decided" if undecided else ""
    return f"REFUSED{taught}: {failed} {of_all} failed{more}, nothing is pushed"


def _models(report: Report) -> Iterator[tuple[str, Entry | None]]:
    models = report.models
    for name in dict.fromkeys(("teacher", "student", "control", *models)):
        yield report.title(name), models.get(name)


def _row(name: str, entry: Entry | None, teacher: Entry, numbers: Sequence[Column]) -> list[str]:
    if entry is None:
        return [name, *["-"] * (len(numbers) + len(_COSTS))]
    timing, reference = entry.latency, teacher.latency
    ratio = None
    if timing and reference and _conditions(timing) == _conditions(reference):
        ratio = reference.p50_ms / timing.p50_ms
    return [
        name,
        *(text(getattr(entry, each.key), each.form) for each in numbers),
        text(entry.parameters, "thousands"),
        text(entry.size_bytes, "bytes"),
        text(timing.p50_ms if timing else None, _MS),
        text(timing.p99_ms if timing else None, _MS),
        text(ratio, "ratio"),
    ]


def _conditions(latency: Latency) -> tuple[str, int]:
    return latency.runtime, latency.threads


def _comparison_lines(report: Report) -> list[str]:
    speeds = []
    for name, speedup in shipped_speedups(report).items():
        low, high = (text(end, "ratio") for end in speedup.interval)
        level = text(speedup.confidence, "percent")
        speeds.append(
            f"{report.title(name)} {text(speedup.median, 'ratio')} on {speedup.runtime} "
            f"({level} interval {low} to {high})"
        )
    untimed = "no model to time" if report.lacks_teacher_model else "-"
    origin = (
        [*textwrap.wrap(report.teacher_origin, TEXT_WIDTH), ""] if report.teacher_origin else []
    )
    return origin + textwrap.wrap(
        f"Agreement with the teacher: {text(report.comparison.agreement, 'share')}. "
        f"Speed-up: {', '.join(speeds) or untimed}. "
        f"Judged on {report.examples.eval:,} examples. {training_examples(report)}",
        TEXT_WIDTH,
    )
