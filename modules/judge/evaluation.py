"""The judgment: teacher, student, control and TFLite files measured on the same eval split."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import tensorflow as tf
from pydantic import BaseModel

from modules.data.eval_split import EvalSplit
from modules.export import quantization
from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, ModelFile, Tensors
from modules.export.tflite import sha256
from modules.judge import evidence, schema
from modules.judge.answers import REFERENCE, JudgedModels, SplitAnswers, ask
from modules.judge.descriptions import describe_examples
from modules.judge.evidence import Statistics
from modules.judge.gate import build_report
from modules.judge.limits import check_task
from modules.judge.schema import (
    DataSummary,
    Disagreement,
    Entry,
    Evidence,
    LayerError,
    LearnedFrom,
    Lineage,
    Push,
    Report,
    Slice,
    Variant,
)
from modules.measure.answers import Answers
from modules.measure.fresh_process import FreshProcesses
from modules.measure.latency import Measurements, TimingProcesses
from modules.measure.registry import metrics_of
from modules.models import storage
from modules.search.results import SearchResults
from modules.settings import (
    DataSettings,
    EvaluateSettings,
    GateSettings,
    LatencySettings,
    PushSettings,
    Task,
)

_LOG = logging.getLogger("tfx_distill.evaluation")
# Real examples that the timed models cycle through.
_TIMED_EXAMPLES = 32
# Slices beyond these stay in TFMA's results; a report with thousands is read by nobody.
_MAX_SLICES = 500

# Numbers of one model by slice and dotted name; a slice is pairs of feature and value.
SliceNumbers = Mapping[tuple[tuple[str, str], ...], Mapping[str, float]]


class Rules(BaseModel, frozen=True):
    """How the judgment is made: the parts of the configuration that it obeys."""

    name: str
    seed: int
    data: DataSettings
    evaluate: EvaluateSettings
    latency: LatencySettings
    gate: GateSettings
    push: PushSettings

    def for_task(self, task: Task) -> Rules:
        """The same without the default slices, by class, where an example has not one class."""
        by_class = self.evaluate.slices == EvaluateSettings().slices
        if task in ("classification", "binary") or not by_class:
            return self
        return self.model_copy(update={"evaluate": self.evaluate.model_copy(update={"slices": ()})})

    @property
    def times_saved_models(self) -> bool:
        """Whether the configuration asks for it, or a limit needs it."""
        return self.latency.saved_model or any(
            f".{SAVED_MODEL}_batch_" in limit.number for limit in self.gate.limits
        )


@dataclass(frozen=True)
class Record:
    """What else the report tells, from the nodes before.

    Attributes:
      curves: Of each training, by role and name.
      learned_from: How many examples each was given, by role.
      data: The data's statistics.
      lineage: The artifacts that are judged.
      tuned: What the search has found, by dotted name.
      search: All that it has tried.
      pushed: The last pushed student, if the gate asks for it.
      config: The whole configuration.
      log_dir: Where a latency engine keeps its logs.
      teacher_origin: Where a teacher that was not trained here comes from, in words.
    """

    curves: dict[str, dict[str, Any]]
    learned_from: dict[str, LearnedFrom]
    data: DataSummary
    lineage: Lineage
    tuned: dict[str, Any]
    pushed: dict[str, Any] | None
    config: dict[str, Any]
    log_dir: str
    teacher_origin: str = ""
    search: SearchResults | None = None


def evaluate(
    models: JudgedModels,
    split: EvalSplit,
    rules: Rules,
    record: Record,
    run_tfma: Callable[[], Mapping[str, SliceNumbers]],
) -> tuple[Report, dict[str, bytes]]:
    """Measure everything the report holds and have the gate judge it.

    The processes that the files are asked and timed in start while TFMA is at work, since most of
    their time is the import of a runtime. The timing itself begins when nothing else runs.

    Args:
      models: What is judged.
      split: What it is judged on.
      rules: How.
      record: What else is told.
      run_tfma: Gives TFMA's numbers of `student`, and of a `teacher` that is a model; the empty
        slice is the whole split.

    Returns:
      The report, and the PNG files of its `disagreements` by example id.

    Raises:
      ConfigError: The gate limits what this task does not have.
      ModelError: A TFLite file is not the one that was exported.
      RuntimeError: TFMA has other numbers than we do.
    """
    check_task(rules.gate, split.output.task)
    models.check_files()
    student_files = models.student_files()  # before it is loaded
    settings, statistics = rules.evaluate, _statistics(split, rules)
    count = max(_TIMED_EXAMPLES, settings.canary_examples)
    first = Examples(split.first_tensors(count), split.first_serialized(count))
    canaries, examples = first.first(settings.canary_examples), first.first(_TIMED_EXAMPLES)
    timing = TimingProcesses(
        timed_files(models, rules), examples, rules.latency, rules.seed, record.log_dir
    )
    with timing, FreshProcesses(models.shipped, canaries, settings) as fresh:
        tfma = run_tfma()
        _LOG.info("asking %s", ", ".join([*models.saved_models, *models.variants]))
        features = sorted({name for names in settings.slices for name in names})
        answers = ask(models, split, features, canaries, statistics.metrics.answers)
        repeated = fresh.compare(answers.canaries)
        measured = _Measured(models, answers, statistics, timing.measure(), repeated)
    parts = _evidence(measured, split, rules, record, tfma)
    parts = parts.model_copy(update={"saved_model": student_files})
    judged = build_report(parts, rules.gate)
    check_against_tfma(judged, tfma)
    judged = build_report(_explain(parts, judged, models, examples.tensors), rules.gate)
    return judged, split.images([each.example_id for each in judged.disagreements])


def timed_files(models: JudgedModels, rules: Rules) -> list[ModelFile]:
    """All TFLite files, and the SavedModels if that is asked for.

    The student itself is timed in the format that the teacher has.
    """
    files = [ModelFile("teacher", LITERT, models.teacher_tflite)] if models.teacher_tflite else []
    files += [ModelFile(_timed_as(name), LITERT, path) for name, path in models.variants.items()]
    if rules.times_saved_models:
        files += [each for each in models.shipped if each.runtime == SAVED_MODEL]
    return files


def saved_model_bytes(directory: str) -> int:
    """Sum of the sizes of all files of a SavedModel."""
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(directory)
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
        theirs, expected = slices[()][ours.main], getattr(getattr(ours, role), ours.main)
        if expected is None:
            continue  # It is not finite, which the gate refuses.
        if abs(expected - theirs) > 1e-5 * max(1.0, abs(expected)):
            raise RuntimeError(
                f"{role} {ours.main} is {expected:.6f} by our count but {theirs:.6f} by TFMA's"
            )


@dataclass(frozen=True, eq=False)
class _Measured:
    """Everything that is measured on the models.

    Attributes:
      models: Which they are.
      answers: To the eval split.
      statistics: How answers become numbers.
      timed: How long they take for one.
      fresh: Of the files in fresh processes, by role and runtime.
    """

    models: JudgedModels
    answers: SplitAnswers
    statistics: Statistics
    timed: Measurements
    fresh: Mapping[str, Mapping[str, Any]]

    def entries(self, confidence: float) -> tuple[dict[str, Entry], dict[str, Variant]]:
        """The entries of the models by role, and of the student's TFLite files by variant."""
        latencies = self.timed.summaries(confidence)
        speedups = self.timed.speedups(confidence).get(f"{LITERT}_batch_1", {})
        saved_models = self.models.saved_models
        parameters = {
            role: storage.count_parameters(storage.keras_directory(path))
            for role, path in saved_models.items()
        }
        entries = {
            role: self.statistics.describe(
                answers,
                self._references(role),
                parameters=parameters.get(role),
                size_bytes=saved_model_bytes(saved_models[role]) if role in saved_models else None,
                **_latencies(latencies.get(role, {})),
                fresh=self.fresh.get(role, {}),
            )
            for role, answers in self.answers.saved_models.items()
        }
        variants = {}
        timed = self.models.teacher_tflite
        teacher_bytes = os.path.getsize(timed) if timed else None
        for name, path in self.models.variants.items():
            ways = latencies.get(_timed_as(name), {}).items()
            entry = self.statistics.describe(
                self.answers.variants[name],
                self._references(name),
                parameters=parameters["student"],
                size_bytes=os.path.getsize(path),
                **_latencies({way: time for way, time in ways if way.startswith(LITERT)}),
                fresh=self.fresh.get(name, {}),
            )
            file = os.path.relpath(path, self.models.tflite)
            variants[name] = evidence.describe_variant(
                entry, file, sha256(path), teacher_bytes, speedups.get(_timed_as(name))
            )
        return entries, variants

    def _references(self, name: str) -> dict[str, Answers]:
        """What a model is held against: those of whose role it is not."""
        return {role: each for role, each in self.answers.saved_models.items() if role != name}


