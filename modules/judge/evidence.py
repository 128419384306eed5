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
    ClassAccuracy,
    Comparison,
    ConfusionCell,
    Disagreement,
    Entry,
    Environment,
    MeasuredInterval,
    ReliabilityBin,
    Slice,
    SliceEntry,
    Speedup,
    Variant,
)
from modules.measure import bootstrap, intervals, metrics
from modules.measure.metrics import Predictions

# Whose versions decide what comes out of a run.
DISTRIBUTIONS = ("tensorflow", "keras", "tfx", "tensorflow-model-analysis", "ai-edge-litert")


class Statistics:
    """How answers are turned into numbers with intervals.

    Args:
      top_k: An answer counts among the k most probable, for each k below the number of classes.
      confidence: Level of the intervals.
      seed: Of the bootstrap.
    """

    def __init__(self, top_k: Sequence[int], confidence: float, seed: int):
        self.top_k = tuple(top_k)
        self.confidence = confidence
        self.seed = seed

    def describe(
        self,
        predictions: Predictions,
        references: Mapping[str, Predictions],
        **measured: Any,
    ) -> Entry:
        """One model's entry.

        Args:
          predictions: Of the model, on the eval split.
          references: Of other models on the same examples, by role: what it is held against.
          **measured: The other fields of `Entry`: `parameters`, `size_bytes`, `latency`, ...
        """
        bounds = intervals.describe(predictions, self.top_k, self.confidence, self.seed)
        bounds["ece"] = bootstrap.calibration_error(predictions, self.confidence, self.seed)
        return Entry(
            accuracy=metrics.accuracy(predictions),
            loss=metrics.mean_loss(predictions),
            ece=metrics.expected_calibration_error(predictions),
            top_k={str(k): metrics.top_k_accuracy(predictions, k) for k in self.top_k},
            intervals=bounds,
            against={
                role: {
                    name: Change.model_validate(change)
                    for name, change in intervals.changes(
                        reference, predictions, self.confidence, self.seed
                    ).items()
                }
                for role, reference in references.items()
            },
            **measured,
        )

    def describe_slice(
        self,
        values: Mapping[str, str],
        tfma: Mapping[str, Mapping[str, float]],
        answers: Mapping[str, Predictions],
    ) -> Slice:
        """One slice: TFMA's numbers, and intervals from our own count of the same examples.

        Args:
          values: Of the slice's features.
          tfma: `accuracy`, `loss` and `top_<k>_accuracy` by role.
          answers: Of teacher and student on the examples of the slice.
        """
        entries = {}
        for role, numbers in tfma.items():
            entries[role] = SliceEntry(
                accuracy=numbers["accuracy"],
                loss=numbers["loss"],
                top_k={str(k): numbers[f"top_{k}_accuracy"] for k in self.top_k},
                intervals=intervals.describe(answers[role], self.top_k, self.confidence, self.seed),
            )
        change = intervals.accuracy_change(answers["teacher"], answers["student"], self.confidence)
        return Slice(
            slice=dict(values),
            count=len(answers["student"]),
            teacher=entries["teacher"],
            student=entries["student"],
            accuracy_change=Change.model_validate(change),
        )

    def compare(
        self,
        entries: Mapping[str, Entry],
        answers: Mapping[str, Predictions],
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
          `accuracy_change` is student - teacher, `distillation_gain` student - control,
          `compression` teacher bytes / student bytes.
        """
        teacher, student = entries["teacher"], entries["student"]
        agreed = answers["teacher"].predicted == answers["student"].predicted
        right, wrong = metrics.agreement_by_teacher(answers["teacher"], answers["student"])
        bounds: dict[str, MeasuredInterval] = {
            "accuracy_change": student.against["teacher"]["accuracy"].interval,
            "agreement": intervals.proportion(int(agreed.sum()), len(agreed), self.confidence),
        }
        gain = None
        if "control" in entries:
            change = student.against["control"]["accuracy"]
            gain, bounds["distillation_gain"] = change.value, change.interval
        judged = speedups.get("litert_batch_1", {}).get("student")
        return Comparison(
            accuracy_change=student.accuracy - teacher.accuracy,
            agreement=metrics.agreement(answers["teacher"], answers["student"]),
            agreement_teacher_right=right,
            agreement_teacher_wrong=wrong,
            distillation_gain=gain,
            speedup=None if judged is None else Speedup.model_validate(judged),
            speedups={way: dict(by_role) for way, by_role in speedups.items()},
            aa_control=dict(aa_control),
            compression=teacher.size_bytes / student.size_bytes,
            intervals=bounds,
        )


def describe_variant(entry: Entry, file: str, sha256: str, teacher_tflite_bytes: int) -> Variant:
    """The entry of a TFLite file: what was measured on it, and which file that was.

    Args:
      entry: Made by `describe` from the answers and the size of this file.
      file: Its path within the export.
      sha256: Its hexadecimal digest.
      teacher_tflite_bytes: Size of the teacher's float32 TFLite file.
    """
    return Variant(
        **dict(entry),
        file=file,
        sha256=sha256,
        compression=teacher_tflite_bytes / entry.size_bytes,
    )


def per_class(
    labels: Sequence[str], teacher: Predictions, student: Predictions
) -> list[ClassAccuracy]:
    """Accuracy of both models on each class, in the order of `labels`."""
    counts, teacher_shares = metrics.per_class_accuracy(teacher, len(labels))
    _, student_shares = metrics.per_class_accuracy(student, len(labels))
    return [
        ClassAccuracy(label=label, count=count, teacher_accuracy=first, student_accuracy=second)
        for label, count, first, second in zip(
            labels, counts.tolist(), teacher_shares.tolist(), student_shares.tolist(), strict=True
        )
    ]


def confusion(answers: Mapping[str, Predictions]) -> dict[str, list[ConfusionCell]]:
    """Confusion cells by role."""
    return {
        role: [
            ConfusionCell(label=label, predicted=predicted, count=count)
            for label, predicted, count in metrics.confusion(predictions)
        ]
        for role, predictions in answers.items()
    }


def reliability(answers: Mapping[str, Predictions]) -> dict[str, list[ReliabilityBin]]:
    """Reliability bins by model."""
    return {
        name: [ReliabilityBin(**vars(each)) for each in metrics.reliability(predictions)]
        for name, predictions in answers.items()
    }


def disagreements(
    ids: Sequence[str], teacher: Predictions, student: Predictions, limit: int
) -> list[Disagreement]:
    """The most telling examples on which teacher and student differ; `ids` are of all examples."""
    return [
        Disagreement(
            example_id=ids[at],
            label=int(teacher.labels[at]),
            teacher=int(teacher.predicted[at]),
            student=int(student.predicted[at]),
            teacher_confidence=float(teacher.confidence[at]),
            student_confidence=float(student.confidence[at]),
        )
        for at in metrics.disagreements(teacher, student, limit)
    ]


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
