"""The gate: decides from the evidence in a report whether a student may ship.

A limit refuses the student unless there is evidence that it is kept: a missing value, NaN, or a
file that was never measured counts against the student, never for it. Each verdict comes with a
sentence for whoever has to sign the release.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, with_config

from modules.settings import GateSettings

# 0.98 - 0.97 is 0.010000000000000009 in floating point and must still keep a limit of 0.01. No
# accuracy on fewer than a thousand million examples differs from another by as little as this.
TOLERANCE = 1e-9
TEXT_WIDTH = 100  # columns of a terminal

Verdict = Literal["passed", "failed", "inconclusive"]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Check:
    """One limit, held against the evidence.

    Attributes:
        name: key of `GateSettings`, or the number of one of its `limits`; with the TFLite variant
            or the slice in brackets where there is one.
        value: what the evidence says, None where it says nothing.
        threshold: the limit, None if none was set.
        passed: whether the limit is kept for certain.
        reason: a sentence with both numbers, or one that says what is missing.
        verdict: `inconclusive` where the limit lies within the value's interval.
        low: lower bound of the value, None where it is exact or missing.
        high: upper bound.
        variant: the TFLite variant that alone is judged here, or None: the student as a whole.
    """

    name: str
    value: int | float | None
    threshold: int | float | None
    passed: bool
    reason: str
    verdict: Verdict
    low: float | None = None
    high: float | None = None
    variant: str | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class GateResult:
    """The verdict.

    Attributes:
        blessed: whether the student may ship: there are checks, none of the student's own was
            anything but passed, and there is a variant to ship.
        verdict: `failed` if a check that counts failed, else `inconclusive` if one was, else
            `passed`.
        checks: all of them. A variant that is not to ship counts neither for nor against.
        tflite: the variants that ship, chosen by `push.tflite`; empty if not blessed.
    """

    blessed: bool
    verdict: Verdict
    checks: list[Check]
    tflite: list[str]


def judge(evidence: Mapping[str, Any], settings: GateSettings) -> GateResult:
    """Holds the evidence against every limit that is set.

    Args:
        evidence: a report as in `modules.report`, without its `gate`. Nothing in it is taken
            for granted: what is absent, None or not finite is missing evidence.
        settings: the limits; None is not checked.

    Returns:
        Checks in the order of `GateSettings`, several for a limit that holds for several TFLite
        files. Without any limit, one failing check named `gate`: a student that nothing was
        asked of has not proved anything.
    """
    checks = [
        *_min_accuracy(evidence, settings.min_accuracy),
        *_max_accuracy_drop(evidence, settings.max_accuracy_drop),
        *_max_tflite_accuracy_drop(evidence, settings.max_tflite_accuracy_drop),
        *_min_speedup(evidence, settings.min_speedup),
        *_max_size_bytes(evidence, settings.max_size_bytes),
    ]
    if not checks:
        limits = ", ".join(GateSettings.model_fields)
        reason = f"no limit is set, so nothing is proved; set at least one of gate: {limits}"
        checks = [Check("gate", None, None, False, reason)]
    return GateResult(all(check.passed for check in checks), checks)


def verdict_lines(result: GateResult) -> list[str]:
    """The verdict and each check's reason: Markdown that also reads well in a terminal."""
    count, failed = len(result.checks), sum(not check.passed for check in result.checks)
    passed = f"PASSED: {count} of {count} checks hold"
    refused = f"REFUSED: {failed} of {count} checks failed, nothing is pushed"
    lines = [passed if result.blessed else refused, ""]
    for check in result.checks:
        mark = "passed" if check.passed else "FAILED"
        lines += textwrap.wrap(
            f"- {mark} `{check.name}`: {check.reason}",
            TEXT_WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _min_accuracy(evidence: Mapping[str, Any], limit: float | None) -> Iterator[Check]:
    if limit is None:
        return
    value = _number(evidence, "student", "accuracy")
    if value is None:
        yield _missing("min_accuracy", limit, "the student's accuracy")
        return
    passed = value >= limit - TOLERANCE
    ours, theirs = _distinct(value, limit)
    verb = "reaches" if passed else "is below"
    reason = f"student accuracy {ours} {verb} the required {theirs}"
    yield Check("min_accuracy", value, limit, passed, reason)


def _max_accuracy_drop(evidence: Mapping[str, Any], limit: float | None) -> Iterator[Check]:
    if limit is None:
        return
    before = _number(evidence, "teacher", "accuracy")
    after = _number(evidence, "student", "accuracy")
    yield _drop("max_accuracy_drop", limit, ("teacher", before), ("student", after))


def _max_tflite_accuracy_drop(evidence: Mapping[str, Any], limit: float | None) -> Iterator[Check]:
    """One check per exported file, and one per file that would ship without being exported."""
    if limit is None:
        return
    before = _number(evidence, "student", "accuracy")
    exported, pushed = _exported(evidence), _pushed(evidence)
    names = [*exported, *(name for name in pushed if name not in exported)]
    if not names:
        yield _missing("max_tflite_accuracy_drop", limit, "any TFLite variant")
    for name in names:
        after = _number(evidence, "variants", name, "accuracy")
        check = f"max_tflite_accuracy_drop[{name}]"
        yield _drop(check, limit, ("student", before), (f"TFLite {name}", after))


def _min_speedup(evidence: Mapping[str, Any], limit: float | None) -> Iterator[Check]:
    """The lower confidence bound has to reach the limit: a lucky measurement is none."""
    if limit is None:
        return
    value = _number(evidence, "comparison", "speedup", "ci_low")
    if value is None:
        yield _missing("min_speedup", limit, "the lower confidence bound of the speed-up")
        return
    passed = value >= limit - TOLERANCE
    ours, theirs = _distinct(value, limit, digits=2)
    verb = "reaches" if passed else "is below"
    reason = f"the lower bound of the speed-up, {ours}x, {verb} the required {theirs}x"
    median = _number(evidence, "comparison", "speedup", "median")
    if not passed and median is not None and median >= limit:
        reason += f"; the median of {median:.2f}x does not count, it is not certain enough"
    yield Check("min_speedup", value, limit, passed, reason)


def _max_size_bytes(evidence: Mapping[str, Any], limit: int | None) -> Iterator[Check]:
    """One check per file that would ship; the others may be of any size."""
    if limit is None:
        return
    pushed = _pushed(evidence)
    if not pushed:
        yield _missing("max_size_bytes", limit, "the name of the TFLite variant to push")
    for name in pushed:
        check = f"max_size_bytes[{name}]"
        value = _number(evidence, "variants", name, "size_bytes")
        if value is None:
            yield _missing(check, limit, f"the size of TFLite {name}, which is to be pushed")
            continue
        passed = value <= limit
        verb = "keeps" if passed else "exceeds"
        reason = f"TFLite {name} with {value:,.0f} bytes {verb} the limit of {limit:,} bytes"
        yield Check(check, value, limit, passed, reason)


def _drop(
    name: str, limit: float, before: tuple[str, float | None], after: tuple[str, float | None]
) -> Check:
    """A check of `before - after <= limit`; both are a model's name and accuracy."""
    (before_name, before_value), (after_name, after_value) = before, after
    if before_value is None:
        return _missing(name, limit, f"the accuracy of the {before_name}")
    if after_value is None:
        return _missing(name, limit, f"the accuracy of the {after_name}")
    drop = before_value - after_value
    passed = drop <= limit + TOLERANCE
    change, allowed = _distinct(abs(drop), limit)
    accuracies = f"{before_name} {before_value:.4f}, {after_name} {after_value:.4f}"
    if drop > TOLERANCE:
        verb = "keeps" if passed else "exceeds"
        reason = f"the accuracy drop of {change} ({accuracies}) {verb} the limit of {allowed}"
    else:
        reason = f"accuracy does not drop at all ({accuracies}), the limit is {limit:.4f}"
    return Check(name, drop, limit, passed, reason)


def _missing(name: str, limit: float, what: str) -> Check:
    reason = f"the evidence lacks {what}, so the limit of {limit:,} cannot be confirmed"
    return Check(name, None, limit, False, reason)


def _number(evidence: Mapping[str, Any], *path: str) -> float | None:
    """The finite number at a path of keys, or None."""
    value: Any = evidence
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _exported(evidence: Mapping[str, Any]) -> list[str]:
    variants = evidence.get("variants")
    return list(variants) if isinstance(variants, Mapping) else []


def _pushed(evidence: Mapping[str, Any]) -> list[str]:
    push = evidence.get("push")
    names = push.get("tflite") if isinstance(push, Mapping) else None
    return list(names) if isinstance(names, list | tuple) else []


def _distinct(value: float, limit: float, digits: int = 4) -> tuple[str, str]:
    """Both numbers rounded alike, with as many digits as it takes to tell them apart."""
    for places in range(digits, 10):
        texts = f"{value:.{places}f}", f"{limit:.{places}f}"
        if texts[0] != texts[1]:
            return texts
    return f"{value:.{digits}f}", f"{limit:.{digits}f}"
