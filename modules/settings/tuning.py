"""`tune`: a search for hyperparameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from modules.settings.base import Settings

# Of what can be configured; a logarithmic scale needs numbers above 0.
_Temperature = Annotated[float, Field(gt=0, le=1000)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Rate = Annotated[float, Field(gt=0, le=1000)]
_Weight = Annotated[float, Field(gt=0, le=1_000_000)]


class TuneSettings(Settings):
    """A search for the student's hyperparameters. What is not named stays as configured.

    Ranges are `[low, high]`. Those of the learning rate and of the weights are searched on a
    logarithmic scale.
    """

    trials: int = Field(
        10, ge=1, le=10_000, description="number of students that are trained and compared"
    )
    epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="upper bound of a trial; null: `student.train.epochs`"
    )
    temperature: tuple[_Temperature, _Temperature] | None = Field(
        None, description="range of `distill.temperature`"
    )
    alpha: tuple[_Share, _Share] | None = Field(None, description="range of `distill.alpha`")
    learning_rate: tuple[_Rate, _Rate] | None = Field(
        None, description="range of `student.train.learning_rate`"
    )
    method_weights: dict[str, tuple[_Weight, _Weight]] = Field(
        {},
        description="range of each method's weight; hint_2 is the second of several hint",
    )
    parameters: dict[str, tuple[JsonValue, ...]] = Field(
        {},
        description="choices for each of `student.parameters`, for example "
        "`filters: [[8, 16], [16, 32]]`",
    )

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The intervals by dotted name, for example `alpha` or `method_weights.hint`."""
        single = {
            "temperature": self.temperature,
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
        }
        weights = {f"method_weights.{name}": value for name, value in self.method_weights.items()}
        return {name: value for name, value in single.items() if value is not None} | weights

    @model_validator(mode="after")
    def _searches_something(self) -> TuneSettings:
        if not self.intervals and not self.parameters:
            raise ValueError(
                "must search something, or every trial would be the same; set one of "
                "temperature, alpha, learning_rate, method_weights, parameters"
            )
        return self

    @field_validator("temperature", "alpha", "learning_rate", "method_weights")
    @classmethod
    def _ranges_are_in_order(cls, value: Any) -> Any:
        ranges = value if isinstance(value, dict) else {"": value} if value else {}
        for name, (low, high) in ranges.items():
            of = f"{name}: " if name else ""
            if low >= high:
                raise ValueError(
                    f"{of}must be [low, high] with low below high, got [{low:g}, {high:g}]"
                )
        return value

    @field_validator("parameters")
    @classmethod
    def _parameters_have_choices(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name, choices in parameters.items():
            if not choices or any(choice in choices[:at] for at, choice in enumerate(choices)):
                raise ValueError(
                    f"{name}: must list different choices, for example "
                    f"{name}: [[8, 16], [12, 24]], got {list(choices)}"
                )
        return parameters
