"""The sentences of the gate, for whoever has to sign the release."""

from __future__ import annotations

import math
from dataclasses import replace

from modules.judge.estimates import Estimate, MissingEvidenceError, Path, owner_of
from modules.judge.formats import Fixed, slice_name, text
from modules.judge.requirements import TOLERANCE, Requirement
from modules.judge.sample_size import examples_needed
from modules.judge.schema import FreshProcess

# Names of numbers for people, where the key will not do.
WORDS = {
    "ece": "ECE",
    "size_bytes": "size",
    "speedup": "speed-up",
    "load_ms": "load time",
    "agreement_teacher_right": "agreement where the teacher is right",
    "agreement_teacher_wrong": "agreement where the teacher is wrong",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "macro_f1": "macro F1",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
}
# Keys that hold others, and say nothing that these do not.
_CONTAINERS = frozenset({"latency", "latencies", "fresh", "speedups"})
_TIMED = frozenset({"latency", "latencies", "speedup", "speedups"})
_COUNTED = frozenset({"parameters", "queries", "threads", "batch_size", "canaries"})
_VERBS = {
    ("min", True): "reaches the required",
    ("min", False): "is below the required",
    ("max", True): "is within the limit of",
    ("max", False): "exceeds the limit of",
}
_MANY = 100  # times as many examples are no advice any more


def judged(requirement: Requirement, found: Estimate, confidence: float) -> str:
    """What a requirement makes of a number, and what that rests on.

    Args:
      requirement: one end of a limit.
      found: the number.
      confidence: level of its interval.
    """
    form, part_form = _forms(requirement, found)
    parts = [f"{owner_name(owner)} {text(value, part_form)}" for owner, value in found.parts]
    basis = [", ".join(parts)] if parts else []
    if found.interval is not None:
        low, high = (text(end, form) for end in found.interval)
        basis.append(f"{100 * confidence:g}% interval {low} to {high}")
    lead = _lead(requirement, found, text(found.value, form))
    if basis:
        lead += f" ({'; '.join(basis)})"
    if requirement.limit.slice:
        lead = f"on {slice_name(requirement.limit.slice)}, {lead}"
    threshold = text(requirement.threshold, form)
    if requirement.turned != "no" and found.value <= TOLERANCE:
        sentence = f"{lead}; the limit is {threshold}"
    else:
        verb = _VERBS[requirement.kind, requirement.holds(found.value)]
        sentence = f"{lead} {verb} {threshold}"
    doubtful = requirement.verdict(found.bounds) == "inconclusive"
    return sentence + (_doubt(requirement, found, confidence) if doubtful else "")


def missing(error: MissingEvidenceError, threshold: float) -> str:
    """That a limit cannot be judged, and what would be needed."""
    remedy = f" ({error.remedy})" if error.remedy else ""
    return (
        f"the evidence lacks {error.what}{_number_name(error.path)}{remedy}, "
        f"so the limit of {threshold:,.12g} cannot be checked"
    )


def first_release(threshold: float) -> str:
    """That there is no pushed student yet to compare this one with."""
    return (
        f"nothing has been pushed yet, so the limit of {threshold:,.12g} against the pushed "
        "student does not apply to this first release"
    )


def fresh_process(owner: Path, runtime: str, process: FreshProcess) -> str:
    """Whether a file answered as judged when a new process loaded it.

    Args:
      owner: the student, or a variant.
      runtime: that loaded it.
      process: what was seen.
    """
    lead = f"in a fresh process with {runtime}, {owner_name(owner)}"
    if process.passed:
        return f"{lead} repeats its judged answers to all canary examples"
    problem = process.problem or "the reason was not recorded"
    return f"{lead} does not repeat its judged answers: {problem}"


def owner_name(owner: Path) -> str:
    """The model that a number belongs to: `student`, `TFLite int8`, `pushed student`."""
    return " ".join("TFLite" if key == "variants" else key for key in owner)


