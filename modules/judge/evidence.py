"""From measurements to the parts of a report; see `modules.judge.schema` for what they hold."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from modules.judge.schema import (
    Change,
    ClassEntry,
    ClassNumbers,
    Comparison,
    ConfusionCell,
    Curves,
    Difference,
    Disagreement,
    Entry,
    Environment,
    MeasuredInterval,
    Numbers,
    ReliabilityBin,
    Slice,
    Speedup,
    Variant,
)
from modules.measure.answers import Answers
from modules.measure.skill import skill
from modules.measure.statistic import Change as MeasuredChange
from modules.measure.task_metrics import Measured, Paired, TaskMetrics

# Whose versions decide what comes out of a run.
DISTRIBUTIONS = ("tensorflow", "keras", "tfx", "tensorflow-model-analysis", "ai-edge-litert")


class Statistics:
    """How answers are turned into parts of a report.

    Args:
      metrics: Of the task.
    """

    def __init__(self, metrics: TaskMetrics):
        self.metrics = metrics

    def describe(
        self, answers: Answers, references: Mapping[str, Answers], **measured: Any
    ) -> Entry:
        """One model's entry.

        Args:
          answers: Of the model, on the eval split.
          references: Of other models on the same examples, by role: what it is held against.
          **measured: The other fields of `Entry`: `parameters`, `size_bytes`, `latency`, ...
        """
        return Entry(
            **_fields(self.metrics.numbers(answers)),
            against={
                role: _changes(self.metrics.changes(reference, answers))
                for role, reference in references.items()
            },
            **measured,
        )

    def describe_slice(
        self,
        values: Mapping[str, str],
        tfma: Mapping[str, Mapping[str, float]],
        answers: Mapping[str, Answers],
    ) -> Slice:
        """One slice: TFMA's numbers, and intervals from our own count of the same examples.

        Args:
          values: Of the slice's features.
          tfma: Numbers by role and dotted name; what it lacks is our own.
          answers: Of teacher and student on the examples of the slice.
        """
        names, teacher = self.metrics.slice_numbers, answers["teacher"]
        entries = {}
        for role in ("teacher", "student"):
            ours = self.metrics.numbers(answers[role], names)
            given = {
                name: Measured(tfma[role].get(name, each.value), each.interval)
                for name, each in ours.items()
            }
            entries[role] = Numbers(**_fields(given))
        changes = _changes(self.metrics.changes(teacher, answers["student"], names))
        return Slice(
            slice=dict(values),
            count=len(teacher),
            teacher=entries["teacher"],
            student=entries["student"].model_copy(update={"against": {"teacher": changes}}),
        )

    def compare(
        self,
        entries: Mapping[str, Entry],
        answers: Mapping[str, Answers],
        speedups: Mapping[str, Mapping[str, Any]],
        aa_control: Mapping[str, Any],
    ) -> Comparison:
        """The student against its teacher and, if there is one, its control.

        Args:
          entries: Of `teacher`, `student` and perhaps `control`.
          answers: Of the same.
          speedups: By way of timing and model; the one that is judged is float32 on LiteRT.
          aa_control: By way of timing.

        Returns:
          `compression` is teacher bytes / student bytes, if there are any; the rest as the
          schema says.
        """
        teacher, student = entries["teacher"], entries["student"]
        agreement = self.metrics.agreement(answers["teacher"], answers["student"])
        bounds: dict[str, MeasuredInterval] = {"agreement": agreement.agreement.interval}
        change = student.against["teacher"].get("accuracy")
        if change is not None:
            bounds["accuracy_change"] = change.interval
        apart = agreement.mean_absolute_difference
        if apart is not None:
            bounds["mean_absolute_difference"] = apart.interval
        gain = None
        if "control" in entries:
            found = self.metrics.gain(answers["control"], answers["student"])
            gain, bounds["distillation_gain"] = found.value, (found.low, found.high)
        judged = speedups.get("litert_batch_1", {}).get("student")
        taught = skill(self.metrics, answers["teacher"])
        return Comparison(
            constant_answer=taught.constant,
            weak_teacher=taught.weak,
            accuracy_change=change and change.value,
            agreement=agreement.agreement.value,
            agreement_teacher_right=agreement.teacher_right,
            agreement_teacher_wrong=agreement.teacher_wrong,
            mean_absolute_difference=apart and apart.value,
            distillation_gain=gain,
            speedup=None if judged is None else Speedup.model_validate(judged),
            speedups={way: dict(by_role) for way, by_role in speedups.items()},
            aa_control=dict(aa_control),
            compression=_quotient(teacher.size_bytes, student.size_bytes),
            intervals=bounds,
        )

    def per_class(
        self, names: Sequence[str], teacher: Answers, student: Answers
    ) -> list[ClassEntry]:
        """Both models on each class or label, in the order of `names`; empty if there are none."""
        counts, taught = self.metrics.by_class(teacher, len(names))
        _, learned = self.metrics.by_class(student, len(names))
        return [
            ClassEntry(
                label=name,
                count=count,
                teacher=ClassNumbers(**first),
                student=ClassNumbers(**second),
            )
            for name, count, first, second in zip(names, counts, taught, learned, strict=True)
        ]

    def confusion(self, answers: Mapping[str, Answers]) -> dict[str, list[ConfusionCell]]:
        """Confusion cells by role, of those that have some."""
        found = {role: self.metrics.confusion(each) for role, each in answers.items()}
        return {
            role: [
                ConfusionCell(label=label, predicted=predicted, count=count)
                for label, predicted, count in cells
            ]
            for role, cells in found.items()
            if cells
        }

    def reliability(self, answers: Mapping[str, Answers]) -> dict[str, list[ReliabilityBin]]:
        """Reliability bins by model, of those that have some."""
        found = {name: self.metrics.reliability(each) for name, each in answers.items()}
        return {
            name: [ReliabilityBin(**vars(each)) for each in bins]
            for name, bins in found.items()
            if bins
        }

    def curves(self, answers: Mapping[str, Answers]) -> dict[str, Curves]:
        """Curves by role, of those that have some."""
        found = {role: self.metrics.curves(each) for role, each in answers.items()}
        return {role: Curves(**each) for role, each in found.items() if each}

    def disagreements(
        self, ids: Sequence[str], teacher: Answers, student: Answers, limit: int
    ) -> list[Disagreement]:
        """The most telling examples on which the two differ; `ids` are of all examples."""
        return [
            Disagreement(
                example_id=ids[each.at],
                **{name: value for name, value in vars(each).items() if name != "at"},
            )
            for each in self.metrics.differing(teacher, student, limit)
        ]


def describe_variant(
    entry: Entry,
    file: str,
    sha256: str,
    teacher_tflite_bytes: int | None,
    speedup: Mapping[str, Any] | None = None,
) -> Variant:
    """The entry of a TFLite file: what was measured on it, and which file that was.

    Args:
      entry: Made by `describe` from the answers and the size of this file.
      file: Its path within the export.
      sha256: Its hexadecimal digest.
      teacher_tflite_bytes: Size of the teacher's float32 TFLite file, if there is one.
      speedup: Over that file, as `modules.measure.latency` returns it; None if not timed.
    """
    return Variant(
        **dict(entry),
        file=file,
        sha256=sha256,
        compression=_quotient(teacher_tflite_bytes, entry.size_bytes),
        speedup=None if speedup is None else Speedup.model_validate(speedup),
    )


def _quotient(of: int | None, by: int | None) -> float | None:
    return of / by if of and by else None


def _fields(numbers: Mapping[str, Measured]) -> dict[str, Any]:
    """Numbers by dotted name as fields of `Numbers`."""
    found: dict[str, Any] = {"intervals": {name: each.interval for name, each in numbers.items()}}
    for name, each in numbers.items():
        field, _, key = name.partition(".")
        if key:
            found.setdefault(field, {})[key] = each.value
        else:
            found[field] = each.value
    return found


def _changes(pairs: Mapping[str, Paired]) -> dict[str, Change]:
    return {
        name: Change(
            **vars(each.change), relative=_difference(each.relative) if each.relative else None
        )
        for name, each in pairs.items()
    }


def _difference(change: MeasuredChange) -> Difference:
    return Difference(value=change.value, low=change.low, high=change.high)


def environment(accelerators: Sequence[str] = ()) -> Environment:
    """Versions, processor and accelerators of this machine.

    Args:
      accelerators: Names of the GPUs in use; the caller knows, this module stays light.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return Environment(
        versions=versions,
        platform=platform.platform(),
        cpu=_cpu_name(),
        cpu_count=_cpu_count(),
        accelerators=list(accelerators),
    )


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The model name Linux gives, else what Python knows (on ARM, for one, there is none)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "unknown"


def _cpu_count() -> int:
    """CPUs this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
