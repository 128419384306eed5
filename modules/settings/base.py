"""What all sections have in common: the base class and the types of values."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationInfo,
    field_validator,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]


def _path(text: str) -> str:
    """`~` is the home directory, as in a shell; others are relative to where a command is given."""
    if not text:
        raise ValueError("must be a path or a URL, got an empty text; name one, or use null")
    return os.path.expanduser(text)


PathOrUrl = Annotated[str, AfterValidator(_path)]
TFLiteVariant = Literal["float32", "float16", "dynamic_range", "int8"]
Interval = tuple[FiniteFloat, FiniteFloat]
Strategy = Literal["auto", "mirrored", "multi_worker"]
Task = Literal["classification", "binary", "multilabel", "regression"]
MOST_TEACHERS = 8
# What `data.path` begins with when the data are part of the project.
EMBEDDED = "embedded:"


class Settings(BaseModel):
    """Base of every configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes` and `true` would count as 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError(f"must be a number, got {str(value).lower()}")
        return value
