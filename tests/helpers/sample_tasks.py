"""Reports of the other tasks: the sample report's costs, with the numbers of random answers.

What is measured of the answers comes from the product's own statistics, which have tests of their
own against scikit-learn; here it is about what is shown of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sample_report import sample_content
from scipy.special import expit

from modules.judge.evidence import Statistics
from modules.judge.gate import build_report
from modules.judge.schema import Evidence, Report
from modules.measure.registry import metrics_of
from modules.settings import GateSettings, Task

COUNT = 400
NAMES: dict[Task, list[str]] = {
    "binary": ["benign", "malignant"],
    "multilabel": ["rain", "wind", "snow", "fog & <ice>"],
    "regression": [],
}
NOISE = {"teacher": 0.35, "student": 0.6, "control": 0.8}
VARIANT_NOISE = {"float32": 0.0, "float16": 0.01, "dynamic_range": 0.1, "int8": 0.6}
GATES: dict[Task, dict[str, Any]] = {
    "binary": {"min_roc_auc": 0.8, "max_roc_auc_drop": 0.05, "max_accuracy_drop": 0.1},
    "multilabel": {"min_roc_auc": 0.7, "max_tflite_accuracy_drop": 0.03},
    "regression": {"max_rmse": 70, "max_rmse_increase": 0.4, "max_tflite_rmse_increase": 0.1},
}
COSTS = ("parameters", "size_bytes", "latency", "latencies", "fresh")


def _answers(task: Task) -> dict[str, Any]:
    """By model; labels follow from what all models know, more or less well."""
    random = np.random.default_rng(3)
    known = random.normal(scale=1.6, size=(COUNT, {"multilabel": 4, "binary": 2}.get(task, 1)))
    kind = metrics_of(task, 0.95, 0).answers
    if task == "binary":
        labels = (known + random.gumbel(size=known.shape)).argmax(axis=1)
    elif task == "multilabel":
        known = known - np.array([0, 0, 2, 1.5])
        labels = random.random(known.shape) < expit(known)
    else:
        known = np.exp(6 + 0.5 * known)
        labels = (known + 40 * random.normal(size=known.shape))[:, 0]
    unit = 60.0 if task == "regression" else 1.0
    outputs = {
        role: known + unit * noise * random.normal(size=known.shape)
        for role, noise in NOISE.items()
    }
    for name, noise in VARIANT_NOISE.items():
        outputs[name] = outputs["student"] + unit * noise * random.normal(size=known.shape)
    return {name: kind.from_outputs(labels, each) for name, each in outputs.items()}


def _slices(statistics: Statistics, answers: dict[str, Any]) -> list[dict[str, Any]]:
    both = {role: answers[role] for role in ("teacher", "student")}
    found = []
    for at, site in enumerate(("north", "east", "south")):
        chosen = {role: each.select(np.arange(at, COUNT, 3)) for role, each in both.items()}
        part = statistics.describe_slice({"site": site}, {role: {} for role in both}, chosen)
        found.append(part.model_dump())
    return found


@lru_cache
def task_report(task: Task) -> Report:
    """The report of a passed student."""
    statistics, answers = Statistics(metrics_of(task, 0.95, seed=0)), _answers(task)
    content = sample_content()
    models = {role: content[role] for role in NOISE} | content["variants"]
    for name, entry in models.items():
        references = {role: answers[role] for role in NOISE if role != name}
        costs = {key: entry[key] for key in COSTS}
        described = statistics.describe(answers[name], references, **costs).model_dump()
        entry |= {key: described[key] for key in described if key not in COSTS}
    del content["gate"]
    checked = Evidence.model_validate(
        content
        | {"task": task, "slices": [], "per_class": [], "confusion": {}, "disagreements": []}
    )
    both = {role: answers[role] for role in ("teacher", "student")}
    comparison = statistics.compare(
        {role: getattr(checked, role) for role in NOISE},
        answers,
        content["comparison"]["speedups"],
        content["comparison"]["aa_control"],
    )
    ids = [f"{at:032x}" for at in range(COUNT)]
    differing = statistics.disagreements(ids, both["teacher"], both["student"], 6)
    parts = content | {
        "task": task,
        "labels": NAMES[task],
        "examples": {"eval": COUNT},
        "comparison": comparison.model_dump(),
        "per_class": [
            each.model_dump()
            for each in statistics.per_class(NAMES[task], both["teacher"], both["student"])
        ],
        "slices": _slices(statistics, answers),
        "confusion": {
            role: [cell.model_dump() for cell in cells]
            for role, cells in statistics.confusion(both).items()
        },
        "reliability": {
            name: [each.model_dump() for each in bins]
            for name, bins in statistics.reliability(answers).items()
        },
        "answer_curves": {
            role: each.model_dump() for role, each in statistics.curves(both).items()
        },
        "disagreements": [
            each.model_dump() | {"text": "age 61, site north, <b>note</b> a long text & more"}
            for each in differing
        ],
        "config": content["config"] | {"data": {"source": "csv", "path": "data/scans.csv"}},
    }
    return build_report(Evidence.model_validate(parts), GateSettings(**GATES[task]))
