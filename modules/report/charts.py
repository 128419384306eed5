"""The charts of a report, as SVG; None where the report lacks what one would show.

Every chart has its numbers in a table of the page beside it. matplotlib is imported only when a
chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modules.judge.schema import Change, Entry, Report, Speedup
from modules.report.numbers import show
from modules.report.svg import (
    INK,
    MUTED,
    PAPER,
    Look,
    draw,
    legend,
    logarithmic,
    look,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (280.0, 230.0)  # points; a phone shows one beside another in its full width
_CONTROL = Look(MUTED, "d", "-")


@dataclass(frozen=True)
class Point:
    """A model that can be deployed: its cost, and what it is worth."""

    name: str
    cost: float
    accuracy: float
    low: float
    high: float


def models(report: Report) -> dict[str, Entry]:
    """All models of the report by name, in its order; variants under their own names."""
    roles = {"teacher": report.teacher, "student": report.student, "control": report.control}
    return {name: entry for name, entry in roles.items() if entry} | dict(report.variants)


def teacher_file_bytes(report: Report) -> float | None:
    """Size of the teacher's float32 file, to which every variant's compression refers."""
    for variant in report.variants.values():
        return round(variant.compression * variant.size_bytes)
    return None


def deployable(report: Report, cost: Literal["latency", "size"]) -> list[Point]:
    """The teacher's float32 file and the student's variants, as far as their cost is known."""
    points = []
    for name, entry in {"teacher": report.teacher, **report.variants}.items():
        if cost == "latency":
            value = entry.latency.p50_ms if entry.latency else None
        else:
            value = teacher_file_bytes(report) if name == "teacher" else entry.size_bytes
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


def trade_off(report: Report, cost: Literal["latency", "size"]) -> str | None:
    """Accuracy against cost, with the Pareto front."""
    points = deployable(report, cost)
    if len(points) < 2:
        return None
    front = pareto_front(points)

    def paint(axes: Axes) -> None:
        axes.plot(
            [point.cost for point in front],
            [point.accuracy for point in front],
            drawstyle="steps-post",
            color=MUTED,
            linewidth=0.8,
            zorder=1,
        )
        for point in points:
            shown = look(list(models(report)), point.name)
            axes.plot([point.cost] * 2, [point.low, point.high], color=shown.colour, linewidth=0.8)
            axes.plot(
                point.cost,
                point.accuracy,
                color=shown.colour,
                marker=shown.marker,
                markersize=6,
                markerfacecolor=shown.colour if point in front else PAPER,
                linestyle="none",
                label=readable(point.name),
            )
        axes.set_xlabel("p50 latency, ms" if cost == "latency" else "size of the file, bytes")
        axes.set_title(f"Accuracy against {cost}")
        logarithmic(axes.xaxis)
        legend(axes)

    description = (
        f"Accuracy against {cost}. Pareto front by rising {cost}: "
        f"{', '.join(point.name for point in front)}."
    )
    return draw(f"trade-off-{cost}", description, paint, PANEL)


def latency_distribution(report: Report, way: str) -> str | None:
    """The share of queries answered within a time, for every model timed in this way."""
    timed = {
        name: entry.latencies[way]
        for name, entry in models(report).items()
        if way in entry.latencies
    }
    if not timed:
        return None

    def paint(axes: Axes) -> None:
        shares = [percent / 100 for percent in range(101)]
        for name, latency in timed.items():
            shown = look(list(models(report)), name)
            axes.plot(
                latency.distribution_ms,
                shares,
                color=shown.colour,
                linestyle=shown.linestyle,
                label=readable(name),
            )
        axes.set_xlabel("latency, ms per query")
        axes.set_title("Share of queries answered")
        logarithmic(axes.xaxis)
        legend(axes)

    description = f"Distribution of latencies, {way}, of {', '.join(timed)}."
    return draw(f"latency-{way}", description, paint, PANEL)


def speedups(report: Report, way: str) -> str | None:
    """Speed-ups with their intervals, and the A/A control, which has to be 1."""
    rows = dict(report.comparison.speedups.get(way, {}))
    control = report.comparison.aa_control.get(way)
    if not rows and control is None:
        return None

    def paint(axes: Axes) -> None:
        named: list[tuple[str, Look, Speedup]] = []
        if control is not None:
            named.append(("teacher (A/A)", _CONTROL, control))
        for name, each in rows.items():
            named.append((readable(name), look(list(models(report)), name), each))
        for at, (_, style, each) in enumerate(named):
            _interval(axes, at, (each.median, each.ci_low, each.ci_high), style)
        axes.axvline(1, color=INK, linewidth=0.8)
        _rows(axes, [name for name, *_ in named])
        axes.set_xlabel("teacher's time / model's time")
        axes.set_title("Speed-up")
        logarithmic(axes.xaxis)

    shown = ", ".join(f"{name} {show(each.median, 'ratio')}" for name, each in rows.items())
    description = f"Speed-up over the teacher with intervals, {way}: {shown or 'none'}."
    if control is not None:
        description += f" A/A control {control.median:.3f}."
    return draw(f"speedup-{way}", description, paint, PANEL)


def accuracy_changes(report: Report) -> str | None:
    """Paired changes of accuracy with their intervals, of every model from every other."""
    changes: dict[str, tuple[str, Change]] = {}
    for name, entry in models(report).items():
        for other, numbers in entry.against.items():
            change = numbers.get("accuracy")
            if change is not None and change.value is not None:
                changes[f"{readable(name)} \N{MINUS SIGN} {readable(other)}"] = (name, change)
    if not changes:
        return None

    def paint(axes: Axes) -> None:
        for at, (name, change) in enumerate(changes.values()):
            assert change.value is not None
            style = look(list(models(report)), name)
            _interval(axes, at, (change.value, change.low, change.high), style)
        axes.axvline(0, color=INK, linewidth=0.8)
        _rows(axes, list(changes))
        axes.set_xlabel("change of accuracy")

    shown = ", ".join(f"{name} {change.value:+.4f}" for name, (_, change) in changes.items())
    description = f"Changes of accuracy with intervals: {shown}."
    return draw("accuracy-changes", description, paint, (PANEL[0], 60 + 15 * len(changes)))


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _interval(
    axes: Axes, row: int, value: tuple[float, float | None, float | None], look: Look
) -> None:
    middle, low, high = value
    if low is not None and high is not None:
        axes.plot([low, high], [row, row], color=look.colour, linewidth=1.4)
        axes.plot([low, high], [row, row], color=look.colour, linestyle="none", marker="|")
    axes.plot(middle, row, color=look.colour, marker=look.marker, markersize=4.5)
