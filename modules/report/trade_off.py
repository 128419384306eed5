"""What can be deployed, by cost and main number: the teacher's float32 file and the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modules.judge.schema import Report
from modules.report.tasks import Better, presentation

Cost = Literal["latency", "size"]


@dataclass(frozen=True)
class Point:
    """A model that can be deployed: its cost, and its main number with the interval."""

    name: str
    cost: float
    value: float
    low: float
    high: float


def deployable(report: Report, cost: Cost) -> list[Point]:
    """The teacher's float32 file and the student's variants, as far as their cost is known."""
    points, shown = [], presentation(report.task)
    for name, entry in {"teacher": report.teacher, **report.variants}.items():
        at = shown.value(entry)
        if cost == "latency":
            paid = entry.latency.p50_ms if entry.latency else None
        else:
            paid = _teacher_file_bytes(report) if name == "teacher" else entry.size_bytes
        if paid is not None and at is not None:
            low, high = entry.intervals.get(shown.main.key, (None, None))
            points.append(
                Point(name, paid, at, at if low is None else low, at if high is None else high)
            )
    return points


def pareto_front(points: Sequence[Point], better: Better = "high") -> list[Point]:
    """The points to which no other is preferable, by rising cost.

    Another is preferable if it costs no more and its number is no worse, and one of both is better.
    """
    sign = 1 if better == "high" else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -sign * each.value)):
        best = front[-1] if front else None
        alike = best and (best.cost, best.value) == (point.cost, point.value)
        if best is None or alike or sign * point.value > sign * best.value:
            front.append(point)
    return front


def _teacher_file_bytes(report: Report) -> float | None:
    """Size of the teacher's float32 file, to which every variant's compression refers, if any."""
    for variant in report.variants.values():
        if variant.compression is not None and variant.size_bytes is not None:
            return round(variant.compression * variant.size_bytes)
    return None
