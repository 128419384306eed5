"""The gate: decides from the evidence in a report whether a student may ship.

A limit refuses the student unless there is evidence that it is kept: a missing value, NaN, or a
file that was never measured counts against the student, never for it. A number with a confidence
interval has to keep the limit over the whole of it. Each verdict comes with a sentence for whoever
has to sign the release.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modules.judge import reasons
from modules.judge.bounds import Bound, bounds_of
from modules.judge.readings import MissingEvidenceError, Path, at, finite, read
from modules.judge.schema import Check, Evidence, GateResult, Report, Verdict
from modules.judge.shipping import choose, exported_names, names_of
from modules.settings import GateSettings

TEXT_WIDTH = 100  # columns of a terminal


def build_report(evidence: Evidence, limits: GateSettings) -> Report:
    """Has the gate judge the evidence as it will stand in the file, and joins the two."""
    parts = evidence.model_dump(mode="json")
    return Report.model_validate({**parts, "gate": judge(parts, limits)})


def judge(evidence: Mapping[str, Any], settings: GateSettings) -> GateResult:
    """Holds the evidence against every limit that is set, and chooses the variants to ship.

    Args:
        evidence: a report as in `modules.judge.schema.Evidence`, as plain data. Nothing in it is
            taken for granted: what is absent, None or not finite is missing evidence.
        settings: the limits; None is not checked.

    Returns:
        Checks in the order of `GateSettings`, one for each TFLite variant that a limit is for,
        then those of files in fresh processes. A limit judges every exported variant, but only
        the ones that are to ship count. `push.tflite` is a failing check that is there when no
        variant can ship. Without any limit that counts there is a failing check named `gate`: a
        student that nothing was asked of has not proved anything.
    """
    exported, named = exported_names(evidence), names_of(at(evidence, "push", "tflite"))
    bounds = list(bounds_of(settings, list(dict.fromkeys([*exported, *named]))))
    if not bounds:
        limits = ", ".join(GateSettings.model_fields)
        reason = f"no limit is set, so nothing is proved; set at least one of gate: {limits}"
        return GateResult(False, "failed", [Check("gate", None, None, False, reason, "failed")], [])
    checks = [*(_hold(evidence, bound) for bound in bounds), *_fresh_checks(evidence, exported)]
    choice = choose(evidence, _doubts(checks))
    checks = [
        replace(check, counts=check.variant is None or check.variant in choice.names)
        for check in checks
    ]
    if choice.problem is not None:
        checks.append(Check("push.tflite", None, None, False, choice.problem, choice.verdict))
    if not any(check.counts for check in checks):
        reason = f"no limit is on the student or on {', '.join(choice.names)}, which is to ship"
        checks.append(Check("gate", None, None, False, reason, "failed"))
    verdicts = {check.verdict for check in checks if check.counts}
    worst: Sequence[Verdict] = ("failed", "inconclusive", "passed")
    verdict = next(each for each in worst if each in verdicts)
    blessed = verdict == "passed"
    return GateResult(blessed, verdict, checks, choice.names if blessed else [])


def verdict_lines(result: GateResult) -> list[str]:
    """The verdict and each check's reason: Markdown that also reads well in a terminal.

    Of variants that are not to ship, only what has not passed is told, marked in parentheses.
    """
    lines = [_headline(result), ""]
    for check in result.checks:
        mark = check.verdict if check.passed else check.verdict.upper()
        text = f"- {mark} `{check.name}`: {check.reason}"
        if not check.counts:
            if check.passed:
                continue
            text = f"- ({check.verdict}) `{check.name}`: {check.reason}; it is not to ship"
        lines += textwrap.wrap(
            text,
            TEXT_WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _headline(result: GateResult) -> str:
    counting = [check.verdict for check in result.checks if check.counts]
    failed, undecided = counting.count("failed"), counting.count("inconclusive")
    of_all = f"of {len(counting)} checks"
    if result.verdict == "passed":
        return f"PASSED: {len(counting)} {of_all} hold"
    if result.verdict == "inconclusive":
        return f"INCONCLUSIVE: {undecided} {of_all} cannot be decided, nothing is pushed"
    more = f", {undecided} cannot be decided" if undecided else ""
    return f"REFUSED: {failed} {of_all} failed{more}, nothing is pushed"


def _hold(evidence: Mapping[str, Any], bound: Bound) -> Check:
    """One limit against the evidence."""
    threshold = bound.threshold
    if bound.limit.against == "pushed" and evidence.get("pushed", ...) is None:
        reason = reasons.first_release(threshold)
        return Check(bound.name, None, threshold, True, reason, "passed", variant=bound.variant)
    try:
        reading = read(evidence, bound)
    except MissingEvidenceError as error:
        reason = reasons.missing(error, threshold)
        return Check(bound.name, None, threshold, False, reason, "failed", variant=bound.variant)
    verdict = bound.verdict(reading.bounds)
    low, high = map(finite, reading.interval or (None, None))
    reason = reasons.judged(bound, reading, finite(evidence.get("confidence")))
    return Check(
        name=bound.name,
        value=reading.value,
        threshold=threshold,
        passed=verdict == "passed",
        reason=reason,
        verdict=verdict,
        low=low,
        high=high,
        variant=bound.variant,
    )


def _fresh_checks(evidence: Mapping[str, Any], exported: Sequence[str]) -> Iterator[Check]:
    """Whether the files answered as judged when another process loaded them."""
    owners: list[tuple[Path, str | None]] = [(("student",), None)]
    owners += [(("variants", name), name) for name in exported]
    for owner, variant in owners:
        processes = at(evidence, *owner, "fresh")
        for runtime in names_of(processes):
            process = at(processes, runtime)
            passed = at(process, "passed") is True
            name = f"fresh_process[{variant or runtime}]"
            reason = reasons.fresh_process(owner, runtime, process, passed=passed)
            difference = finite(at(process, "max_difference"))
            verdict: Verdict = "passed" if passed else "failed"
            yield Check(name, difference, None, passed, reason, verdict, variant=variant)


def _doubts(checks: Sequence[Check]) -> dict[str, dict[str, str]]:
    """By variant, the checks that were not passed with their verdicts."""
    doubts: dict[str, dict[str, str]] = {}
    for check in checks:
        if check.variant is not None and not check.passed:
            found = doubts.setdefault(check.variant, {})
            if found.get(check.name) != "failed":  # two limits on one number have one name
                found[check.name] = check.verdict
    return doubts
