"""The content of a report.json, as small as the schema allows, for tests to change."""

from __future__ import annotations

import copy
from typing import Any

CERTAIN = {"accuracy": 1.0, "f1": 1.0, "roc_auc": None, "pr_auc": None}


def latency(p50: float, **changes: Any) -> dict[str, Any]:
    return {
        "p50_ms": p50,
        "p90_ms": p50,
        "p99_ms": p50,
        "throughput": 1000 / p50,
        "runtime": "litert",
        "threads": 1,
        "queries": 100,
        "distribution_ms": [p50] * 101,
        "intervals": {"p50_ms": [p50 * 0.9, p50 * 1.1]},
    } | changes


def entry(accuracy: float, parameters: int, size: int, p50: float) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "loss": 0.1,
        "ece": 0.02,
        "parameters": parameters,
        "size_bytes": size,
        "intervals": {"accuracy": [accuracy - 0.015, accuracy + 0.01]},
        "latency": latency(p50),
    }


def variant(name: str, accuracy: float, size: int, p50: float) -> dict[str, Any]:
    file = {"file": f"student/{name}/model.tflite", "sha256": "0" * 64, "compression": 80.0}
    return entry(accuracy, 3_000, size, p50) | file | {"speedup": speedup(48.0, 47.0, 49.0)}


def speedup(median: float, low: float, high: float) -> dict[str, Any]:
    ends = {"ci_low": low, "ci_high": high}
    return ends | {"median": median, "confidence": 0.95, "runtime": "litert"}


def fresh(runtime: str, **changes: Any) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "load_ms": 3.0,
        "peak_memory_bytes": 2_000_000,
        "runtime_memory_bytes": 1_000_000,
        "canaries": 16,
        "max_difference": 1e-7,
        "passed": True,
        "problem": None,
    } | changes


def evidence_content() -> dict[str, Any]:
    """A report.json with every key that has no default, but without a verdict."""
    return {
        "schema_version": 3,
        "task": "classification",
        "name": "digits",
        "created": "2026-11-23T09:30:00+01:00",
        "confidence": 0.95,
        "labels": ["no", "yes"],
        "examples": {"eval": 345},
        "teacher": entry(0.98, 170_000, 900_000, 24.0),
        "student": entry(0.96, 3_000, 20_000, 1.0),
        "control": entry(0.95, 3_000, 20_000, 1.0),
        "variants": {"int8": variant("int8", 0.955, 8_000, 0.5)},
        "per_class": [
            {"label": name, "count": count} | dict.fromkeys(("teacher", "student"), CERTAIN)
            for name, count in (("no", 145), ("yes", 200))
        ],
        "comparison": {
            "accuracy_change": -0.02,
            "agreement": 0.97,
            "distillation_gain": 0.01,
            "speedup": speedup(24.0, 23.5, 24.5),
            "compression": 45.0,
            "intervals": {
                "accuracy_change": [-0.04, 0.001],
                "distillation_gain": [-0.005, 0.02],
                "agreement": [0.95, 0.98],
            },
        },
        "push": {"tflite": "smallest"},
        "environment": {
            "versions": {},
            "platform": "Linux",
            "cpu": "a CPU",
            "cpu_count": 2,
            "accelerators": [],
        },
        "config": {
            "name": "digits",
            "data": {"source": "digits", "split_seed": 0, "image_size": 8},
            "distill": {"alpha": 0.5, "methods": [{"name": "soft_target", "weight": None}]},
            "student": {"parameters": {"filters": [8, 16]}},
            "search": None,
        },
    }


def content() -> dict[str, Any]:
    """A report.json with every key that has no default."""
    gate = {"blessed": True, "verdict": "passed", "checks": [], "tflite": ["int8"]}
    return evidence_content() | {"gate": gate}


def changed(**changes: Any) -> dict[str, Any]:
    """`content` with other values at dotted places, `__` for the dot."""
    parts = copy.deepcopy(content())
    for place, value in changes.items():
        *sections, key = place.split("__")
        section = parts
        for name in sections:
            section = section[name]
        section[key] = value
    return parts
