"""`evaluate`, `latency` and `gate`: what is measured, and what must be reached."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modules.settings.base import Fraction, Measure, Settings


class EvaluateSettings(Settings):
    """What the student is judged on, besides latency."""

    confidence: Fraction = Field(
        0.95, description="confidence level of every interval in the report"
    )
    top_k: tuple[Annotated[int, Field(ge=2, le=100_000)], ...] = Field(
        (3,),
        description="also report how often the label is among the k most probable classes; of more "
        "than k classes",
    )
    slices: tuple[tuple[str, ...], ...] = Field(
        (("class_name",),),
        description="features to slice by, alone or crossed: `[class_name, [site, camera]]`; by "
        "class only where an example has one",
    )
    disagreements: int = Field(
        24, ge=0, le=10_000, description="examples to show on which teacher and student differ"
    )
    canary_examples: int = Field(
        16,
        ge=1,
        le=10_000,
        description="eval examples that every file must answer alike in a fresh process",
    )
    memory_limit_mb: int = Field(
        4096, ge=256, le=1_000_000, description="memory of such a process, in MiB"
    )
    time_limit_s: float = Field(
        120.0, gt=0, le=86_400, description="time for such a process, in seconds"
    )

    @field_validator("top_k")
    @classmethod
    def _counts_differ(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(counts)) != len(counts):
            raise ValueError(f"must name each number once, got {list(counts)}; remove the repeated")
        return counts

    @field_validator("slices", mode="before")
    @classmethod
    def _one_name_is_a_slice(cls, slices: Any) -> Any:
        if isinstance(slices, list | tuple):
            return [[each] if isinstance(each, str) else each for each in slices]
        return slices

    @field_validator("slices")
    @classmethod
    def _slices_name_features(cls, slices: tuple[tuple[str, ...], ...]) -> Any:
        for features in slices:
            if not features or len(set(features)) != len(features):
                raise ValueError(
                    f"must list names of features, each once, got "
                    f"{[list(each) for each in slices]}; for example [[class_name]]"
                )
        return slices


class LatencySettings(Settings):
    """How models are timed: in interleaved blocks, in several fresh processes."""

    engine: Literal["blocks", "loadgen"] = Field(
        "blocks",
        description="`blocks`: built-in interleaved blocks; `loadgen`: MLPerf LoadGen, for single "
        "examples",
    )
    processes: int = Field(
        5,
        ge=3,
        le=100,
        description="fresh processes that time all models; the bootstrap resamples them, and of "
        "fewer than three nothing can be concluded",
    )
    blocks: int = Field(10, ge=2, le=10_000, description="blocks per model and process")
    queries_per_block: int = Field(50, ge=10, le=100_000, description="inferences per block")
    warmup_queries: int = Field(
        20, ge=1, le=100_000, description="inferences per model before anything is timed"
    )
    batch_size: int = Field(
        32, ge=2, le=65_536, description="examples per query when throughput is measured"
    )
    threads: int = Field(
        1, ge=1, le=1024, description="threads of the runtime, the same for every model"
    )
    saved_model: bool = Field(
        False, description="also time the SavedModels; a limit of the gate on their times does so"
    )


class Limit(Settings):
    """A limit on one number of report.json, judged on the bound of its confidence interval."""

    number: str = Field(
        description="dotted name, for example `student.ece` or `variants.int8.latency.p99_ms`; "
        "`*` stands for every variant"
    )
    min: Measure | None = Field(None, description="the number must reach this")
    max: Measure | None = Field(None, description="the number must not exceed this")
    against: Literal["teacher", "control", "student", "pushed"] | None = Field(
        None,
        description="judge the difference from that model's number; `pushed` is the last pushed "
        "student",
    )
    relative: bool = Field(
        False, description="with `against`: judge the ratio instead of the difference"
    )
    slice: dict[str, str] | None = Field(
        None, description='judge these examples alone, for example `{class_name: "3"}`'
    )

    @field_validator("max")
    @classmethod
    def _min_is_below_max(cls, most: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get("min")
        if least is not None and most is not None and least > most:
            raise ValueError(f"must not be below min, {least:g}, got {most:g}")
        return most

    @field_validator("relative")
    @classmethod
    def _relative_to_something(cls, relative: bool, info: ValidationInfo) -> bool:
        if relative and info.data.get("against", "") is None:
            raise ValueError("needs against, the model whose number divides; set against")
        return relative

    @model_validator(mode="after")
    def _limits_something(self) -> Limit:
        if self.min is None and self.max is None:
            raise ValueError(f"the limit of {self.number} must set min, max or both")
        return self


class GateSettings(Settings):
    """What the student must reach. At least one limit must be set; null is not checked.

    `min_` and `max_` are short forms of the most common `limits`. Those of accuracy are for classes
    and labels, of RMSE for `regression`, of ROC AUC for `binary` and `multilabel`. Times are those
    of the TFLite files that ship.
    """

    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="lowest accuracy of the student on the eval split"
    )
    max_accuracy_drop: float | None = Field(
        None, ge=0, le=1, description="largest teacher accuracy - student accuracy"
    )
    max_tflite_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest student accuracy - TFLite accuracy, of every variant",
    )
    min_roc_auc: float | None = Field(
        None, ge=0, le=1, description="lowest area under the student's ROC curve"
    )
    max_roc_auc_drop: float | None = Field(
        None, ge=0, le=1, description="largest teacher ROC AUC - student ROC AUC"
    )
    max_rmse: float | None = Field(
        None,
        gt=0,
        le=1e300,
        description="largest root mean square error of the student, in the label's unit",
    )
    max_rmse_increase: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="largest increase of the RMSE over the teacher's, as a share of it: 0.1 is "
        "10 % worse",
    )
    max_tflite_rmse_increase: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="largest increase of the RMSE over the student's, as a share of it, of every "
        "TFLite variant",
    )
    min_speedup: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="lowest teacher time / time of a TFLite file that is pushed, on LiteRT, for "
        "single examples; the teacher's file is float32",
    )
    min_distillation_gain: Measure | None = Field(
        None,
        description="lowest gain over the control: accuracy of student - control; of a regression "
        "RMSE of control - student",
    )
    max_size_bytes: int | None = Field(
        None, ge=1, le=10**13, description="largest size of a TFLite file that is pushed"
    )
    limits: tuple[Limit, ...] = Field((), description="limits on any number of the report")
    allow_below_control: bool = Field(
        False,
        description="bless a student, too, that is worse than its control for certain: whose "
        "interval of the gain lies below 0",
    )

    @classmethod
    def limit_names(cls) -> list[str]:
        """The keys that set a limit."""
        return [name for name in cls.model_fields if name != "allow_below_control"]

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set; one of 0 is a limit."""
        return any(getattr(self, name) not in (None, ()) for name in self.limit_names())