def _words(below: Path) -> str:
    """A number's name, with what tells it from others of the name: `p99 latency`."""
    *outer, last = below
    if outer[-1:] == ["top_k"]:
        return f"top-{last} accuracy"
    if "speedups" in outer:
        outer, last = [*outer, last], "speedup"
    told = [key for key in outer if key not in _CONTAINERS]
    name = WORDS.get(last) or last.removesuffix("_ms").removesuffix("_bytes").replace("_", " ")
    if last in ("p50_ms", "p90_ms", "p99_ms"):
        name += " latency"
    return name + (f" ({', '.join(told)})" if told else "")


def _number_name(path: Path) -> str:
    """A number as the object of a sentence; nothing for no number."""
    if not path:
        return ""
    if "*" in path:
        return "any TFLite variant"
    owner = owner_of(path)
    if owner == path:
        return f"the number {'.'.join(path)}"
    name = f"the {_words(path[len(owner) :])}"
    if owner == ("comparison",):
        return name
    article = "" if owner[0] == "variants" else "the "
    return f"{name} of {article}{owner_name(owner)}"


def _lead(requirement: Requirement, found: Estimate, value: str) -> str:
    """What the number is, and the number."""
    limit, path = requirement.limit, requirement.path
    owner = owner_of(path)
    name, words = owner_name(owner), _words(path[len(owner) :])
    if requirement.turned != "no":
        turned = found.value > TOLERANCE
        return (
            f"the {words} {requirement.turned} of {value}"
            if turned
            else f"{words} does not {requirement.turned}"
        )
    if owner == ("comparison",):
        return f"the {words} of {value}"
    if limit.relative:
        return f"{name} {words} at {value} times the {owner_name(found.parts[0][0])}'s"
    if limit.against:
        return f"the change in {name} {words} of {value}"
    if path[-1] == "size_bytes":
        return f"{name} at {value}"
    return f"{name} {words} {value}"


def _doubt(requirement: Requirement, found: Estimate, confidence: float) -> str:
    """Why a limit is neither kept nor broken for certain, and what would help."""
    above = found.value >= requirement.threshold
    doubt = f", but its interval extends {'below' if above else 'above'} it; "
    if not requirement.holds(found.value):
        return doubt + "improve the student or loosen the limit"
    if _TIMED & set(requirement.path):
        return doubt + "raise latency.processes or loosen the limit"
    needed = examples_needed(requirement, found, confidence, _MANY * found.examples)
    # The pushed student was judged on its own examples, which will not become more.
    if needed is None or requirement.limit.against == "pushed":
        return doubt + "judge it on many more eval examples or loosen the limit"
    # Two digits say enough.
    step = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    rounded = math.ceil(needed / step) * step
    return doubt + (
        f"add eval examples (about {rounded:,} instead of {found.examples:,}, at the same rates) "
        "or loosen the limit"
    )


def _forms(requirement: Requirement, found: Estimate) -> tuple[Fixed, Fixed]:
    """How a number and its parts are written: the number so that it differs from its limit."""
    limit, part_form = requirement.limit, _form(requirement.path)
    if limit.relative:
        first = Fixed(3)
    else:
        is_change = limit.against is not None and requirement.turned == "no"
        first = replace(part_form, sign="+" if is_change else "")
    threshold = requirement.threshold
    near = {found.value, *found.bounds}
    told = [each for each in near if abs(each - threshold) > TOLERANCE]
    for places in range(first.places, 10):
        form = replace(first, places=places)
        if all(text(each, form) != text(threshold, form) for each in told):
            return form, part_form
    return first, part_form


def _form(path: Path) -> Fixed:
    last = path[-1]
    if last.endswith("_bytes"):
        return Fixed(0, " bytes")
    if last.endswith("_ms"):
        return Fixed(3, " ms")
    if {"speedup", "speedups", "compression"} & set(path):
        return Fixed(2, "x")
    if last == "throughput":
        return Fixed(1, " examples/s")
    return Fixed(0 if last in _COUNTED else 4)
