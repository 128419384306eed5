"""The judgement: teacher, student, control and TFLite files measured on the same eval split."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import tensorflow as tf

from modules.data.eval_split import EvalSplit
from modules.export import quantization, saved_model
from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, Subject
from modules.export.tflite import LiteRTModel, sha256
from modules.judge import evidence, schema
from modules.judge.evidence import Statistics
from modules.judge.gate import build_report
from modules.judge.schema import (
    DataSummary,
    Evidence,
    LayerError,
    Lineage,
    Push,
    Report,
    Slice,
    Variant,
)
from modules.measure import fresh, latency
from modules.measure.metrics import Predictions
from modules.models import storage
from modules.settings import EvaluateSettings, GateSettings, LatencySettings, PushSettings

_LOG = logging.getLogger("tfx_distill.evaluation")
# Real examples that the timed models cycle through.
_TIMED_EXAMPLES = 32
_REFERENCE = "float32"
# Slices beyond these stay in TFMA's results; a report with thousands is read by nobody.
_MAX_SLICES = 500

# Accuracy, loss and top-k of one model by slice; a slice is pairs of feature and value.
SliceNumbers = Mapping[tuple[tuple[str, str], ...], Mapping[str, float]]


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

    @property
    def saved_models(self) -> dict[str, str]:
        """Directories of SavedModels by role, the teacher first."""
        models = {"teacher": self.teacher, "student": self.student}
        return models | ({"control": self.control} if self.control else {})

    @property
    def variants(self) -> dict[str, str]:
        """The student's TFLite files by variant, float32 first."""
        names = os.listdir(os.path.join(self.tflite, "student"))
        ordered = sorted(names, key=lambda name: (name != _REFERENCE, name))
        return {name: self.tflite_file("student", name) for name in ordered}

    def tflite_file(self, role: str, variant: str) -> str:
        """Where the Exporter put a file."""
        return os.path.join(self.tflite, role, variant, "model.tflite")


@dataclass(frozen=True)
class Rules:
    """How the judgement is made: the parts of the configuration that it obeys, and all of it."""

    evaluate: EvaluateSettings
    latency: LatencySettings
    gate: GateSettings
    push: PushSettings
    seed: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What else the report tells, from the nodes before.

    Attributes:
      curves: Of each training, by role and name.
      data: The data's statistics.
      lineage: The artifacts that are judged.
      tuned: What the search has found, by dotted name.
      pushed: The last pushed student, if the gate asks for it.
      log_dir: Where a latency engine keeps its logs.
    """

    curves: dict[str, dict[str, Any]]
    data: DataSummary
    lineage: Lineage
    tuned: dict[str, Any]
    pushed: dict[str, Any] | None
    log_dir: str


def evaluate(
    subjects: Subjects,
    split: EvalSplit,
    rules: Rules,
    record: Record,
    tfma: Mapping[str, SliceNumbers],
) -> tuple[Report, dict[str, bytes]]:
    """Measure everything the report holds and have the gate judge it.

    Args:
      subjects: What is judged.
      split: What it is judged on.
      rules: How.
      record: What else is told.
      tfma: Of `teacher` and `student`; the empty slice is the whole split.

    Returns:
      The report, and the PNG files of its `disagreements` by example id.

    Raises:
      RuntimeError: TFMA counts another accuracy than we do.
    """
    measured = _Measured(subjects, split, rules)
    parts = measured.evidence(record, _slices(tfma, measured, split, rules))
    judged = build_report(parts, rules.gate)
    check_against_tfma(judged, tfma)
    judged = build_report(_explain(parts, judged, subjects, split), rules.gate)
    return judged, split.images([each.example_id for each in judged.disagreements])


def predict_saved_model(serving_dir: str, split: EvalSplit) -> Predictions:
    """A SavedModel's answers to serialized examples, in the common order of the examples."""
    predictor = saved_model.SavedModelPredictor(serving_dir)
    answers = [
        Predictions.from_logits(labels, predictor.logits(serialized))
        for labels, serialized in split.serialized()
    ]
    return Predictions.concatenate(answers).select(split.raw_order)


def predict_tflite(path: str, split: EvalSplit) -> Predictions:
    """A TFLite file's answers to transformed pixels, in the common order of the examples."""
    lite = LiteRTModel(path)
    answers = [
        Predictions.from_logits(labels, lite.logits(pixels)) for pixels, labels in split.pixels()
    ]
    return Predictions.concatenate(answers).select(split.transformed_order)


