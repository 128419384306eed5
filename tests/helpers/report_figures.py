"""What a report says that does not depend on when, where and how fast a pipeline ran."""

from __future__ import annotations

from typing import Any


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """Accuracies and the verdict of a report.json."""
    gate = report["gate"]
    return {
        "accuracy": {role: report[role]["accuracy"] for role in ("teacher", "student", "control")},
        "files": {name: each["accuracy"] for name, each in report["variants"].items()},
        "confusion": report["confusion"],
        # Not the means, of which the last digit depends on the order of the sum.
        "data": {
            name: (split["examples"], split["classes"])
            for name, split in report["data"]["splits"].items()
        },
        "verdict": (gate["verdict"], gate["blessed"], gate["tflite"]),
        "checks": [(each["name"], each["variant"], each["verdict"]) for each in gate["checks"]],
    }
