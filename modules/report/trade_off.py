"""What can be deployed, by cost and accuracy: the teacher's float32 file and the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modules.judge.schema import Report

Cost = Literal["latency", "size"]


@dataclass(frozen=True)
class Point:
    """A model that can be deployed: its cost, and what it is worth."""

    name: str
    cost: float
    accuracy: float
    low: float
    high: float


def deployable(report: Report, cost: Cost) -> list[Point]:
    """The teacher's float32 file and the student's variants, as far as their cost is known."""
    points = []
    for name, entry in {"teacher": report.teacher, **report.variants}.items():
        if cost == "latency":
            value = entry.latency.p50_ms if entry.latency else None
        else:
            value = _teacher_file_bytes(report) if name == "teacher" else entry.size_bytes
        if value is not None:
            low, high = entry.intervals.get("accuracy", (None, None))
            at = entry.accuracy
            points.append(
                Point(name, value, at, at if low is None else low, at if high is None else high)
            )
    return points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points to which no other is preferable, by rising cost.

    Another is preferable if it costs no more and is no less accurate, and better in one of both.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.accuracy)):
        best = front[-1] if front else None
        alike = best and (best.cost, best.accuracy) == (point.cost, point.accuracy)
        if best is None or alike or point.accuracy > best.accuracy:
            front.append(point)
    return front


def _teacher_file_bytes(report: Report) -> float | None:
    """Size of the teacher's float32 file, to which every variant's compression refers."""
    for variant in report.variants.values():
        return round(variant.compression * variant.size_bytes)
    return None
