"""What all sections have in common: the base class and the types of values."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Fraction = Annotated[float, Field(gt=0, lt=1)]


def _path(text: str) -> str:
    """`~` is the home directory, as in a shell; others are relative to where a command is given."""
    if not text:
        raise ValueError("must be a path or a URL, got an empty text; name one, or use null")
    if text != (clean := "".join(each for each in text if each.isprintable())):
        raise ValueError(f"must not contain control characters, got {text!r}; write {clean!r}")
    return os.path.expanduser(text)


PathOrUrl = Annotated[str, AfterValidator(_path)]
TFLiteVariant = Literal["float32", "float16", "dynamic_range", "int8"]
Int8Input = Literal["uint8", "int8"]
Strategy = Literal["auto", "mirrored", "multi_worker"]
Task = Literal["classification", "binary", "multilabel", "regression"]
MOST_TEACHERS = 8
LONGEST_TEXT = 10_000
# Wide enough for any measure and any loss, so that a sum of a few stays finite.
Measure = Annotated[float, Field(ge=-1e300, le=1e300)]
# What `data.path` begins with when the data are part of the project.
EMBEDDED = "embedded:"


# `package.module:function`
USERS_FUNCTION = r"^\w+(\.\w+)*:\w+$"


def of_pattern(pattern: str, rule: str) -> Any:
    """Of a text: the pattern that it matches, and what is said of one that does not."""
    return Field(pattern=pattern, json_schema_extra={"rule": rule})


class Settings(BaseModel):
    """Base of every configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=LONGEST_TEXT
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes` and `true` would count as 1."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and bool not in kinds:
            for each in _leaves(value):
                if isinstance(each, bool):
                    raise ValueError(f"must be a number, got {str(each).lower()}")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type, and all those in it."""
    yield annotation if isinstance(annotation, Hashable) else None
    for each in get_args(annotation):
        # A Literal[1, 3] is of numbers too.
        yield from _kinds(type(each) if isinstance(each, int) else each)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value
