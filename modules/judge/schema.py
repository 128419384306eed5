"""The schema of report.json, for writing as for reading.

An interval is `[low, high]` at the level `confidence`. A part's `intervals` hold those of its own
numbers, by key; a number without one is exact (a size, a count) or was measured once (a load time).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from modules.search.results import SearchResults
from modules.settings import Task

SCHEMA_VERSION = 3


def _null_unless_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# JSON has no NaN. The loss of a diverged model becomes null, and its report can still be read.
Measured = Annotated[float | None, BeforeValidator(_null_unless_finite)]
# Null of a task that has no such number, and where there is none: no positive example, say.
MeasuredShare = Annotated[Share | None, BeforeValidator(_null_unless_finite)]
MeasuredInterval = tuple[Measured, Measured]
Point = tuple[float, float]
Verdict = Literal["passed", "failed", "inconclusive"]


class Part(BaseModel):
    """Base of all parts: every key is needed unless it has a default, and no other is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Part):
    """One model on one runtime, in milliseconds per query; throughput in examples per second.

    Percentiles are those of MLPerf's single-stream scenario. `distribution_ms` are the 0th to the
    100th percentile, in steps of one: 101 values.
    """

    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    throughput: Positive
    runtime: str
    threads: int = Field(ge=1)
    batch_size: int = Field(1, ge=1)
    queries: int = Field(ge=1)
    distribution_ms: list[Positive] = Field(min_length=101, max_length=101)
    intervals: dict[str, MeasuredInterval] = {}

    @property
    def way(self) -> str:
        """The key of `latencies` and of `speedups`."""
        return f"{self.runtime}_batch_{self.batch_size}"


class FreshProcess(Part):
    """A file in a process that has just begun, with limited memory and time.

    Attributes:
      runtime: `saved_model` (TensorFlow) or `litert`.
      load_ms: from the file on disk to its first answer, without the runtime's own import.
      peak_memory_bytes: largest resident memory of the process.
      runtime_memory_bytes: resident memory of the process before the file was loaded.
      canaries: number of examples it was asked.
      max_difference: largest difference of a logit from the one that was judged; null if
          there was no answer.
      passed: whether it answered all of them as judged.
      problem: one line that says what went wrong, or null.
    """

    runtime: str
    load_ms: Measured
    peak_memory_bytes: int | None
    runtime_memory_bytes: int | None
    canaries: int = Field(ge=1)
    max_difference: Measured
    passed: bool
    problem: str | None


class Difference(Part):
    """A comparison of two numbers, with its interval."""

    value: Measured
    low: Measured
    high: Measured

    @property
    def interval(self) -> MeasuredInterval:
        """Of the value."""
        return self.low, self.high


class Change(Difference):
    """A number minus the same number of another model, on the same examples.

    `relative` is the number divided by the other's; of a regression's errors alone.
    """

    relative: Difference | None = None


class Numbers(Part):
    """What is measured of the answers; a task that does not have a number has null.

    Attributes:
      accuracy: share of examples whose class is right; of `multilabel` share of all labels of all
        examples that are right at a probability of 0.5.
      loss: mean cross-entropy in nats, of `multilabel` also over the labels; of `regression` the
        mean squared error.
      balanced_accuracy: mean accuracy of the classes.
      macro_f1: mean F1 of the classes or labels.
      roc_auc: area under the ROC curve; of `multilabel` the mean over the labels.
      pr_auc: average precision, the area under the precision-recall curve; likewise.
      ece: expected calibration error; of `multilabel` over all labels of all examples.
      mae: mean absolute error.
      rmse: root mean square error.
      r2: share of the labels' variance that is explained.
      top_k: share of examples whose label is among the k most probable classes, by k.
      intervals: of these numbers, by dotted name.
      against: by role and number, the paired change from it.
    """

    accuracy: MeasuredShare = None
    loss: Measured = None
    balanced_accuracy: MeasuredShare = None
    macro_f1: MeasuredShare = None
    roc_auc: MeasuredShare = None
    pr_auc: MeasuredShare = None
    ece: Measured = None
    mae: Measured = None
    rmse: Measured = None
    r2: Measured = None
    top_k: dict[str, Share] = {}
    intervals: dict[str, MeasuredInterval] = {}
    against: dict[str, dict[str, Change]] = {}


