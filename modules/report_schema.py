"""The schema of report.json, for writing as for reading."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from modules.gate import GateResult

SCHEMA_VERSION = 1


def _null_unless_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# JSON has no NaN. The loss of a diverged model becomes null, and its report can still be read.
Measured = Annotated[float | None, BeforeValidator(_null_unless_finite)]


class Part(BaseModel):
    """Base of all parts: every key is needed unless it has a default, and no other is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(Part):
    """As `modules.latency.Timing.summary` returns it: milliseconds, inferences per second."""

    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    throughput: Positive
    runtime: str
    threads: int = Field(ge=1)


class Entry(Part):
    """One model on the eval split; `size_bytes` of its SavedModel directory or its TFLite file."""

    accuracy: Share
    loss: Measured
    ece: Measured
    parameters: int = Field(ge=0)
    size_bytes: int = Field(gt=0)
    latency: Latency | None


class Variant(Entry):
    """One TFLite file of the student; `compression` is against the teacher's float32 file."""

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    compression: Positive


class Speedup(Part):
    """As `modules.latency.speedup` returns it: teacher time / student time."""

    median: Positive
    ci_low: Positive
    ci_high: Positive
    confidence: Share
    runtime: str


class Comparison(Part):
    """The student against its teacher and its control; see `compare`."""

    accuracy_change: float
    agreement: Share
    distillation_gain: float | None
    speedup: Speedup | None
    compression: Positive


class ClassAccuracy(Part):
    """One class of the eval split; accuracies are null where it has no example."""

    label: str
    count: int = Field(ge=0)
    teacher_accuracy: Measured
    student_accuracy: Measured


class Examples(Part):
    """Number of examples that judged."""

    eval: int = Field(ge=1)


class Push(Part):
    """What is pushed once blessed: names of TFLite variants."""

    tflite: list[str]


class Environment(Part):
    """Where it was measured; see `environment`."""

    versions: dict[str, str | None]
    platform: str
    cpu: str
    cpu_count: int = Field(ge=1)
    accelerators: list[str]


class Evidence(Part):
    """Everything in a report but the verdict."""

    schema_version: Literal[1] = 1
    labels: list[str]
    examples: Examples
    teacher: Entry
    student: Entry
    control: Entry | None
    variants: dict[str, Variant]
    per_class: list[ClassAccuracy]
    comparison: Comparison
    push: Push
    environment: Environment
    config: dict[str, Any]


class Report(Evidence):
    """report.json."""

    gate: GateResult
