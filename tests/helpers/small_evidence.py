"""Evidence for the gate with round numbers, for tests to change and to judge."""

from __future__ import annotations

import copy
from typing import Any

from small_report import evidence_content, latency, speedup, variant

from modules.judge.gate import judge
from modules.judge.schema import Check, Evidence, GateResult
from modules.settings import GateSettings


def _change(value: float, low: float, high: float) -> dict[str, Any]:
    return {"accuracy": {"value": value, "low": low, "high": high}}


def _content() -> dict[str, Any]:
    parts = evidence_content() | {"control": None, "examples": {"eval": 400}}
    parts["teacher"] |= {
        "accuracy": 0.98,
        "loss": 0.08,
        "ece": 0.02,
        "intervals": {"accuracy": [0.961, 0.99], "loss": [0.05, 0.12]},
        "latency": latency(6.0, p99_ms=12.0, intervals={"p99_ms": [11.5, 12.6]}),
    }
    parts["student"] |= {
        "accuracy": 0.97,
        "loss": 0.1,
        "ece": 0.03,
        "top_k": {"3": 0.99},
        "intervals": {"accuracy": [0.948, 0.983], "loss": [0.07, 0.14], "top_k.3": [0.974, 0.996]},
        "against": {"teacher": _change(-0.01, -0.019, -0.002)},
        "latency": latency(2.0, p99_ms=3.0, intervals={"p99_ms": [2.9, 3.2]}),
    }
    float32, int8 = variant("float32", 0.97, 300_000, 2.0), variant("int8", 0.965, 90_000, 2.5)
    float32["against"] = {"student": _change(0.0, -0.006, 0.006)}
    float32["speedup"], int8["speedup"] = speedup(4.0, 3.9, 4.1), speedup(3.6, 3.4, 3.8)
    float32["latency"]["p99_ms"], int8["latency"]["p99_ms"] = 3.0, 3.5
    int8["against"] = {"student": _change(-0.005, -0.014, 0.004)}
    parts["variants"] = {"float32": float32, "int8": int8}
    parts["comparison"] |= {
        "speedup": speedup(4.0, 3.9, 4.1),
        "agreement": 0.975,
        "intervals": {"agreement": [0.955, 0.986]},
    }
    student = {"accuracy": 0.9, "loss": 0.3, "top_k": {"3": 0.975}}
    student["intervals"] = {"accuracy": [0.77, 0.96], "top_k.3": [0.87, 0.996]}
    threes = {"slice": {"class_name": "3"}, "count": 40, "student": student}
    threes["teacher"] = {"accuracy": 0.95, "loss": 0.2}
    student["against"] = {"teacher": _change(-0.05, -0.16, 0.04)}
    return parts | {"slices": [threes], "push": {"tflite": ["int8"]}}


def changed_content(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The evidence as plain data with other values at `/`-separated keys; `...` removes one."""
    parts = copy.deepcopy(_content())
    for path, value in changes:
        *outer, last = path.split("/")
        place = parts
        for key in outer:
            place = place.setdefault(key, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return parts


def evidence(*changes: tuple[str, Any]) -> Evidence:
    return Evidence.model_validate(changed_content(*changes))


EVIDENCE = evidence()


def judged(found: Evidence = EVIDENCE, *limits: dict, **keys: Any) -> GateResult:
    return judge(found, GateSettings.model_validate({"limits": limits, **keys}))


def only_check(found: Evidence = EVIDENCE, *limits: dict, **keys: Any) -> Check:
    result = judged(found, *limits, **keys)
    (check,) = [check for check in result.checks if check.name != "push.tflite"]
    return check


def verdicts(result: GateResult) -> dict[str, str]:
    return {check.name: check.verdict for check in result.checks}
