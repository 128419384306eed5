"""Which TFLite variants ship, as `push.tflite` says: named ones, or the best of those that pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modules.judge.readings import at, finite

# What the chosen variant has least of: its name in a sentence, and its keys in the report.
_MEASURES = {"smallest": ("size", ("size_bytes",)), "fastest": ("latency", ("latency", "p50_ms"))}


@dataclass(frozen=True)
class Choice:
    """The variants that are to ship.

    Attributes:
        names: in the order of `push.tflite`.
        problem: why they cannot, whatever the limits on them say; None if they can.
        verdict: `inconclusive` if a variant might ship were its limits decided.
    """

    names: list[str]
    problem: str | None = None
    verdict: Literal["failed", "inconclusive"] = "failed"


def choose(evidence: Mapping[str, Any], doubts: Mapping[str, Mapping[str, str]]) -> Choice:
    """Chooses the variants to ship.

    Named ones are to ship whatever was found on them: then it counts. `smallest` and `fastest`
    choose among the variants without doubts, by `size_bytes` and by the median latency; the first
    in the report's order wins a tie.

    Args:
        evidence: a report, or what may be one.
        doubts: by variant, the verdict of each check that was not passed.
    """
    exported, push = exported_names(evidence), at(evidence, "push", "tflite")
    if isinstance(push, list | tuple) and names_of(push):
        named = names_of(push)
        absent = [name for name in named if name not in exported]
        problem = f"the evidence lacks TFLite {', '.join(absent)}, which is to be pushed"
        return Choice(named, problem if absent else None)
    if push not in ("smallest", "fastest"):
        return Choice([], "the evidence lacks the names of the TFLite variants to push")
    if not exported:
        return Choice([], "the evidence lacks any TFLite variant, so there is none to push")
    return _best(evidence, push, exported, doubts)


def exported_names(evidence: Mapping[str, Any]) -> list[str]:
    """The TFLite variants that the report says something of, in its order."""
    variants = at(evidence, "variants")
    return [name for name in names_of(variants) if isinstance(at(variants, name), Mapping)]


def names_of(part: Any) -> list[str]:
    """The keys of a mapping or the members of a list that are names."""
    is_collection = isinstance(part, Mapping | list | tuple)
    return [name for name in part if isinstance(name, str)] if is_collection else []


def _best(
    evidence: Mapping[str, Any],
    push: str,
    exported: Sequence[str],
    doubts: Mapping[str, Mapping[str, str]],
) -> Choice:
    measure, keys = _MEASURES[push]
    sound = [name for name in exported if not doubts.get(name)]
    measured = {name: finite(at(evidence, "variants", name, *keys)) for name in sound}
    values = {name: value for name, value in measured.items() if value is not None}
    if values:
        return Choice([min(values, key=values.__getitem__)])
    if sound:
        return Choice([], f"the evidence lacks the {measure} of TFLite {', '.join(sound)}")
    found = [
        f"{name} ({', '.join(f'{check} {verdict}' for check, verdict in doubts[name].items())})"
        for name in exported
    ]
    problem = f"no TFLite variant passes all of its checks: {', '.join(found)}"
    undecided = any("failed" not in doubts[name].values() for name in exported)
    return Choice([], problem, "inconclusive" if undecided else "failed")