def saved_model_bytes(directory: str) -> int:
    """Sum of the sizes of all files of a SavedModel; warm-up requests are not the model's."""
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(directory)
        if os.path.basename(folder) != saved_model.EXTRA_ASSETS
        for name in names
    )


def check_against_tfma(ours: Report, tfma: Mapping[str, SliceNumbers]) -> None:
    """Two ways to the same number must agree, or one of them cannot be trusted.

    Args:
      ours: The report.
      tfma: TFMA's numbers by role and slice, in float32.

    Raises:
      RuntimeError: They differ by more than float32 rounding.
    """
    for role, slices in tfma.items():
        theirs, expected = slices[()]["accuracy"], getattr(ours, role).accuracy
        if abs(expected - theirs) > 1e-5:
            raise RuntimeError(
                f"{role} accuracy is {expected:.6f} by our count but {theirs:.6f} by TFMA's"
            )


class _Measured:
    """Everything that is measured on the models."""

    def __init__(self, subjects: Subjects, split: EvalSplit, rules: Rules):
        self._subjects, self._split, self._rules = subjects, split, rules
        settings = rules.evaluate
        top_k = [k for k in settings.top_k if k < len(split.labels)]
        self.statistics = Statistics(top_k, settings.confidence, rules.seed)
        _LOG.info("asking %s", ", ".join([*subjects.saved_models, *subjects.variants]))
        self.answers = {
            role: predict_saved_model(path, split) for role, path in subjects.saved_models.items()
        }
        self._variant_answers = {
            name: predict_tflite(path, split) for name, path in subjects.variants.items()
        }

    def evidence(self, record: Record, slices: list[Slice]) -> Evidence:
        """All parts of the report but the verdict."""
        timed = self._time(record.log_dir)
        confidence = self._rules.evaluate.confidence
        latencies = timed.summaries(confidence)
        found = self._fresh()
        entries = {
            role: self.statistics.describe(
                self.answers[role],
                self._references(role),
                parameters=self._parameters(role),
                size_bytes=saved_model_bytes(path),
                **_latencies(latencies.get(role, {})),
                fresh=found.get(role, {}),
            )
            for role, path in self._subjects.saved_models.items()
        }
        split, rules = self._split, self._rules
        both = {role: self.answers[role] for role in ("teacher", "student")}
        return Evidence(
            name=rules.config["name"],
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            confidence=confidence,
            labels=list(split.labels),
            examples=schema.Examples(eval=len(both["student"])),
            teacher=entries["teacher"],
            student=entries["student"],
            control=entries.get("control"),
            variants={
                name: self._variant(name, latencies, found.get(name, {}))
                for name in self._subjects.variants
            },
            per_class=evidence.per_class(split.labels, both["teacher"], both["student"]),
            slices=slices,
            comparison=self.statistics.compare(
                entries, self.answers, timed.speedups(confidence), timed.aa_control(confidence)
            ),
            pushed=record.pushed,
            confusion=evidence.confusion(both),
            reliability=evidence.reliability(both | self._variant_answers),
            disagreements=evidence.disagreements(
                split.ids, both["teacher"], both["student"], rules.evaluate.disagreements
            ),
            curves=record.curves,
            data=record.data,
            lineage=record.lineage,
            tuned=record.tuned,
            push=Push(tflite=_listed(rules.push.tflite)),
            environment=evidence.environment(
                [device.name for device in tf.config.list_physical_devices("GPU")]
            ),
            config=rules.config,
        )

    def _variant(self, name: str, latencies: Any, found: Any) -> Variant:
        path = self._subjects.variants[name]
        entry = self.statistics.describe(
            self._variant_answers[name],
            self._references(name),
            parameters=self._parameters("student"),
            size_bytes=os.path.getsize(path),
            **_latencies(
                {
                    way: timing
                    for way, timing in latencies.get(_timed_as(name), {}).items()
                    if way.startswith(LITERT)
                }
            ),
            fresh=found,
        )
        teacher_bytes = os.path.getsize(self._subjects.tflite_file("teacher", _REFERENCE))
        file = os.path.relpath(path, self._subjects.tflite)
        return evidence.describe_variant(entry, file, sha256(path), teacher_bytes)

    def _references(self, name: str) -> dict[str, Predictions]:
        """What a model is held against: those of whose role it is not."""
        return {role: answers for role, answers in self.answers.items() if role != name}

    def _parameters(self, role: str) -> int:
        directory = storage.keras_directory(self._subjects.saved_models[role])
        return storage.count_parameters(directory)

    def _time(self, log_dir: str) -> latency.Measurements:
        subjects, settings = self._subjects, self._rules.latency
        timed = [
            Subject(role, SAVED_MODEL, subjects.saved_models[role])
            for role in ("teacher", "student")
        ]
        timed.append(Subject("teacher", LITERT, subjects.tflite_file("teacher", _REFERENCE)))
        # The student itself is timed in the format that the teacher has.
        timed += [
            Subject(_timed_as(name), LITERT, path) for name, path in subjects.variants.items()
        ]
        examples = Examples(
            self._split.first_pixels(_TIMED_EXAMPLES),
            self._split.first_serialized(_TIMED_EXAMPLES),
        )
        return latency.measure(timed, examples, settings, self._rules.seed, log_dir)

    def _fresh(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By model and runtime: asked the canary examples in a process of its own."""
        settings, subjects = self._rules.evaluate, self._subjects
        canaries = Examples(
            self._split.first_pixels(settings.canary_examples),
            self._split.first_serialized(settings.canary_examples),
        )
        probed = []
        for role in ("teacher", "student"):
            path = subjects.saved_models[role]
            expected = saved_model.SavedModelPredictor(path).logits(
                tf.constant(canaries.serialized)
            )
            probed.append((Subject(role, SAVED_MODEL, path), expected))
        files = {"teacher": subjects.tflite_file("teacher", _REFERENCE), **subjects.variants}
        for name, path in files.items():
            expected = LiteRTModel(path).logits(canaries.tensors)
            probed.append((Subject(name, LITERT, path), expected))
        return fresh.probe_all(probed, canaries, settings)


def _slices(
    tfma: Mapping[str, SliceNumbers], measured: _Measured, split: EvalSplit, rules: Rules
) -> list[Slice]:
    """TFMA's slices, the largest first, each with intervals."""
    names = {name for features in rules.evaluate.slices for name in features}
    texts = split.texts(sorted(names))
    found = []
    for key in tfma["student"]:
        if not key:
            continue
        mask = np.logical_and.reduce([texts[feature] == value for feature, value in key])
        found.append((key, mask))
    found.sort(key=lambda each: (-each[1].sum(), each[0]))
    if len(found) > _MAX_SLICES:
        _LOG.info("%d slices, of which the report has the largest %d", len(found), _MAX_SLICES)
    return [
        measured.statistics.describe_slice(
            dict(key),
            {role: tfma[role][key] for role in ("teacher", "student")},
            {role: measured.answers[role].select(mask) for role in ("teacher", "student")},
        )
        for key, mask in found[:_MAX_SLICES]
    ]


def _explain(evidence: Evidence, judged: Report, subjects: Subjects, split: EvalSplit) -> Evidence:
    """The evidence with the worst layers of every quantised variant that has not passed."""
    blamed = {
        check.variant
        for check in judged.gate.checks
        if check.variant and not check.passed and check.variant != _REFERENCE
    }
    if not blamed:
        return evidence
    pixels = split.first_pixels(_TIMED_EXAMPLES)
    reference = subjects.variants[_REFERENCE]
    explained = {
        name: variant.model_copy(
            update={
                "layer_errors": [
                    LayerError.model_validate(error)
                    for error in quantization.layer_errors(
                        reference, subjects.variants[name], pixels
                    )
                ]
            }
        )
        if name in blamed
        else variant
        for name, variant in evidence.variants.items()
    }
    return evidence.model_copy(update={"variants": explained})


def _timed_as(variant: str) -> str:
    """The role under which a variant is timed."""
    return "student" if variant == _REFERENCE else variant


def _latencies(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `latency` and `latencies` of an entry."""
    return {"latency": found.get(f"{LITERT}_batch_1"), "latencies": dict(found)}


def _listed(tflite: str | tuple[str, ...]) -> Any:
    return tflite if isinstance(tflite, str) else list(tflite)