class Entry(Numbers):
    """One model on the eval split; `size_bytes` of its SavedModel directory or its TFLite file.

    Of a teacher that is no model, parameters, size and latencies are null.

    Attributes:
      latency: single examples on LiteRT, what a device pays; null if not timed.
      latencies: every way it was timed, by `<runtime>_batch_<size>`; `latency` is among them.
      fresh: by runtime.
    """

    parameters: int | None = Field(ge=0)
    size_bytes: int | None = Field(gt=0)
    latency: Latency | None
    latencies: dict[str, Latency] = {}
    fresh: dict[str, FreshProcess] = {}


class Speedup(Part):
    """As `modules.measure.latency.speedup` returns it: one model's time / another's."""

    median: Positive
    ci_low: Positive
    ci_high: Positive
    confidence: Share
    runtime: str

    @property
    def interval(self) -> tuple[float, float]:
        """Of the median."""
        return self.ci_low, self.ci_high


class LayerError(Part):
    """How far a quantized layer's output is from the float32 layer's, given the same input.

    `error` is the root mean square difference over some examples, divided by the root mean square
    of the float32 output; null if that is zero.
    """

    layer: str
    operation: str
    error: Measured


class Variant(Entry):
    """One TFLite file of the student.

    Attributes:
      compression: Bytes of the teacher's float32 file / bytes of this one; null without such.
      speedup: Time of the teacher's float32 file / time of this one, single examples on LiteRT;
        null if not timed.
      layer_errors: Largest first, and looked at only where a quantized file fails the gate.
    """

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    compression: Positive | None
    speedup: Speedup | None = None
    layer_errors: list[LayerError] = []


class Comparison(Part):
    """The student against its teacher and its control; made by `modules.judge.evidence`.

    Attributes:
      accuracy_change: student - teacher; null for a regression.
      agreement: share of answers that are the same: of examples; of `multilabel` of all labels of
        all examples; of `regression` the examples whose values are apart by at most a tenth of the
        labels' standard deviation.
      agreement_teacher_right: agreement where the teacher is right; null if it never is.
      agreement_teacher_wrong: where it is wrong.
      mean_absolute_difference: of the values of student and teacher; of a regression alone.
      distillation_gain: accuracy, student - control; of a regression RMSE, control - student.
      constant_answer: accuracy of always giving the most frequent answer; of a regression RMSE of
        always giving the mean.
      weak_teacher: whether the teacher is not better than that, see `modules.measure.skill`.
      speedup: teacher / student, both float32, single examples on LiteRT. Limits judge that of
        the variants instead.
      speedups: by way of timing, then by model (`student` or a variant): teacher / model.
      aa_control: by way of timing: the teacher against itself. It has to be 1; how far it is
          off is the measurement's own error.
    """

    accuracy_change: Measured = None
    agreement: Share
    agreement_teacher_right: Share | None = None
    agreement_teacher_wrong: Share | None = None
    mean_absolute_difference: Measured = None
    distillation_gain: Measured
    constant_answer: Measured = None
    weak_teacher: bool = False
    speedup: Speedup | None
    speedups: dict[str, dict[str, Speedup]] = {}
    aa_control: dict[str, Speedup] = {}
    compression: Positive | None
    intervals: dict[str, MeasuredInterval] = {}


class ClassNumbers(Part):
    """One model on one class or label; a class' accuracy is that on its examples."""

    accuracy: Measured
    f1: Measured
    roc_auc: Measured = None
    pr_auc: Measured = None


class ClassEntry(Part):
    """One class of the eval split, or one label; `count` examples are of it or have it."""

    label: str
    count: int = Field(ge=0)
    teacher: ClassNumbers
    student: ClassNumbers


class Slice(Part):
    """The eval examples whose features have these values; what TFMA computes is TFMA's.

    Only some numbers are looked at on slices.
    """

    slice: dict[str, str]
    count: int = Field(ge=1)
    teacher: Numbers
    student: Numbers


