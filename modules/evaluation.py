"""The judgement: teacher, student, control and TFLite files measured on the same eval split."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modules import latency, metrics, model_zoo, report, report_schema, serving
from modules.data import ExampleData
from modules.metrics import Predictions
from modules.preprocessing import LABEL
from modules.settings import DataSettings, GateSettings, LatencySettings
from modules.tflite_export import LiteRTModel, sha256

_LOG = logging.getLogger("tfx_distill.evaluation")
_BATCH = 256
# Real examples that the timed models cycle through.
_TIMED_EXAMPLES = 32
_TIMED_FORMAT = "float32"


@dataclass(frozen=True)
class Subjects:
    """What is judged, as paths.

    Attributes:
      teacher: Directory of a SavedModel, as are `student` and `control`.
      student: The candidate.
      control: The student trained without its teacher, or None.
      tflite: The Exporter's directory, `<role>/<variant>/model.tflite`.
    """

    teacher: str
    student: str
    control: str | None
    tflite: str


@dataclass(frozen=True)
class EvalSplit:
    """The examples that are kept for judging.

    Attributes:
      raw: File patterns of the serialized examples that a server would be sent.
      transformed: File patterns of the same examples after Transform.
      data: Their settings.
      labels: Class names by label.
    """

    raw: Sequence[str]
    transformed: Sequence[str]
    data: DataSettings
    labels: Sequence[str]


@dataclass(frozen=True)
class Rules:
    """How the judgement is made: the parts of the configuration that it obeys, and all of it."""

    latency: LatencySettings
    gate: GateSettings
    push_tflite: Sequence[str]
    seed: int
    config: dict[str, Any]


def evaluate(subjects: Subjects, split: EvalSplit, rules: Rules) -> report_schema.Report:
    """Measure everything the report holds and have the gate judge it."""
    models = {"teacher": subjects.teacher, "student": subjects.student}
    if subjects.control:
        models["control"] = subjects.control
    answers = {role: predict_saved_model(path, split.raw) for role, path in models.items()}
    timings = measure_latency(subjects.tflite, split, rules)
    entries = {
        role: report.describe(
            answers[role],
            parameters=model_zoo.count_parameters(serving.keras_directory(path)),
            size_bytes=directory_bytes(path),
            latency=timings[role].summary() if role in timings else None,
        )
        for role, path in models.items()
    }
    speedup = latency.speedup(
        timings["teacher"], timings["student"], rules.latency.confidence, rules.seed
    )
    evidence = report_schema.Evidence(
        labels=list(split.labels),
        examples=report_schema.Examples(eval=len(answers["student"])),
        teacher=entries["teacher"],
        student=entries["student"],
        control=entries.get("control"),
        variants=_judge_variants(subjects.tflite, split, entries["student"], timings),
        per_class=report.per_class(split.labels, answers["teacher"], answers["student"]),
        comparison=report.compare(
            entries["teacher"],
            entries["student"],
            entries.get("control"),
            metrics.agreement(answers["teacher"], answers["student"]),
            speedup,
        ),
        push=report_schema.Push(tflite=list(rules.push_tflite)),
        environment=report.environment(
            [device.name for device in tf.config.list_physical_devices("GPU")]
        ),
        config=rules.config,
    )
    return report.build_report(evidence, rules.gate)


def predict_saved_model(serving_dir: str, raw_patterns: Sequence[str]) -> Predictions:
    """A SavedModel's answers to serialized examples, through its `serving_default`."""
    files = sorted(file for pattern in raw_patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    predictor = serving.SavedModelPredictor(serving_dir)
    batches = []
    for serialized in records:
        spec = {LABEL: tf.io.FixedLenFeature([], tf.int64)}
        labels = tf.io.parse_example(serialized, spec)[LABEL].numpy()
        batches.append(Predictions.from_logits(labels, predictor.logits(serialized)))
    return Predictions.concatenate(batches)


def predict_tflite(path: str, split: EvalSplit) -> Predictions:
    """A TFLite file's answers to transformed pixels, in LiteRT."""
    lite = LiteRTModel(path)
    data = ExampleData(split.transformed, split.data).everything(_BATCH)
    return Predictions.concatenate(
        [
            Predictions.from_logits(labels.numpy(), lite.logits(pixels.numpy()))
            for pixels, labels, _ in data
        ]
    )


def measure_latency(tflite_dir: str, split: EvalSplit, rules: Rules) -> dict[str, latency.Timing]:
    """Times in one interleaved measurement: `teacher`, `student` (both float32), each variant.

    A variant that the student was not asked for is absent. `student` is the float32 variant.
    """
    data = ExampleData(split.transformed, split.data).everything(_TIMED_EXAMPLES)
    pixels = next(iter(data))[0].numpy()
    paths = {"teacher": tflite_path(tflite_dir, "teacher", _TIMED_FORMAT)}
    for variant in _variants(tflite_dir):
        role = "student" if variant == _TIMED_FORMAT else variant
        paths[role] = tflite_path(tflite_dir, "student", variant)
    _LOG.info(
        "timing %s: %d blocks of %d queries each",
        ", ".join(paths),
        rules.latency.blocks,
        rules.latency.queries_per_block,
    )
    threads = rules.latency.threads
    runners = {role: latency.litert_runner(path, threads, pixels) for role, path in paths.items()}
    return latency.measure(runners, rules.latency, rules.seed)


def tflite_path(tflite_dir: str, role: str, variant: str) -> str:
    """Where the Exporter put a file."""
    return os.path.join(tflite_dir, role, variant, "model.tflite")


def directory_bytes(directory: str) -> int:
    """Sum of the sizes of all files below a directory."""
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(directory)
        for name in names
    )


def check_against_tfma(ours: report_schema.Report, tfma_accuracy: dict[str, float]) -> None:
    """Two ways to the same number must agree, or one of them cannot be trusted.

    Args:
      ours: The report.
      tfma_accuracy: Accuracy by model name as TFMA computed it, in float32.

    Raises:
      RuntimeError: They differ by more than float32 rounding.
    """
    for role, accuracy in tfma_accuracy.items():
        expected = getattr(ours, role).accuracy
        if abs(expected - accuracy) > 1e-5:
            raise RuntimeError(
                f"{role} accuracy is {expected:.6f} by our count but {accuracy:.6f} by TFMA's"
            )


def _judge_variants(
    tflite_dir: str,
    split: EvalSplit,
    student: report_schema.Entry,
    timings: dict[str, latency.Timing],
) -> dict[str, report_schema.Variant]:
    teacher_bytes = os.path.getsize(tflite_path(tflite_dir, "teacher", _TIMED_FORMAT))
    variants = {}
    for variant in _variants(tflite_dir):
        path = tflite_path(tflite_dir, "student", variant)
        timing = timings["student" if variant == _TIMED_FORMAT else variant]
        entry = report.describe(
            predict_tflite(path, split),
            parameters=student.parameters,
            size_bytes=os.path.getsize(path),
            latency=timing.summary(),
        )
        file = os.path.relpath(path, tflite_dir)
        variants[variant] = report.describe_variant(entry, file, sha256(path), teacher_bytes)
    return variants


def _variants(tflite_dir: str) -> list[str]:
    """The student's variants, float32 first."""
    names = os.listdir(os.path.join(tflite_dir, "student"))
    return sorted(names, key=lambda name: (name != _TIMED_FORMAT, name))
