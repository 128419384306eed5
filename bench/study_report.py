"""The study's statistics, table and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from tabulate import tabulate

ALONE = "alone"
LEVEL = 0.05


def summarize(accuracy: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds, paired difference from the student alone.

    Args:
      accuracy: By seed, of `alone` and of each method.
    """
    summary = {
        name: {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}
        for name, values in accuracy.items()
    }
    methods = [name for name in accuracy if name != ALONE]
    for name in methods:
        summary[name] |= paired(accuracy[name], accuracy[ALONE])
    adjusted = holm([summary[name]["p"] for name in methods])
    for name, p in zip(methods, adjusted, strict=True):
        summary[name]["p_adjusted"] = p
    return summary


def paired(values: list[float], others: list[float]) -> dict[str, float]:
    """Mean difference, its 95 % interval and p, by Student's t for pairs."""
    differences = np.subtract(values, others)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        # No spread and so no t: equal in every seed, or different by the same in every seed.
        return {"difference": mean, "ci_low": mean, "ci_high": mean, "p": float(mean == 0)}
    test = stats.ttest_rel(values, others)
    interval = test.confidence_interval(1 - LEVEL)
    return {
        "difference": mean,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(test.pvalue),
    }


def holm(p: list[float]) -> list[float]:
    """p adjusted for their number (Holm 1979): the chance of any false finding stays bounded."""
    order = np.argsort(p)
    scaled = np.sort(p) * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def table(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    rows = []
    for name, figures in results["summary"].items():
        row = [name, _options(results["chosen"][name])]
        row.append(f"{100 * figures['mean']:.2f} ± {100 * figures['std']:.2f}")
        if name != ALONE:
            row += [
                f"{100 * figures['difference']:+.2f}",
                f"{100 * figures['ci_low']:+.2f} to {100 * figures['ci_high']:+.2f}",
                f"{figures['p_adjusted']:.3f}",
                _verdict(figures),
            ]
        rows.append(row)
    headers = ["student", "chosen", "accuracy, %", "difference", "95 % interval", "p, adjusted"]
    headers.append("shown to")
    alone = results["chosen"][ALONE]
    return (
        f"Teacher: {results['teacher_parameters']:,} parameters, "
        f"{100 * results['teacher_accuracy']:.2f} %. Student: `separable_cnn` {alone['filters']}, "
        f"{results['student_parameters']:,} parameters, {results['epochs']} epochs. "
        f"{len(results['seeds'])} seeds, {results['eval_examples']} eval examples, alpha "
        f"{results['alpha']}; differences are paired, in points; p is adjusted for "
        f"{len(rows) - 1} methods (Holm). {results['minutes']:.0f} minutes.\n\n"
        + tabulate(rows, headers, tablefmt="github", disable_numparse=True)
        + "\n\n![Paired difference from the student alone](study.svg)"
    )


def _options(choice: dict[str, Any]) -> str:
    hidden = {"method", "filters"} | ({"learning_rate"} if choice["method"] != ALONE else set())
    return ", ".join(f"{name} {value:g}" for name, value in choice.items() if name not in hidden)


def _verdict(figures: dict[str, float]) -> str:
    if figures["p_adjusted"] >= LEVEL:
        return "neither"
    return "help" if figures["difference"] > 0 else "harm"


def draw(results: dict[str, Any], path: Path) -> None:
    """The paired differences with their intervals."""
    names = [name for name in results["summary"] if name != ALONE]
    figures = [results["summary"][name] for name in names]
    middle, low, high = (
        np.array([100 * figure[key] for figure in figures])
        for key in ("difference", "ci_low", "ci_high")
    )
    figure = Figure(figsize=(7, 0.4 * len(names) + 1), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(middle, range(len(names)), xerr=[middle - low, high - middle], fmt="o", capsize=3)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy minus the student alone, points (95 % interval, not adjusted)")
    figure.savefig(path, metadata={"Date": None})