class ConfusionCell(Part):
    """How often a class (by index) was predicted as another; cells of zero are left out."""

    label: int = Field(ge=0)
    predicted: int = Field(ge=0)
    count: int = Field(ge=1)


class ReliabilityBin(Part):
    """The examples with a confidence in `(low, high]`; a bin without examples is left out."""

    low: Share
    high: Share
    count: int = Field(ge=1)
    confidence: Measured
    accuracy: Share


class Curves(Part):
    """What charts of a model's answers show, as points (x, y).

    Attributes:
      roc: false and true positive rate; of `binary`, and of `multilabel` all labels together.
      precision_recall: recall and precision; of the same.
      values: label and value of some examples; of `regression`.
    """

    roc: list[Point] = []
    precision_recall: list[Point] = []
    values: list[Point] = []


class Disagreement(Part):
    """An example on which teacher and student differ.

    Answers are a class by index, the labels that are there by index, or a value. `text` describes
    the example's raw features where it is no image.
    """

    example_id: str
    text: str = ""
    label: int | float | list[int]
    teacher: int | Measured | list[int]
    student: int | Measured | list[int]
    teacher_confidence: Measured = None
    student_confidence: Measured = None


class FeatureSummary(Part):
    """One raw feature of a split; `minimum` to `mean` of numbers, `unique` of texts."""

    name: str
    type: str
    missing: int = Field(ge=0)
    minimum: Measured = None
    maximum: Measured = None
    mean: Measured = None
    unique: int | None = None


class SplitSummary(Part):
    """What StatisticsGen counted in a split."""

    examples: int = Field(ge=0)
    classes: dict[str, int]
    features: list[FeatureSummary]


class DataSummary(Part):
    """The data's statistics, by split, and what ExampleValidator found."""

    splits: dict[str, SplitSummary]
    anomalies: list[str]


class LearnedFrom(Part):
    """How many examples of the training split and without label a model was trained on.

    Without those that are held out to choose the best epoch.
    """

    labeled: int = Field(ge=0)
    unlabeled: int = Field(ge=0)
    steps_per_epoch: int = Field(ge=0)


class ArtifactReference(Part):
    """An artifact that the judgment rests on."""

    role: str
    type: str
    id: int
    uri: str


class Lineage(Part):
    """What the judgment rests on; `code_digest` is of this project's code."""

    artifacts: list[ArtifactReference]
    code_digest: str


class ExampleCount(Part):
    """Number of examples that judged."""

    eval: int = Field(ge=1)


class Push(Part):
    """What is to be pushed once blessed: `smallest`, `fastest` or names of TFLite variants."""

    tflite: Literal["smallest", "fastest"] | Annotated[list[str], Field(min_length=1)]


class Environment(Part):
    """Where it was measured; see `environment`."""

    versions: dict[str, str | None]
    platform: str
    cpu: str
    cpu_count: int = Field(ge=1)
    accelerators: list[str]


class PushedStudent(Part):
    """The last pushed student as its manifest has it; its entries may be of an older schema."""

    version: int
    student: dict[str, Any] | None
    variants: dict[str, dict[str, Any]]


