"""The study's statistics, table and picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from bench.paired import LEVEL, paired
from bench.study_cells import AUTO, CONTROL, FEW, KERAS, LABELS, PLAIN, cell_names

RESAMPLES = 2000
TAUGHT = (AUTO, PLAIN, KERAS)
_NAMES = {AUTO: "auto", PLAIN: "plain soft targets", KERAS: "keras.distillation"}
_COLORS = {AUTO: "tab:blue", PLAIN: "tab:gray", KERAS: "tab:orange"}
_LABELS = {"all": "all labels", FEW: "10 % + unlabeled"}
Run = dict[str, Any]


def resampled(runs: Sequence[Run], arm: str, seed: int = 0) -> tuple[float, float]:
    """The gain's 95 % interval where seeds and, in each, eval examples are drawn again.

    An example on which both are right, or both wrong, adds nothing; so three counts of a seed say
    all that its examples could.

    Args:
      runs: One for each seed, with both arms.
      arm: Compared with the control.
      seed: Of the resamples.
    """
    random = np.random.default_rng(seed)
    counts = np.array([[run["examples"]["eval"], *_apart(run, arm)] for run in runs])
    chosen = counts[random.integers(0, len(runs), (RESAMPLES, len(runs)))]
    total, better, worse = np.moveaxis(chosen, -1, 0)
    shares = np.stack([better, worse, total - better - worse], axis=-1) / total[..., None]
    drawn = random.multinomial(total, shares)
    gains = ((drawn[..., 0] - drawn[..., 1]) / total).mean(axis=1)
    low, high = np.quantile(gains, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _apart(run: Run, arm: str) -> tuple[int, int]:
    return run["arms"][arm]["better"], run["arms"][arm]["worse"]


def summarize(runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
    """By cell, in the order of the table: what its seeds say of each arm, and what failed."""
    listed = list(runs)
    found = {}
    for cell in cell_names():
        mine = [run for run in listed if run["cell"] == cell]
        if mine:
            found[cell] = _summary(sorted(mine, key=lambda run: run["seed"]))
    return found


def _summary(runs: Sequence[Run]) -> dict[str, Any]:
    whole = [run for run in runs if "arms" in run]
    summary: dict[str, Any] = {"seeds": len(runs), "gains": {}, "failures": _failures(runs)}
    scores = {
        "teacher": [run["teacher"] for run in whole],
        CONTROL: [run["arms"][CONTROL]["accuracy"] for run in _with(whole, CONTROL)],
    }
    for name, values in scores.items():
        summary[name] = float(np.mean(values)) if values else None
    for arm in TAUGHT:
        pairs = _with(whole, arm, CONTROL)
        if len(pairs) >= 2:
            summary["gains"][arm] = _difference(pairs, arm, CONTROL) | {
                "resampled": resampled(pairs, arm),
                "seeds": len(pairs),
            }
    for arm in (PLAIN, KERAS):
        pairs = _with(whole, AUTO, arm)
        if len(pairs) >= 2:
            summary[f"auto_against_{arm}"] = _difference(pairs, AUTO, arm)
    return summary


def _with(runs: Sequence[Run], *arms: str) -> list[Run]:
    """The runs in which none of these arms has failed."""
    return [run for run in runs if all("accuracy" in run["arms"].get(arm, {}) for arm in arms)]


def _difference(runs: Sequence[Run], arm: str, other: str) -> dict[str, Any]:
    return dict(paired(*([run["arms"][name]["accuracy"] for run in runs] for name in (arm, other))))


def _failures(runs: Sequence[Run]) -> list[str]:
    """`seed 3, keras: why`, of whatever was not trained."""
    found = [f"seed {run['seed']}: {run['error']}" for run in runs if "error" in run]
    return found + [
        f"seed {run['seed']}, {name}: {arm['error']}"
        for run in runs
        for name, arm in run.get("arms", {}).items()
        if "error" in arm
    ]


def counts(summary: dict[str, dict[str, Any]], key: str) -> str:
    """`above in 7, below in 0 of 36 cells, +1.2 points on average`, of differences by cell."""
    found = [
        each["gains"].get(key) if key in TAUGHT else each.get(key) for each in summary.values()
    ]
    known = [each for each in found if each]
    if not known:
        return "not measured"
    above = sum(each["ci_low"] > 0 for each in known)
    below = sum(each["ci_high"] < 0 for each in known)
    mean = 100 * np.mean([each["difference"] for each in known])
    return (
        f"above in {above}, below in {below} of {len(known)} cells, {mean:+.1f} points on average"
    )


def table(results: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    summary = results["summary"]
    rows, failures = [], []
    for cell, found in summary.items():
        name, labels, size = cell.split("/")
        shares = [_percent(found[each]) for each in ("teacher", CONTROL)]
        gains = [_gain(found, arm) for arm in TAUGHT]
        rows.append([name, _LABELS[labels], size, found["seeds"], *shares, *gains])
        failures += [f"- {cell}, {each}" for each in found["failures"]]
    headers = ["data", "labels", "student", "seeds", "teacher", "control", *_NAMES.values()]
    lines = [f"- {_NAMES[arm]} and the control: {counts(summary, arm)}." for arm in TAUGHT]
    lines += [
        f"- auto and {_NAMES[arm]}: {counts(summary, f'auto_against_{arm}')}."
        for arm in (PLAIN, KERAS)
    ]
    done = sum(each["seeds"] for each in summary.values())
    return (
        "Whether the 95 % interval of the difference lies above or below zero, unadjusted for the "
        "number of cells:\n\n" + "\n".join(lines) + f"\n\n{done} cells and seeds, "
        f"{results['hours']:.1f} hours of one core. Teacher and control: accuracy in %. Other "
        "columns: gain over the control in points, with its paired 95 % interval over seeds "
        "(Student's t). `bench/study.json` also has those of seeds and examples drawn again."
        "\n\n"
        + tabulate(rows, headers, tablefmt="github", disable_numparse=True)
        + "\n\n![Gain over the control by cell](study.svg)"
        + ("\n\nWhat failed:\n\n" + "\n".join(failures) if failures else "")
    )


def _percent(share: float | None) -> str:
    return "failed" if share is None else f"{100 * share:.1f}"


def _gain(found: dict[str, Any], arm: str) -> str:
    gain = found["gains"].get(arm)
    if gain is None:
        return "failed" if any(f", {arm}: " in each for each in found["failures"]) else "-"
    middle, low, high = (f"{100 * gain[key]:+.1f}" for key in ("difference", "ci_low", "ci_high"))
    missing = found["seeds"] - gain["seeds"]
    return f"{middle} ({low} to {high})" + (f", {missing} failed" if missing else "")


def draw(summary: dict[str, dict[str, Any]], path: Path) -> None:
    """Gains over the control with their intervals: a panel for each number of labels."""
    names = list(dict.fromkeys(_row(cell) for cell in summary))
    figure = Figure(figsize=(9, 0.42 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(LABELS), sharey=True)
    for axes, labels in zip(panels, LABELS, strict=True):
        for place, arm in enumerate(TAUGHT):
            points = [
                (names.index(_row(cell)), found["gains"][arm])
                for cell, found in summary.items()
                if cell.split("/")[1] == labels and arm in found["gains"]
            ]
            heights = [at + 0.25 * (place - 1) for at, _ in points]
            middle, low, high = (
                np.array([100 * gain[key] for _, gain in points])
                for key in ("difference", "ci_low", "ci_high")
            )
            style = {"fmt": "o", "ms": 4, "capsize": 2, "lw": 1, "color": _COLORS[arm]}
            bars = [middle - low, high - middle]
            axes.errorbar(middle, heights, xerr=bars, label=_NAMES[arm], **style)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(_LABELS[labels])
        axes.set_xlabel("gain over the control, points of accuracy")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    handles, titles = panels[0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside upper center", ncols=len(TAUGHT))
    figure.savefig(path, metadata={"Date": None})


def _row(cell: str) -> str:
    name, _, size = cell.split("/")
    return f"{name}, {size}"
