"""What is known of a student before it is trained: its size, its latency, and the limits on both.

Neither depends on the weights. What breaks a limit of the gate is never trained.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.data.spec import DataSpec
from modules.export.runtimes import LITERT, Examples, ModelFile
from modules.measure.conversion import TrialConversions, Wanted
from modules.measure.latency import TEACHER, Measurements, TimingProcesses
from modules.models import zoo
from modules.models.probe import random_inputs
from modules.settings import Int8Input, Limit, ModelSettings, SearchPlan

_LOG = logging.getLogger("tfx_distill.search")
_WAY = f"{LITERT}_batch_1"
# A search compares roughly; the Evaluator measures what ships.
_PROCESSES, _BLOCKS = 3, 5
_TIMED_EXAMPLES = 16
# It takes longer to import TensorFlow than to convert a small student.
_STUDENTS_PER_PROCESS = 4
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Untrained:
    """A student that is built, converted and timed.

    Attributes:
      parameters: Number of weights.
      sizes: Bytes of its TFLite files, by variant.
      latencies: Of single examples: `p50_ms`, `p90_ms` and `p99_ms` with their intervals, by
        variant; empty if nothing was timed.
      speedups: Teacher's time / its own, as the report's Speedup has it, by variant.
      broken: The limit that it breaks, in one line; empty if none.
    """

    parameters: int
    sizes: Mapping[str, int]
    latencies: Mapping[str, Mapping[str, Any]]
    speedups: Mapping[str, Mapping[str, Any]]
    broken: str = ""

    @property
    def size(self) -> int:
        """Bytes of the smallest file."""
        return min(self.sizes.values(), default=0)

    @property
    def latency(self) -> float:
        """Milliseconds of the fastest file."""
        return min((each["p50_ms"] for each in self.latencies.values()), default=0.0)


def examine(
    plan: SearchPlan, spec: DataSpec, teacher: ModelSettings | None, seed: int
) -> list[Untrained]:
    """Build, convert and time the students of a plan, and hold them to the limits.

    Args:
      plan: With the students.
      spec: What they take and answer.
      teacher: With whose float32 file they are compared; None if it is no model of ours.
      seed: Of the order of the timing.

    Returns:
      One for each student, in their order.
    """
    wanted: dict[str, Any] = {
        _place(at): (student, plan.variants) for at, student in enumerate(plan.students)
    }
    if teacher is not None:
        wanted[TEACHER] = (teacher, ("float32",))
    with tempfile.TemporaryDirectory(prefix="tfx-distill-") as directory:
        problems, files = _convert(wanted, spec, Path(directory), plan.int8_input)
        latencies, speedups = _numbers(_time(files, plan, spec, seed))
        found = []
        for at, student in enumerate(plan.students):
            place = _place(at)
            found.append(
                Untrained(
                    parameters=zoo.build_model(student, spec.by_name, spec.output).count_params(),
                    sizes={
                        variant: path.stat().st_size
                        for (owner, variant), path in files.items()
                        if owner == place
                    },
                    latencies=_of_student(latencies, place),
                    speedups=_of_student(speedups, place),
                )
            )
    reasons = {
        place: reason for (place, variant), reason in problems.items() if variant in plan.needed
    }
    return [_judged(each, plan, reasons.get(_place(at), "")) for at, each in enumerate(found)]


def _place(at: int) -> str:
    return f"student_{at}"


def _convert(
    wanted: Wanted, spec: DataSpec, directory: Path, int8_input: Int8Input
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], Path]]:
    """Problems and files, by place and variant; several processes share the students."""
    count = min(os.cpu_count() or 1, math.ceil(len(wanted) / _STUDENTS_PER_PROCESS))
    parts = [dict(list(wanted.items())[at::count]) for at in range(count)]
    problems: dict[tuple[str, str], str] = {}
    with contextlib.ExitStack() as stack:
        conversions = [
            stack.enter_context(TrialConversions(part, spec, keep=directory, int8_input=int8_input))
            for part in parts
        ]
        for each in conversions:
            problems |= each.problems()
    files = {
        (place, variant): directory / f"{place} {variant}.tflite"
        for place, (_, variants) in wanted.items()
        for variant in variants
    }
    return problems, {key: path for key, path in files.items() if path.exists()}


def _time(
    files: Mapping[tuple[str, str], Path], plan: SearchPlan, spec: DataSpec, seed: int
) -> Measurements | None:
    settings = plan.latency.model_copy(
        update={
            "engine": "blocks",
            "processes": _PROCESSES,
            "blocks": min(_BLOCKS, plan.latency.blocks),
            "saved_model": False,
        }
    )
    timed = [
        ModelFile(place if place == TEACHER else f"{place} {variant}", LITERT, str(path))
        for (place, variant), path in files.items()
    ]
    if not timed:
        return None
    tensors = random_inputs(spec.by_name, _TIMED_EXAMPLES)
    with TimingProcesses(timed, Examples(tensors), settings, seed, throughput=False) as processes:
        return processes.measure()


def _numbers(timed: Measurements | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Latencies and speed-ups of all files, by role."""
    if timed is None:
        return {}, {}
    latencies = {role: each[_WAY] for role, each in timed.summaries(_CONFIDENCE).items()}
    return latencies, timed.speedups(_CONFIDENCE).get(_WAY, {})


