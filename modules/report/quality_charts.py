"""The charts of what was learnt: confusion, calibration, training; None where data lack.

As in `modules.report.charts`, the page has a table with the numbers beside each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.judge.schema import Report
from modules.report.charts import models
from modules.report.svg import HEAT, INK, MUTED, ON_HEAT, SERIES, draw, look, plain_ticks, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30  # in a confusion matrix: beyond, its cells are too small to be read


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
            colour = ON_HEAT if share > 0.75 else INK
            size = max(3.5, min(8.0, 90 / count))
            axes.text(*at, str(cell.count), color=colour, size=size, ha="center", va="center")
        names = [readable(label, 10) for label in report.labels]
        size = max(4.0, min(7.5, 110 / count))
        axes.set_xticks(range(count), names, rotation=90 if count > 5 else 0, size=size)
        axes.set_yticks(range(count), names, size=size)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        axes.set(xlabel="answer", ylabel="true class", title=f"{role.capitalize()}")
        axes.grid(visible=False)

    description = f"Confusion matrix of the {role}, {count} classes; the commonest are in a table."
    return draw(f"confusion-{role}", description, paint, (280, 280))


def reliability(report: Report, name: str) -> str | None:
    """Accuracy by confidence; on the diagonal a model is as good as it believes."""
    bins = [each for each in report.reliability.get(name, []) if each.confidence is not None]
    if not bins:
        return None

    def paint(axes: Axes) -> None:
        shown = look(list(models(report)), name)
        most = max(each.count for each in bins)
        confidences = [each.confidence for each in bins if each.confidence is not None]
        accuracies = [each.accuracy for each in bins]
        sizes = [8 + 52 * each.count / most for each in bins]
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, dashes=(3, 2))
        axes.plot(confidences, accuracies, color=shown.colour, linewidth=0.9)
        axes.scatter(
            confidences, accuracies, sizes, color=shown.colour, marker=shown.marker, linewidths=0
        )
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05), aspect="equal")
        axes.set(xlabel="confidence", ylabel="accuracy", title=readable(name))

    description = f"Reliability of {name}: accuracy by confidence in {len(bins)} bins."
    return draw(f"reliability-{name}", description, paint, (170, 180))


def curve(report: Report, role: str, metric: str) -> str | None:
    """One value over the epochs of a training, on its own data and on the validation part."""
    values = report.curves.get(role, {})
    keys = {"training": metric, "validation": f"val_{metric}"}
    lines = {name: values[key] for name, key in keys.items() if values.get(key)}
    if not lines:
        return None

    def paint(axes: Axes) -> None:
        for name, line in lines.items():
            style, colour = ("-", SERIES[0]) if name == "training" else (":", SERIES[1])
            numbers = [float("nan") if each is None else each for each in line]
            # A single epoch is a point, which a line would not show.
            marker = "o" if len(line) == 1 else ""
            epochs = range(1, len(line) + 1)
            axes.plot(epochs, numbers, style, color=colour, label=name, marker=marker)
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
