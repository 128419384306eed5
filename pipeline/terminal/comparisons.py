"""What `tfx-distill compare` shows: one column per run, one row per number."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from typing import Any

from tabulate import tabulate

from modules.judge.formats import Fixed, Form, show
from modules.judge.schema import Report
from modules.report.comparison import Row, RunComparison, Unit, Value
from modules.report.table import TEXT_WIDTH

_RUNS_PER_TABLE = 3  # more do not fit in TEXT_WIDTH columns with their intervals
_KEY_WIDTH, _RUN_WIDTH = 30, 24
_GAP = 2  # between columns; and tabulate makes a column so much wider than its header
_MARK, _ABSENT = "*", "-"
# Factor and form of a value, and how the unit is written behind the row's name.
_Scale = tuple[int, Form, str]
_SCALES: dict[Unit, _Scale] = {
    "%": (100, Fixed(2), ", %"),
    "change in %": (100, Fixed(2, sign="+"), ", %"),
    "value": (1, "value", ""),
    "x": (1, Fixed(2), ", times"),
    "ms": (1, "ms", ", ms"),
    "count": (1, "count", ""),
    "bytes": (1, "count", ", bytes"),
}
_MICROSECONDS: _Scale = (1000, "ms", ", µs")


def comparison_text(comparison: RunComparison) -> str:
    """Tables of some runs each, at most 100 columns wide, and what to know when reading them."""
    runs = range(len(comparison.names))
    groups = [runs[at : at + _RUNS_PER_TABLE] for at in runs[::_RUNS_PER_TABLE]]
    tables = [_numbers_table(comparison, group) for group in groups]
    remarks = list(comparison.notes)
    if any(row.best is not None for row in comparison.rows):
        remarks.insert(0, "* better than every other run; the intervals do not overlap.")
    if comparison.differences:
        settings = [_differences_table(comparison, group) for group in groups]
    else:
        settings = ["The configurations are the same."]
    wrapped = ["\n".join(textwrap.wrap(remark, TEXT_WIDTH)) for remark in remarks]
    return "\n\n".join([*tables, *(["\n".join(wrapped)] if wrapped else []), *settings])


def _numbers_table(comparison: RunComparison, group: range) -> str:
    reports = [comparison.reports[run] for run in group]
    rows = [
        ["created (UTC)", *(_minute(report.created) for report in reports)],
        ["verdict", *(report.gate.verdict for report in reports)],
    ]
    variant = None
    for row in comparison.rows:
        if row.number.variant != variant:
            variant = row.number.variant
            rows.append([f"TFLite {variant}", *(_fate(report, variant) for report in reports)])
        rows.append([_label(row), *(_cell(row, run) for run in group)])
    return tabulate(
        rows,
        ["", *(comparison.names[run] for run in group)],
        maxheadercolwidths=[_KEY_WIDTH, *[_RUN_WIDTH - _GAP] * len(group)],
        preserve_whitespace=True,
        disable_numparse=True,
    )


def _differences_table(comparison: RunComparison, group: range) -> str:
    width = (TEXT_WIDTH - _KEY_WIDTH) // len(group) - _GAP
    rows = [
        [key, *(_setting(values[run]) for run in group)]
        for key, values in comparison.differences.items()
    ]
    return tabulate(
        rows,
        ["setting", *(comparison.names[run] for run in group)],
        maxcolwidths=[_KEY_WIDTH, *[width] * len(group)],
        maxheadercolwidths=[_KEY_WIDTH, *[width - _GAP] * len(group)],
        disable_numparse=True,
    )


def _label(row: Row) -> str:
    return f"{'  ' if row.number.variant else ''}{row.number.name}{_scale(row)[2]}"


def _cell(row: Row, run: int) -> str:
    value = row.values[run]
    if value is None:
        return _ABSENT
    return _text(value, _scale(row)) + (_MARK if row.best == run else "")


def _scale(row: Row) -> _Scale:
    """The same for the whole row, so that its values can be compared at a glance."""
    if row.number.unit == "ms" and max((each.value for each in row.values if each), default=1) < 1:
        return _MICROSECONDS
    return _SCALES[row.number.unit]


def _text(value: Value, scale: _Scale) -> str:
    factor, form, _ = scale
    # The unit is in the row's name.
    ends = [
        None if end is None else show(end * factor, form).digits
        for end in (value.value, value.low, value.high)
    ]
    text, low, high = ends
    if low is None or high is None or value.low == value.value == value.high:
        return str(text)
    return f"{text} [{low}, {high}]"


def _fate(report: Report, variant: str | None) -> str:
    """What became of a TFLite variant."""
    if variant not in report.variants:
        return "not exported"
    return "ships" if variant in report.gate.tflite else "does not ship"


def _minute(created: str) -> str:
    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return created


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else _ABSENT if value is None else json.dumps(value)
