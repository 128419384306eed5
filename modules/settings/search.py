"""`search`: which students are tried, and what the best one is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from modules.settings.base import Int8Input, Settings, TFLiteVariant
from modules.settings.judgment import GateSettings, LatencySettings
from modules.settings.models import ModelSettings, TrainSettings

Objective = Literal["smallest", "fastest", "most_accurate"]


class StudentChoice(Settings):
    """A student that may be chosen. What is left out is as in `student`."""

    model: str | None = Field(None, description="its builder; null: `student.model`")
    parameters: dict[str, Any] = Field(
        {},
        description="keyword arguments of the builder; with the builder of `student`, those left "
        "out are `student.parameters`",
    )
    train: TrainSettings | None = Field(
        None, description="keys of `student.train` that are others for this student"
    )

    def settings(self, student: ModelSettings) -> ModelSettings:
        """The whole student, given the configured one."""
        model = self.model or student.model
        inherited = student.parameters if model == student.model else {}
        changed = (
            {name: getattr(self.train, name) for name in self.train.model_fields_set}
            if (self.train)
            else {}
        )
        return ModelSettings(
            model=model,
            parameters=inherited | self.parameters,
            train=student.train.model_copy(update=changed),
        )


class SearchBudget(Settings):
    """What a search may cost."""

    trials: int = Field(
        20,
        ge=1,
        le=10_000,
        description="candidates that are trained; those that break a limit do not count",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="after so many minutes no further training is begun; null: no limit",
    )


class SearchSettings(Settings):
    """A search for the student, by successive halving on the validation part; docs/search.md.

    Candidates that break the gate's limits on size and time are found out untrained. The budget and
    the objective hold for `distill.alpha: auto` and its like, too.
    """

    students: Literal["auto"] | tuple[StudentChoice, ...] | None = Field(
        None,
        description="`auto`: `student` in several widths; or a list; null: `student` alone",
    )
    objective: Objective = Field(
        "smallest",
        description="what the best candidate is: of those that keep the gate's limits on accuracy "
        "or RMSE, or, without such, of those that are not clearly worse than the best",
    )
    budget: SearchBudget = SearchBudget()

    @field_validator("students", mode="before")
    @classmethod
    def _auto_or_list(cls, students: Any) -> Any:
        if students is not None and students != "auto" and not isinstance(students, list | tuple):
            raise ValueError(f"must be auto or a list, got {students!r}")
        return students

    @field_validator("students")
    @classmethod
    def _students_differ(cls, students: Any) -> Any:
        if students == ():
            raise ValueError("must list at least one student, got none; or set it to auto")
        if isinstance(students, tuple):
            for at, each in enumerate(students):
                if each in students[:at]:
                    raise ValueError(
                        f"must list different students, but number {at + 1} repeats number "
                        f"{students.index(each) + 1}; remove it"
                    )
        return students


class SearchPlan(Settings):
    """What the node Search is told; made of the configuration by the graph."""

    students: tuple[ModelSettings, ...] = Field(description="the candidates' models")
    objective: Objective = Field("most_accurate", description="see search.objective")
    budget: SearchBudget = SearchBudget()
    limits: GateSettings = Field(description="the gate's limits that a search can know")
    variants: tuple[TFLiteVariant, ...] = Field(description="the TFLite files of a student")
    needed: tuple[TFLiteVariant, ...] = Field((), description="without which it cannot ship")
    pushed: tuple[TFLiteVariant, ...] = Field((), description="those that `push.tflite` names")
    int8_input: Int8Input = Field("uint8", description="see export.int8_input")
    latency: LatencySettings = LatencySettings()
