"""The charts of a report, as SVG; None where the report lacks what one would show.

Every chart has its numbers in a table of the page beside it. matplotlib is imported only when a
chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from modules.judge.formats import typeset
from modules.judge.schema import Change, Point, Report, Speedup
from modules.report.svg import (
    HEAT,
    INK,
    MUTED,
    ON_HEAT,
    PAPER,
    SERIES,
    Look,
    draw,
    legend,
    logarithmic,
    look,
    plain_ticks,
    readable,
)
from modules.report.tasks import presentation
from modules.report.trade_off import Cost, deployable, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30  # in a confusion matrix: beyond, its cells are too small to be read
PANEL = (280.0, 230.0)  # points; a phone shows one beside another in its full width
_CONTROL = Look(MUTED, "d", "-")


def trade_off(report: Report, cost: Cost) -> str | None:
    """The main number against cost, with the Pareto front."""
    points, main = deployable(report, cost), presentation(report.task).main.title
    if len(points) < 2:
        return None
    front = pareto_front(points, presentation(report.task).better)
    title = f"{main[0].upper()}{main[1:]} against {cost}"

    def paint(axes: Axes) -> None:
        axes.plot(
            [point.cost for point in front],
            [point.value for point in front],
            drawstyle="steps-post",
            color=MUTED,
            linewidth=0.8,
            zorder=1,
        )
        for point in points:
            shown = look(report.models, point.name)
            axes.plot([point.cost] * 2, [point.low, point.high], color=shown.color, linewidth=0.8)
            axes.plot(
                point.cost,
                point.value,
                color=shown.color,
                marker=shown.marker,
                markersize=6,
                markerfacecolor=shown.color if point in front else PAPER,
                linestyle="none",
                label=readable(point.name),
            )
        axes.set_xlabel("p50 latency, ms" if cost == "latency" else "size of the file, bytes")
        axes.set_title(title)
        logarithmic(axes.xaxis)
        legend(axes)

    description = (
        f"{title}. Pareto front by rising {cost}: {', '.join(point.name for point in front)}."
    )
    return draw(f"trade-off-{cost}", description, paint, PANEL)


def latency_distribution(report: Report, way: str) -> str | None:
    """The share of queries answered within a time, for every model timed in this way."""
    timed = {
        name: entry.latencies[way]
        for name, entry in report.models.items()
        if way in entry.latencies
    }
    if not timed:
        return None

    def paint(axes: Axes) -> None:
        shares = [percent / 100 for percent in range(101)]
        for name, latency in timed.items():
            shown = look(report.models, name)
            axes.plot(
                latency.distribution_ms,
                shares,
                color=shown.color,
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
            named.append((readable(name), look(report.models, name), each))
        for at, (_, style, each) in enumerate(named):
            _interval(axes, at, (each.median, *each.interval), style)
        axes.axvline(1, color=INK, linewidth=0.8)
        _rows(axes, [name for name, *_ in named])
        axes.set_xlabel("teacher's time / model's time")
        axes.set_title("Speed-up")
        logarithmic(axes.xaxis)

    shown = ", ".join(f"{name} {typeset(each.median, 'ratio')}" for name, each in rows.items())
    description = f"Speed-up over the teacher with intervals, {way}: {shown or 'none'}."
    if control is not None:
        description += f" A/A control {control.median:.3f}."
    return draw(f"speedup-{way}", description, paint, PANEL)


def main_changes(report: Report) -> str | None:
    """Paired changes of the main number with their intervals, of each pair of models once."""
    shown_as = presentation(report.task)
    main = shown_as.main.title
    changes: dict[str, tuple[str, Change]] = {}
    # Others are compared with the teacher and the control, not the other way round.
    names = sorted(report.models, key=lambda name: {"control": 1, "teacher": 2}.get(name, 0))
    pairs: set[frozenset[str]] = set()
    for name in names:
        entry = report.models[name]
        for other in entry.against:
            change = shown_as.change(entry, other)
            pair = frozenset((name, other))
            if change is not None and change.value is not None and pair not in pairs:
                pairs.add(pair)
                changes[f"{readable(name)} \N{MINUS SIGN} {readable(other)}"] = (name, change)
    if not changes:
        return None

    def paint(axes: Axes) -> None:
        for at, (name, change) in enumerate(changes.values()):
            assert change.value is not None
            style = look(report.models, name)
            _interval(axes, at, (change.value, *change.interval), style)
        axes.axvline(0, color=INK, linewidth=0.8)
        _rows(axes, list(changes))
        axes.set_xlabel(f"change in {main}")

    shown = ", ".join(
        f"{name} {typeset(change.value, shown_as.change_form)}"
        for name, (_, change) in changes.items()
    )
    description = f"Changes in {main} with intervals: {shown}."
    return draw("main-changes", description, paint, (PANEL[0], 60 + 15 * len(changes)))


def confusion(report: Report, role: str) -> str | None:
    """The confusion matrix; a cell is the darker, the larger its share of its true class."""
    cells, count = report.confusion.get(role), len(report.labels)
    if not cells or count > MOST_CLASSES:
        return None

    def paint(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        totals: dict[int, int] = {}
        for cell in cells:
            totals[cell.label] = totals.get(cell.label, 0) + cell.count
        for cell in cells:
            share, at = cell.count / totals[cell.label], (cell.predicted, cell.label)
            corner = (cell.predicted - 0.5, cell.label - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=HEAT, alpha=share, linewidth=0))
            color = ON_HEAT if share > 0.75 else INK
            size = max(3.5, min(8.0, 90 / count))
            axes.text(*at, str(cell.count), color=color, size=size, ha="center", va="center")
        names = [readable(label, 10) for label in report.labels]
        size = max(4.0, min(7.5, 110 / count))
        axes.set_xticks(range(count), names, rotation=90 if count > 5 else 0, size=size)
        axes.set_yticks(range(count), names, size=size)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        axes.set(xlabel="answer", ylabel="true class", title=f"{role.capitalize()}")
        axes.grid(visible=False)

    description = (
        f"Confusion matrix of the {role}, {count} classes; the most frequent errors are in a table."
    )
    return draw(f"confusion-{role}", description, paint, (280, 280))


def reliability(report: Report, name: str) -> str | None:
    """Accuracy by confidence; on the diagonal a model is as good as it believes."""
    bins = [each for each in report.reliability.get(name, []) if each.confidence is not None]
    if not bins:
        return None

    def paint(axes: Axes) -> None:
        shown = look(report.models, name)
        most = max(each.count for each in bins)
        confidences = [each.confidence for each in bins if each.confidence is not None]
        accuracies = [each.accuracy for each in bins]
        sizes = [8 + 52 * each.count / most for each in bins]
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(3, 2))
        axes.plot(confidences, accuracies, color=shown.color, linewidth=0.9)
        axes.scatter(
            confidences, accuracies, sizes, color=shown.color, marker=shown.marker, linewidths=0
        )
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05), aspect="equal")
        axes.set(xlabel="confidence", ylabel="accuracy", title=readable(name))

    description = f"Reliability of {name}: accuracy by confidence in {len(bins)} bins."
    return draw(f"reliability-{name}", description, paint, (170, 180))


def answer_curve(report: Report, name: Literal["roc", "precision_recall"]) -> str | None:
    """The ROC or the precision-recall curve of teacher and student."""
    curves = {role: getattr(each, name) for role, each in report.answer_curves.items()}
    curves = {role: points for role, points in curves.items() if points}
    if not curves:
        return None
    title, x, y = {
        "roc": ("ROC curve", "false positive rate", "true positive rate"),
        "precision_recall": ("Precision and recall", "recall", "precision"),
    }[name]
    key = {"roc": "roc_auc", "precision_recall": "pr_auc"}[name]
    area = "mean area of the labels" if report.task == "multilabel" else "area"
    if report.task == "multilabel":
        title += ", all labels together"

    def paint(axes: Axes) -> None:
        if name == "roc":
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(3, 2))
        for role, points in curves.items():
            style = look(report.models, role)
            axes.plot(
                *zip(*points, strict=True),
                color=style.color,
                linestyle=style.linestyle,
                label=readable(role),
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set(xlabel=x, ylabel=y, title=title)
        legend(axes)

    areas = ", ".join(
        f"{role} {typeset(getattr(report.models[role], key), 'share')}" for role in curves
    )
    return draw(f"{name}-curve", f"{title}; {area} of {areas}.", paint, (230, 250))


def predicted_values(report: Report, role: str) -> str | None:
    """Values against labels; on the dashed line they are the same."""
    points = report.answer_curves[role].values if role in report.answer_curves else []
    if not points:
        return None

    def paint(axes: Axes) -> None:
        ends = [end(value for point in points for value in point) for end in (min, max)]
        axes.plot(ends, ends, color=MUTED, linewidth=0.8, dashes=(3, 2))
        _scatter(axes, report, role, points)
        axes.set(xlabel="actual value", ylabel="predicted value", title=role.capitalize())

    description = f"Predicted against actual values of the {role}, {len(points)} examples."
    return draw(f"values-{role}", description, paint, PANEL)


def residuals(report: Report, role: str) -> str | None:
    """Errors by predicted value: what is left to explain should show no shape."""
    points = report.answer_curves[role].values if role in report.answer_curves else []
    if not points:
        return None

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=MUTED, linewidth=0.8, dashes=(3, 2))
        left = [(value, value - label) for label, value in points]
        _scatter(axes, report, role, left)
        axes.set(
            xlabel="predicted value",
            ylabel="predicted \N{MINUS SIGN} actual",
            title=role.capitalize(),
        )

    description = f"Residuals of the {role} by predicted value, {len(points)} examples."
    return draw(f"residuals-{role}", description, paint, PANEL)


def curve(report: Report, role: str, metric: str) -> str | None:
    """One value over the epochs of a training, on its own data and on the validation part."""
    values = report.curves.get(role, {})
    keys = {"training": metric, "validation": f"val_{metric}"}
    lines = {name: values[key] for name, key in keys.items() if values.get(key)}
    if not lines:
        return None

    def paint(axes: Axes) -> None:
        for name, line in lines.items():
            style, color = ("-", SERIES[0]) if name == "training" else (":", SERIES[1])
            numbers = [float("nan") if each is None else each for each in line]
            # A single epoch is a point, which a line would not show.
            marker = "o" if len(line) == 1 else ""
            epochs = range(1, len(line) + 1)
            axes.plot(epochs, numbers, style, color=color, label=name, marker=marker)
        axes.set(title=metric.replace("_", " "), xlabel="epoch")
        axes.legend(handlelength=2)
        known = [each for line in lines.values() for each in line if each is not None]
        if "accuracy" not in metric and known and min(known) > 0:
            axes.set_yscale("log")
            plain_ticks(axes.yaxis)

    description = f"{role}: {metric} by epoch, {' and '.join(lines)}."
    return draw(f"curve-{role}-{metric}", description, paint, (200, 150))


def curve_metrics(report: Report, role: str) -> list[str]:
    """Names of the values that were followed in a training, without those of validation."""
    return list(dict.fromkeys(key.removeprefix("val_") for key in report.curves.get(role, {})))


def _scatter(axes: Axes, report: Report, role: str, points: Sequence[Point]) -> None:
    style = look(report.models, role)
    axes.plot(
        *zip(*points, strict=True),
        color=style.color,
        marker=style.marker,
        markersize=2.2,
        alpha=0.55,
        linestyle="none",
    )


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _interval(
    axes: Axes, row: int, value: tuple[float, float | None, float | None], look: Look
) -> None:
    middle, low, high = value
    if low is not None and high is not None:
        axes.plot([low, high], [row, row], color=look.color, linewidth=1.4)
        axes.plot([low, high], [row, row], color=look.color, linestyle="none", marker="|")
    axes.plot(middle, row, color=look.color, marker=look.marker, markersize=4.5)