def _of_student(by_role: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Its own, by variant."""
    split = {role.partition(" "): each for role, each in by_role.items()}
    return {variant: each for (owner, _, variant), each in split.items() if owner == place}


def _judged(found: Untrained, plan: SearchPlan, problem: str) -> Untrained:
    broken = problem or next(_broken(found, plan), "")
    return Untrained(found.parameters, found.sizes, found.latencies, found.speedups, broken)


def _broken(found: Untrained, plan: SearchPlan) -> Iterator[str]:
    """The limits that the student breaks whatever its weights.

    As in the gate, a limit on a TFLite file counts for what ships: if none of the files keeps its
    limits, or one that `push.tflite` names does not.
    """
    if not found.sizes:
        yield "none of its TFLite files can be made"
        return
    for limit in plan.limits.limits:
        is_known = limit.number == "student.parameters" and limit.max is not None
        if is_known and _is_plain(limit) and found.parameters > float(limit.max or 0):
            yield f"gate.limits: student.parameters is {found.parameters:,}, above {limit.max:,.6g}"
    by_size = sorted(found.sizes, key=lambda variant: found.sizes[variant])
    problems = {variant: next(_problems(found, plan, variant), "") for variant in by_size}
    yield from (problems[variant] for variant in plan.pushed if problems.get(variant))
    if all(problems.values()):
        yield problems[by_size[0]]


def _problems(found: Untrained, plan: SearchPlan, variant: str) -> Iterator[str]:
    """The limits that one of its files breaks; of times, only what is certain."""
    gate, size = plan.limits, found.sizes[variant]
    if gate.max_size_bytes is not None and size > gate.max_size_bytes:
        yield f"gate.max_size_bytes {gate.max_size_bytes:,}: its {variant} file has {size:,} bytes"
    speedup = found.speedups.get(variant)
    if gate.min_speedup is not None and speedup and speedup["ci_high"] < gate.min_speedup:
        yield (
            f"gate.min_speedup {gate.min_speedup:g}: its {variant} file is "
            f"{speedup['ci_high']:.2f} times faster at best"
        )
    bounds = found.latencies.get(variant, {}).get("intervals", {})
    known = {"size_bytes": float(size)} | {
        f"latency.{name}": low for name, (low, _) in bounds.items()
    }
    for limit in gate.limits:
        first, _, rest = limit.number.partition(".")
        wanted, _, key = rest.partition(".")
        if first != "variants" or wanted not in ("*", variant) or not _is_plain(limit):
            continue
        if limit.max is not None and known.get(key, limit.max) > limit.max:
            yield (
                f"gate.limits: variants.{variant}.{key} is {known[key]:,.6g} at least, above "
                f"{limit.max:,.6g}"
            )


def _is_plain(limit: Limit) -> bool:
    """Whether it limits a number itself, of all examples."""
    return limit.against is None and limit.slice is None


def log(students: Sequence[Untrained]) -> None:
    """Tell how many were refused."""
    refused = [each for each in students if each.broken]
    _LOG.info(
        "%d student(s) built, converted and timed untrained, %d break a limit",
        len(students),
        len(refused),
    )
