"""The charts of a search: every candidate, trained or not, on its score against its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.judge.schema import Report
from modules.report.svg import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    draw,
    legend,
    logarithmic,
)
from modules.report.tasks import presentation
from modules.report.trade_off import Cost, Point, pareto_front
from modules.search.results import SearchedStudent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (280.0, 230.0)


def cost_of(student: SearchedStudent, cost: Cost) -> float | None:
    """Of the cheapest file; None where it was not measured."""
    known = student.latencies if cost == "latency" else student.sizes
    return min(known.values(), default=None)


def search_front(report: Report, cost: Cost) -> list[Point]:
    """The trained candidates to which no other is preferable, by rising cost."""
    assert report.search is not None
    points = [
        Point(each.name, paid, each.score, each.score, each.score)
        for each in report.search.students
        if each.score is not None and (paid := cost_of(each, cost)) is not None
    ]
    return pareto_front(points, presentation(report.task).better)


def search_trade_off(report: Report, cost: Cost) -> str | None:
    """The score on the validation part against cost; None where no cost is known."""
    if report.search is None:
        return None
    known = [(each, paid) for each in report.search.students if (paid := cost_of(each, cost))]
    trained = [(each, paid) for each, paid in known if each.score is not None]
    if len({paid for _, paid in known}) < 2 or not trained:
        return None
    front = search_front(report, cost)
    scores = [each.score for each, _ in trained if each.score is not None]
    floor = min(scores) if presentation(report.task).better == "high" else max(scores)
    groups = {
        "compared": [pair for pair in trained if pair[0].state == "compared"],
        "stopped early": [pair for pair in trained if pair[0].state == "stopped"],
        "not trained": [pair for pair in known if pair[0].score is None],
        "chosen": [pair for pair in trained if pair[0].state == "chosen"],
    }

    def paint(axes: Axes) -> None:
        axes.plot(
            [point.cost for point in front],
            [point.value for point in front],
            drawstyle="steps-post",
            color=MUTED,
            linewidth=0.8,
            zorder=1,
        )
        for (label, pairs), (color, marker, filled) in zip(groups.items(), _LOOKS, strict=True):
            if pairs:
                axes.plot(
                    [paid for _, paid in pairs],
                    [floor if each.score is None else each.score for each, _ in pairs],
                    color=color,
                    marker=marker,
                    markersize=8 if label == "chosen" else 5.5,
                    markerfacecolor=color if filled else PAPER,
                    linestyle="none",
                    label=label,
                )
        axes.set_xlabel("p50 latency, ms" if cost == "latency" else "size of the file, bytes")
        axes.set_title(title)
        logarithmic(axes.xaxis)
        legend(axes)

    main = presentation(report.task).main.title
    title = f"{main[0].upper()}{main[1:]} on validation data against {cost}"
    description = (
        f"{title}. Pareto front by rising {cost}: {', '.join(point.name for point in front)}. "
        f"Chosen: {report.search.chosen.name}."
    )
    return draw(f"search-{cost}", description, paint, _PANEL)


# In the order of the groups: color, marker, whether it is filled.
_LOOKS = ((SERIES[0], "o", True), (SERIES[0], "o", False), (MUTED, "x", True), (INK, "*", True))