def _evidence(
    measured: _Measured,
    split: EvalSplit,
    rules: Rules,
    record: Record,
    tfma: Mapping[str, SliceNumbers],
) -> Evidence:
    """All parts of the report but the verdict."""
    settings, confidence, answers = rules.evaluate, rules.evaluate.confidence, measured.answers
    statistics, timed = measured.statistics, measured.timed
    entries, variants = measured.entries(confidence)
    both = {role: answers.saved_models[role] for role in ("teacher", "student")}
    return Evidence(
        task=split.output.task,
        name=rules.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        confidence=confidence,
        labels=list(split.output.classes),
        examples=schema.ExampleCount(eval=len(both["student"])),
        teacher=entries["teacher"],
        teacher_origin=record.teacher_origin,
        student=entries["student"],
        control=entries.get("control"),
        variants=variants,
        per_class=statistics.per_class(split.output.classes, both["teacher"], both["student"]),
        slices=_slices(tfma, answers, statistics),
        comparison=statistics.compare(
            entries, answers.saved_models, timed.speedups(confidence), timed.aa_control(confidence)
        ),
        pushed=record.pushed,
        confusion=statistics.confusion(both),
        reliability=statistics.reliability(both | answers.variants),
        answer_curves=statistics.curves(both),
        disagreements=_described(
            statistics.disagreements(
                answers.ids, both["teacher"], both["student"], settings.disagreements
            ),
            split,
        ),
        curves=record.curves,
        learned_from=record.learned_from,
        data=record.data,
        lineage=record.lineage,
        tuned=record.tuned,
        search=record.search,
        push=Push(tflite=_listed(rules.push.tflite)),
        environment=evidence.environment(
            [device.name for device in tf.config.list_physical_devices("GPU")]
        ),
        config=record.config,
    )


