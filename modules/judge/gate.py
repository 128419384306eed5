"""The gate: decides from the evidence in a report whether a student may ship, and as what.

A limit refuses the student unless there is evidence that it is kept: a missing value or a file
that was never measured counts against the student, never for it. A number with a confidence
interval has to keep the limit over the whole of it. Each verdict comes with a sentence for whoever
has to sign the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modules.judge import explanations
from modules.judge.estimates import MissingEvidenceError, Path, estimate
from modules.judge.remarks import gain_bounds, gain_sentence, remarks
from modules.judge.requirements import Requirement, requirements
from modules.judge.schema import Check, Entry, Evidence, GateResult, Report, Verdict
from modules.settings import GateSettings

# Checks that were not passed with their verdicts, by variant.
Doubts = Mapping[str, Mapping[str, Verdict]]


@dataclass(frozen=True)
class Choice:
    """The TFLite variants that are to ship.

    Attributes:
      names: in the order of `push.tflite`.
      problem: why they cannot, whatever the limits on them say; None if they can.
      verdict: `inconclusive` if a variant might ship were its limits decided.
    """

    names: list[str]
    problem: str | None = None
    verdict: Verdict = "failed"


def build_report(evidence: Evidence, limits: GateSettings) -> Report:
    """Has the gate judge the evidence, and joins the two."""
    return Report(**dict(evidence), gate=judge(evidence, limits))


def judge(evidence: Evidence, settings: GateSettings) -> GateResult:
    """Holds the evidence against every limit that is set, and chooses the variants to ship.

    Args:
      evidence: what was measured. What is null in it is missing evidence.
      settings: the limits; None is not checked.

    Returns:
      Checks in the order of `GateSettings`, one for each TFLite variant that a limit is for,
      then those of files in fresh processes. A limit judges every exported variant, but only
      the ones that are to ship count. `push.tflite` is a failing check that is there when no
      variant can ship, `below_control` one that is there when the student is worse than its
      control for certain and may not be. Without any limit that counts there is a failing check
      named `gate`: a student that nothing was asked of has not proved anything.
    """
    push = evidence.push.tflite
    named = [] if isinstance(push, str) else push
    required = list(requirements(settings, list(dict.fromkeys([*evidence.variants, *named]))))
    if not required:
        limits = ", ".join(GateSettings.limit_names())
        reason = f"no limit is set, so nothing is proved; set at least one of gate: {limits}"
        return _result(evidence, [_refusal("gate", reason)], [])
    checks = [*(_check(evidence, each) for each in required), *_fresh_checks(evidence)]
    choice = choose(evidence, _doubts(checks))
    checks = [
        check.model_copy(update={"counts": check.variant in (None, *choice.names)})
        for check in checks
    ]
    if choice.problem is not None:
        checks.append(_refusal("push.tflite", choice.problem, choice.verdict))
    if not any(check.counts for check in checks):
        reason = f"no limit covers the student or {', '.join(choice.names)}, which would ship"
        checks.append(_refusal("gate", reason))
    if not settings.allow_below_control:
        checks += _below_control(evidence)
    return _result(evidence, checks, choice.names)


def _result(evidence: Evidence, checks: list[Check], chosen: list[str]) -> GateResult:
    """The worst verdict of those that count."""
    verdicts = {check.verdict for check in checks if check.counts}
    worst: Sequence[Verdict] = ("failed", "inconclusive", "passed")
    verdict = next(each for each in worst if each in verdicts)
    blessed = verdict == "passed"
    return GateResult(
        blessed=blessed,
        verdict=verdict,
        checks=checks,
        tflite=chosen if blessed else [],
        remarks=remarks(evidence),
        weak_teacher=evidence.comparison.weak_teacher,
    )


def choose(evidence: Evidence, doubts: Doubts) -> Choice:
    """Chooses the TFLite variants to ship.

    Named ones are to ship whatever was found on them: then it counts. `smallest` and `fastest`
    choose among the variants without doubts, by `size_bytes` and by the median latency; the first
    in the report's order wins a tie.

    Args:
      evidence: what was measured.
      doubts: by variant, the verdict of each check that was not passed.
    """
    exported, push = evidence.variants, evidence.push.tflite
    if not isinstance(push, str):
        absent = ", ".join(name for name in push if name not in exported)
        problem = f"the evidence lacks TFLite {absent}, which push.tflite names"
        return Choice(push, problem if absent else None)
    if not exported:
        return Choice([], "the evidence lacks any TFLite variant, so there is none to push")
    sound = [name for name in exported if name not in doubts]
    measured = {name: _measure(exported[name], push) for name in sound}
    values = {name: value for name, value in measured.items() if value is not None}
    if values:
        return Choice([min(values, key=values.__getitem__)])
    if sound:
        return Choice([], f"the evidence lacks the latency of TFLite {', '.join(sound)}")
    found = [
        f"{name} ({', '.join(f'{check} {verdict}' for check, verdict in doubts[name].items())})"
        for name in exported
    ]
    undecided = any("failed" not in doubts[name].values() for name in exported)
    problem = f"no TFLite variant passes all of its checks: {', '.join(found)}"
    return Choice([], problem, "inconclusive" if undecided else "failed")


def _measure(entry: Entry, push: str) -> float | None:
    """What the chosen variant has least of."""
    if push == "smallest":
        return entry.size_bytes
    return entry.latency.p50_ms if entry.latency else None


def _refusal(name: str, reason: str, verdict: Verdict = "failed") -> Check:
    return Check(
        name=name, value=None, threshold=None, passed=False, reason=reason, verdict=verdict
    )


def _below_control(evidence: Evidence) -> Iterator[Check]:
    """A failing check if the student is worse than its control for certain."""
    bounds = gain_bounds(evidence)
    if bounds is not None and bounds[1] < 0:
        reason = (
            f"{gain_sentence(evidence)}; improve the teacher or the distillation, or set "
            "gate.allow_below_control: true"
        )
        value = evidence.comparison.distillation_gain
        found = _refusal("below_control", reason)
        yield found.model_copy(update={"value": value, "low": bounds[0], "high": bounds[1]})


def _check(evidence: Evidence, required: Requirement) -> Check:
    """One requirement against the evidence."""
    value: float | None = None
    ends: tuple[float | None, ...] = (None, None)
    verdict: Verdict
    if required.limit.against == "pushed" and evidence.pushed is None:
        verdict, reason = "passed", explanations.first_release(required.threshold)
    else:
        try:
            found = estimate(evidence, required)
        except MissingEvidenceError as error:
            # What cannot be measured is no fault of the student's, but proves nothing either.
            lack = evidence.lacks_of_teacher if required.rests_on_teacher_model else None
            verdict = "inconclusive" if lack else "failed"
            reason = explanations.missing(error, required.threshold)
            if lack:
                reason += f": the teacher has {lack}"
        else:
            value, verdict = found.value, required.verdict(found.bounds)
            ends = found.interval or ends
            reason = explanations.judged(required, found, evidence.confidence)
    return Check(
        name=required.name,
        value=value,
        threshold=required.threshold,
        passed=verdict == "passed",
        reason=reason,
        verdict=verdict,
        low=ends[0],
        high=ends[1],
        variant=required.variant,
    )


def _fresh_checks(evidence: Evidence) -> Iterator[Check]:
    """Whether the files answered as judged when another process loaded them."""
    owners: list[tuple[Path, str | None, Entry]] = [(("student",), None, evidence.student)]
    owners += [(("variants", name), name, entry) for name, entry in evidence.variants.items()]
    for owner, variant, entry in owners:
        for runtime, process in entry.fresh.items():
            yield Check(
                name=f"fresh_process[{variant or runtime}]",
                value=process.max_difference,
                threshold=None,
                passed=process.passed,
                reason=explanations.fresh_process(owner, runtime, process),
                verdict="passed" if process.passed else "failed",
                variant=variant,
            )


def _doubts(checks: Sequence[Check]) -> Doubts:
    doubts: dict[str, dict[str, Verdict]] = {}
    for check in checks:
        if check.variant is not None and not check.passed:
            found = doubts.setdefault(check.variant, {})
            if found.get(check.name) != "failed":  # two limits on one number have one name
                found[check.name] = check.verdict
    return doubts
