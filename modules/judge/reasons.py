"""The sentences of the gate, for whoever has to sign the release."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from modules.judge.bounds import TOLERANCE, Bound, slice_name
from modules.judge.readings import MissingEvidenceError, Path, Reading, at, owner_of

_WORDS = {"ece": "ECE", "size_bytes": "size", "speedup": "speed-up"}
# Keys that hold others, and say nothing that these do not.
_CONTAINERS = frozenset({"latency", "latencies", "fresh", "speedups"})
_TIMED = frozenset({"latency", "latencies", "speedup", "speedups"})
_COUNTED = frozenset({"parameters", "queries", "threads", "batch_size", "canaries"})
_VERBS = {
    ("min", True): "reaches the required",
    ("min", False): "is below the required",
    ("max", True): "keeps the limit of",
    ("max", False): "exceeds the limit of",
}
_MANY = 100  # times as many examples are no advice any more


def judged(bound: Bound, reading: Reading, confidence: float | None) -> str:
    """What a limit makes of a number, and what that rests on.

    Args:
        bound: the limit.
        reading: the number.
        confidence: level of its interval, None if that is not known.
    """
    show = _Format.of(bound, reading)
    parts = [f"{owner_name(owner)} {show.part(value)}" for owner, value in reading.parts]
    basis = [", ".join(parts)] if parts else []
    if reading.interval is not None:
        level = "" if confidence is None else f"{100 * confidence:g}% "
        low, high = map(show.number, reading.interval)
        basis.append(f"{level}interval {low} to {high}")
    lead = _lead(bound, reading, show) + (f" ({'; '.join(basis)})" if basis else "")
    if bound.limit.slice:
        lead = f"on {slice_name(bound.limit.slice)}, {lead}"
    if bound.drop and reading.value <= TOLERANCE:
        sentence = f"{lead}, the limit is {show.number(bound.threshold)}"
    else:
        verb = _VERBS[bound.kind, bound.holds(reading.value)]
        sentence = f"{lead} {verb} {show.number(bound.threshold)}"
    doubtful = bound.verdict(reading.bounds) == "inconclusive"
    return sentence + (_doubt(bound, reading) if doubtful else "")


def missing(error: MissingEvidenceError, threshold: float) -> str:
    """That a limit cannot be judged, and what would be needed."""
    remedy = f" ({error.remedy})" if error.remedy else ""
    return (
        f"the evidence lacks {error.what}{_number_name(error.path)}{remedy}, "
        f"so the limit of {threshold:,.12g} cannot be confirmed"
    )


def first_release(threshold: float) -> str:
    """That there is no pushed student yet to compare this one with."""
    return (
        f"nothing has been pushed yet, so the limit of {threshold:,.12g} against the pushed "
        "student does not apply to this first release"
    )


def fresh_process(owner: Path, runtime: str, process: Any, *, passed: bool) -> str:
    """Whether a file answered as judged when a new process loaded it.

    Args:
        owner: the student, or a variant.
        runtime: that loaded it.
        process: what the report says of it.
        passed: whether it did.
    """
    problem = at(process, "problem") or "the evidence lacks the reason"
    lead = f"in a fresh process with {runtime}, {owner_name(owner)}"
    if passed:
        return f"{lead} answers all canary examples as it was judged"
    return f"{lead} does not answer as it was judged: {problem}"


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
    name = _WORDS.get(last) or last.removesuffix("_ms").removesuffix("_bytes").replace("_", " ")
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


def _lead(bound: Bound, reading: Reading, show: _Format) -> str:
    """What the number is, and the number."""
    limit, path = bound.limit, tuple(bound.limit.number.split("."))
    owner, value = owner_of(path), show.number(reading.value)
    words = _words(path[len(owner) :])
    if bound.drop:
        return (
            f"the {words} drop of {value}"
            if reading.value > TOLERANCE
            else (f"{words} does not drop at all")
        )
    if owner == ("comparison",):
        return f"the {words} of {value}"
    if limit.relative:
        return (
            f"{owner_name(owner)} {words} at {value} times the {owner_name(reading.parts[0][0])}'s"
        )
    if limit.against:
        return f"the change of {owner_name(owner)} {words} by {value}"
    if path[-1] == "size_bytes":
        return f"{owner_name(owner)} with {value}"
    return f"{owner_name(owner)} {words} {value}"


def _doubt(bound: Bound, reading: Reading) -> str:
    """Why a limit is neither kept nor broken for certain, and what would help."""
    above = reading.value >= bound.threshold
    doubt = f", but its interval reaches {'below' if above else 'above'} it; "
    if not bound.holds(reading.value):
        return doubt + "improve the student or loosen the limit"
    if _TIMED & set(bound.limit.number.split(".")):
        return doubt + "time it in more latency.processes or loosen the limit"
    edge = reading.bounds[0 if bound.kind == "min" else 1]
    distance = abs(reading.value - bound.threshold)
    times = (edge - reading.value) ** 2 / distance**2 if distance > TOLERANCE else math.inf
    # The pushed student was judged on its own examples, which will not become more.
    if reading.examples is None or times > _MANY or bound.limit.against == "pushed":
        return doubt + "judge it on far more eval examples or loosen the limit"
    # Intervals narrow with the root of the number of examples; two digits say enough.
    needed = reading.examples * times
    step = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return doubt + (
        f"at the same rates it takes about {math.ceil(needed / step) * step:,} eval examples "
        f"instead of {reading.examples:,} to decide, or a looser limit"
    )


@dataclass(frozen=True)
class _Format:
    """How a number is written, with enough digits to tell it from its limit.

    Attributes:
        digits: after the point.
        unit: of the number.
        sign: `+` for a change, which has one in any case.
        part_digits: of the numbers that it compares.
        part_unit: of these.
    """

    digits: int
    unit: str
    sign: str
    part_digits: int
    part_unit: str

    @classmethod
    def of(cls, bound: Bound, reading: Reading) -> _Format:
        digits, unit = _digits_and_unit(tuple(bound.limit.number.split(".")))
        sign = "+" if bound.limit.against and not bound.drop and not bound.limit.relative else ""
        own, own_unit = (3, "") if bound.limit.relative else (digits, unit)
        for places in range(own, 10):
            form = cls(places, own_unit, sign, digits, unit)
            near = {reading.value, *reading.bounds}
            told = [each for each in near if abs(each - bound.threshold) > TOLERANCE]
            if all(form.number(each) != form.number(bound.threshold) for each in told):
                return form
        return cls(own, own_unit, sign, digits, unit)

    def number(self, value: float) -> str:
        rounded = round(value, self.digits) + 0.0  # no -0
        return f"{rounded:{self.sign},.{self.digits}f}{self.unit}"

    def part(self, value: float) -> str:
        return f"{value:,.{self.part_digits}f}{self.part_unit}"


def _digits_and_unit(path: Path) -> tuple[int, str]:
    last = path[-1]
    if last.endswith("_bytes"):
        return 0, " bytes"
    if last.endswith("_ms"):
        return 3, " ms"
    if {"speedup", "speedups", "compression"} & set(path):
        return 2, "x"
    if last == "throughput":
        return 1, " examples/s"
    return (0, "") if last in _COUNTED else (4, "")