def _statistics(split: EvalSplit, rules: Rules) -> Statistics:
    settings = rules.evaluate
    top_k = [k for k in settings.top_k if k < split.output.size]
    return Statistics(metrics_of(split.output.task, settings.confidence, rules.seed, top_k))


def _described(found: list[Disagreement], split: EvalSplit) -> list[Disagreement]:
    """With a text of each example's raw features."""
    texts = describe_examples(split.serialized(), {each.example_id for each in found})
    return [each.model_copy(update={"text": texts.get(each.example_id, "")}) for each in found]


def _slices(
    tfma: Mapping[str, SliceNumbers], answers: SplitAnswers, statistics: Statistics
) -> list[Slice]:
    """TFMA's slices, the largest first, each with intervals."""
    found = []
    for key in tfma["student"]:
        if not key:
            continue
        mask = np.logical_and.reduce([answers.features[name] == value for name, value in key])
        found.append((key, mask))
    found.sort(key=lambda each: (-each[1].sum(), each[0]))
    if len(found) > _MAX_SLICES:
        _LOG.info("%d slices, of which the report has the largest %d", len(found), _MAX_SLICES)
    return [
        statistics.describe_slice(
            dict(key),
            {role: tfma[role][key] if role in tfma else {} for role in ("teacher", "student")},
            {role: answers.saved_models[role].select(mask) for role in ("teacher", "student")},
        )
        for key, mask in found[:_MAX_SLICES]
    ]


def _explain(
    evidence: Evidence, judged: Report, models: JudgedModels, tensors: Tensors
) -> Evidence:
    """The evidence with the worst layers of every quantized variant that has not passed."""
    blamed = {
        check.variant
        for check in judged.gate.checks
        if check.variant and not check.passed and check.variant != REFERENCE
    }
    if not blamed:
        return evidence
    reference, files = models.variants[REFERENCE], models.variants
    explained = {
        name: variant.model_copy(
            update={
                "layer_errors": [
                    LayerError.model_validate(error)
                    for error in quantization.layer_errors(reference, files[name], tensors)
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
    return "student" if variant == REFERENCE else variant


def _latencies(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `latency` and `latencies` of an entry."""
    return {"latency": found.get(f"{LITERT}_batch_1"), "latencies": dict(found)}


def _listed(tflite: str | tuple[str, ...]) -> Any:
    return tflite if isinstance(tflite, str) else list(tflite)
