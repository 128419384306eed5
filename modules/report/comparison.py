"""Reports of several runs side by side: what was measured, and in which settings they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from modules.judge.estimates import value_at
from modules.judge.schema import Report, Speedup
from modules.report.tasks import Better, Presentation, presentation

Unit = Literal["%", "change in %", "value", "x", "ms", "count", "bytes"]
# What decides on which examples a run is judged.
_EVAL_EXAMPLES = ("data.source", "data.path", "data.eval_fraction", "data.split_seed")


@dataclass(frozen=True)
class Number:
    """A number of report.json that runs are compared by.

    Attributes:
      name: For people.
      path: Dotted, within report.json.
      better: Which end is the better one.
      unit: In which it is shown; the value itself stays as it is in report.json.
      variant: The TFLite variant that it is of, or None: of the run as a whole.
    """

    name: str
    path: str
    better: Better
    unit: Unit
    variant: str | None = None


@dataclass(frozen=True)
class Value:
    """A measured value with its interval; an exact one has no width, an unknown one is None."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """One number of every run; None where a run lacks it.

    `best` is the run whose interval lies on the better side of every other run's, or None.
    """

    number: Number
    values: tuple[Value | None, ...]
    best: int | None


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side.

    Attributes:
      names: What the user calls the runs.
      reports: Their reports, in the same order.
      rows: The numbers.
      differences: By dotted key of the configuration, the runs' values; None where it is null or
        a run's configuration lacks it.
      notes: What stands in the way of a fair comparison; sentences.
    """

    names: tuple[str, ...]
    reports: tuple[Report, ...]
    rows: tuple[Row, ...]
    differences: dict[str, tuple[Any, ...]]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """One JSON object."""
        runs = [
            {
                "run": name,
                "created": report.created,
                "confidence": report.confidence,
                "examples": report.examples.eval,
                "verdict": report.gate.verdict,
                "blessed": report.gate.blessed,
                "tflite": report.gate.tflite,
            }
            for name, report in zip(self.names, self.reports, strict=True)
        ]
        numbers = [
            {
                "number": row.number.path,
                "better": row.number.better,
                "best": row.best,
                "values": [value and asdict(value) for value in row.values],
            }
            for row in self.rows
        ]
        content = {"runs": runs, "numbers": numbers}
        return json.dumps(
            content | {"differences": self.differences, "notes": self.notes}, indent=2
        )


def compare_runs(names: Sequence[str], reports: Sequence[Report]) -> RunComparison:
    """Compare two or more runs.

    A best value is named only where intervals do not overlap: for shares of examples, if the runs
    were judged on the same examples; for times, if they were measured on the same kind of machine.
    """
    configs = [dict(_flat(report.config)) for report in reports]
    keys = sorted(set().union(*configs))
    every = {key: tuple(config.get(key) for config in configs) for key in keys}
    differing = {key: values for key, values in every.items() if _differ(values)}
    not_examples, not_machine = _other_examples(reports, differing), _other_machine(reports)
    unfair: dict[Unit, str] = {"%": not_examples, "change in %": not_examples}
    unfair |= {"value": not_examples, "x": not_machine, "ms": not_machine}
    rows = []
    for number in _numbers(reports):
        values = tuple(_value(report, number) for report in reports)
        best = None if unfair.get(number.unit) else _best(values, number.better)
        rows.append(Row(number, values, best))
    return RunComparison(
        names=tuple(names),
        reports=tuple(reports),
        rows=tuple(rows),
        differences=differing,
        notes=tuple(filter(None, (not_examples, not_machine, _other_levels(reports)))),
    )