class Evidence(Part):
    """Everything in a report but the verdict.

    Attributes:
      created: when it was measured, ISO 8601, UTC.
      confidence: level of all intervals.
      teacher_origin: where a teacher comes from that was not trained here; else empty.
      saved_model: SHA-256 of the files of the student's SavedModel, by name; empty in reports from
        before they were noted.
      pushed: null where nothing was pushed or the gate does not ask.
      labels: names of the classes or labels; empty for a regression.
      confusion: by role, in the order of label and prediction.
      answer_curves: by role.
      reliability: by role, and by variant.
      curves: by role and name of the value, one for each epoch; null where it was not finite.
      learned_from: by role; without what was not trained here.
      tuned: what the search has found, by dotted name; empty without a search.
      search: its candidates; null without a search.
    """

    schema_version: Literal[3] = 3
    task: Task
    name: str
    created: str
    confidence: Share
    labels: list[str]
    examples: ExampleCount
    teacher: Entry
    teacher_origin: str = ""
    student: Entry
    control: Entry | None
    variants: dict[str, Variant]
    saved_model: dict[str, str] = {}
    per_class: list[ClassEntry]
    slices: list[Slice] = []
    comparison: Comparison
    pushed: PushedStudent | None = None
    confusion: dict[str, list[ConfusionCell]] = {}
    reliability: dict[str, list[ReliabilityBin]] = {}
    answer_curves: dict[str, Curves] = {}
    disagreements: list[Disagreement] = []
    curves: dict[str, dict[str, list[Measured]]] = {}
    learned_from: dict[str, LearnedFrom] = {}
    data: DataSummary | None = None
    lineage: Lineage | None = None
    tuned: dict[str, Any] = {}
    search: SearchResults | None = None
    push: Push
    environment: Environment
    config: dict[str, Any]

    @property
    def lacks_teacher_model(self) -> bool:
        """Whether the teacher was only asked, so that it has no size and cannot be timed."""
        return self.teacher.size_bytes is None

    @property
    def lacks_of_teacher(self) -> str | None:
        """What its times and sizes would need; None if it is there, or if nothing was timed."""
        if self.lacks_teacher_model:
            return "no model to time or to weigh"
        if self.teacher.latency is None and self.student.latency is not None:
            return "no TFLite file to time"
        return None

    @property
    def main(self) -> str:
        """The number by which models are compared first."""
        return "rmse" if self.task == "regression" else "accuracy"

    @property
    def models(self) -> dict[str, Entry]:
        """All models by name: the roles, then the variants under their own names."""
        roles = {"teacher": self.teacher, "student": self.student, "control": self.control}
        return {name: entry for name, entry in roles.items() if entry} | dict(self.variants)

    def title(self, name: str) -> str:
        """What a model is called: `student`, `TFLite int8`."""
        return f"TFLite {name}" if name in self.variants else name

    @model_validator(mode="after")
    def _every_model_is_weighed_and_counted(self) -> Evidence:
        """An accuracy can always be counted, even of a model that diverged."""
        for name, entry in self.models.items():
            if name != "teacher" and (entry.size_bytes is None or entry.parameters is None):
                raise ValueError(f"{name} must have a size, which only a teacher may lack")
        if self.task != "regression":
            for name, entry in self.models.items():
                if entry.accuracy is None:
                    raise ValueError(f"{name} must have an accuracy, since the task is {self.task}")
        return self


class Check(Part):
    """One limit, held against the evidence.

    Attributes:
      name: key of `GateSettings`, or the number of one of its `limits`; with the TFLite variant
          or the slice in brackets where there is one.
      value: what the evidence says, None where it says nothing.
      threshold: the limit, None if none was set.
      passed: whether the limit is kept for certain.
      reason: a sentence with both numbers, or one that says what is missing.
      verdict: `inconclusive` where the limit lies within the value's interval.
      low: lower bound of the value, None where it is exact, missing or without end.
      high: upper bound.
      variant: the TFLite variant that alone is judged here, or None: the student as a whole.
      counts: whether it decides. What is found on a variant that is not to ship does not.
    """

    name: str
    value: int | float | None
    threshold: int | float | None
    passed: bool
    reason: str
    verdict: Verdict
    low: Measured = None
    high: Measured = None
    variant: str | None = None
    counts: bool = True


class GateResult(Part):
    """The verdict.

    Attributes:
      blessed: whether the student may ship: there are checks, none of the student's own was
          anything but passed, and there is a variant to ship.
      verdict: `failed` if a check that counts failed, else `inconclusive` if one was, else
          `passed`.
      checks: all of them. A variant that is not to ship counts neither for nor against.
      tflite: the variants that ship, chosen by `push.tflite`; empty if not blessed.
      remarks: sentences without a period, to be read before the checks: what distillation brought,
          and what is wrong with the teacher.
      weak_teacher: whether the teacher knows nothing, which the first line says.
    """

    blessed: bool
    verdict: Verdict
    checks: list[Check]
    tflite: list[str]
    remarks: list[str] = []
    weak_teacher: bool = False


class Report(Evidence):
    """report.json."""

    gate: GateResult