def _numbers(reports: Sequence[Report]) -> Iterator[Number]:
    # One row for each task's main number, where runs of several tasks are compared.
    shown = {presentation(report.task).main.key: presentation(report.task) for report in reports}
    for each in shown.values():
        for role in ("teacher", "student", "control"):
            yield _main_number(each, f"{role} ", role)
    if "accuracy" in shown:
        yield Number("accuracy change", "comparison.accuracy_change", "high", "change in %")
    unit: Unit = "change in %" if [*shown] == ["accuracy"] else "value"
    yield Number("distillation gain", "comparison.distillation_gain", "high", unit)
    yield Number("agreement", "comparison.agreement", "high", "%")
    yield Number("speed-up", "comparison.speedup.median", "high", "x")
    yield Number("student parameters", "student.parameters", "low", "count")
    yield Number("student p50", "student.latency.p50_ms", "low", "ms")
    for variant in dict.fromkeys(name for report in reports for name in report.variants):
        path = f"variants.{variant}"
        for each in shown.values():
            yield _main_number(each, "", path, variant)
        yield Number("size", f"{path}.size_bytes", "low", "bytes", variant)
        yield Number("p50", f"{path}.latency.p50_ms", "low", "ms", variant)


def _main_number(shown: Presentation, prefix: str, path: str, variant: str | None = None) -> Number:
    unit: Unit = "%" if shown.main.form == "share" else "value"
    name = f"{prefix}{shown.main.title}"
    return Number(name, f"{path}.{shown.main.key}", shown.better, unit, variant)


def _value(report: Report, number: Number) -> Value | None:
    *place, key = number.path.split(".")
    part = value_at(report, *place)
    value = value_at(part, key)
    if value is None:
        return None
    if isinstance(part, Speedup):
        return Value(value, *part.interval)
    if number.unit in ("count", "bytes"):
        return Value(value, value, value)
    return Value(value, *part.intervals.get(key, (None, None)))


def _best(values: Sequence[Value | None], better: Better) -> int | None:
    present = {run: value for run, value in enumerate(values) if value}
    if len(present) < 2:
        return None
    choose = max if better == "high" else min
    best = choose(present, key=lambda run: present[run].value)
    clear = all(_beats(present[best], present[run], better) for run in present if run != best)
    return best if clear else None


def _beats(one: Value, other: Value, better: Better) -> bool:
    """Whether an interval lies beyond the other's."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low > other.high if better == "high" else one.high < other.low


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists of sections are counted, other lists are values."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        value = {str(index): each for index, each in enumerate(value)}
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])


def _other_examples(reports: Sequence[Report], differing: Mapping[str, Any]) -> str:
    """A sentence unless all runs were judged on the same examples, as far as reports can tell."""
    reasons = [key for key in _EVAL_EXAMPLES if key in differing]
    counts = [report.examples.eval for report in reports]
    if _differ([report.task for report in reports]):
        reasons.append("different tasks")
    if _differ(counts):
        reasons.append(f"{_listed(dict.fromkeys(counts))} examples")
    elif _differ([[(each.label, each.count) for each in report.per_class] for report in reports]):
        reasons.append("different classes or class counts")
    if not reasons:
        return ""
    return (
        f"Not judged on the same examples ({', '.join(reasons)}): no accuracy or error is marked "
        "as better."
    )


def _other_machine(reports: Sequence[Report]) -> str:
    """A sentence unless all runs were timed on the same kind of machine in the same way."""
    machines = [f"{each.environment.cpu}, {each.environment.cpu_count} CPUs" for each in reports]
    ways = [
        f"{each.student.latency.runtime}, {each.student.latency.threads} threads"
        for each in reports
        if each.student.latency
    ]
    reasons = [_listed(dict.fromkeys(each)) for each in (machines, ways) if each and _differ(each)]
    if not reasons:
        return ""
    return (
        f"Not timed under the same conditions ({'; '.join(reasons)}): "
        "no time or speed-up is marked as better."
    )


def _other_levels(reports: Sequence[Report]) -> str:
    levels = dict.fromkeys(f"{report.confidence:.0%}" for report in reports)
    return f"The confidence levels differ: {_listed(levels)}." if len(levels) > 1 else ""


def _listed(values: Any) -> str:
    return " and ".join(str(value) for value in values)
