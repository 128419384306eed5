"""`distill` and `augment`: the student's training loss and its views of the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    model_validator,
)

from modules.settings.base import Settings
from modules.settings.models import ModelSettings


class MethodSettings(Settings):
    """One distillation loss. Besides these keys, some methods have settings of their own.

    The names, customary weights and settings of the methods are in `modules.distill.methods`.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="a method of docs/methods.md, for example `soft_target`")
    weight: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="weight of the loss; null: the method's customary weight",
    )
    warmup_epochs: int = Field(
        0, ge=0, le=1_000_000, description="epochs over which the weight rises linearly from 0"
    )
    temperature: float | None = Field(
        None, gt=0, le=1000, description="temperature of this method; null: `distill.temperature`"
    )
    final_temperature: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="temperature at the last epoch, reached along half a cosine; null: constant",
    )
    student_layer: str | None = Field(
        None, description="feature methods: the student's layer to compare"
    )
    teacher_layer: str | None = Field(
        None, description="feature methods: the teacher's layer to compare it with"
    )


_AUTO = "auto"
Chosen = Literal["alpha", "temperature", "methods"]
_CHOSEN: tuple[Chosen, ...] = ("alpha", "temperature", "methods")
MOST_ASSISTANTS = 10


class DistillSettings(Settings):
    """The training loss of the student: `alpha * L_hard + (1 - alpha) * sum of weight * method`.

    `alpha: auto`, `temperature: auto` and `methods: auto` let the validation part choose, with the
    labels alone among the candidates; see `search`.
    """

    alpha: float = Field(
        0.1,
        ge=0,
        le=1,
        description="weight of the **hard-label** loss; 1 - alpha: distillation; or `auto`",
    )
    temperature: float = Field(
        4.0,
        gt=0,
        le=1000,
        description="divides the logits of teacher and student before the softmax; or `auto`",
    )
    methods: tuple[MethodSettings, ...] = Field(
        ({"name": "soft_target"},),
        validate_default=True,
        description="the distillation losses, added with their weights; or `auto`",
    )
    auto: tuple[Chosen, ...] = Field(
        (), description="which of these three are `auto`; the candidates begin with their defaults"
    )
    soft_targets: Literal["cached", "online"] = Field(
        "cached",
        description="`cached`: the teacher's logits are computed once and shared by all students; "
        "`online`: in every step, which feature methods and mixup need",
    )
    views: int = Field(
        1, ge=1, le=1000, description="augmented views of each example to cache; needs `augment`"
    )
    top_k: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="cache the k largest logits only, and spread the rest evenly; null: all",
    )
    assistants: tuple[ModelSettings, ...] = Field(
        (),
        max_length=MOST_ASSISTANTS,
        description="models between teacher and student, largest first: the teacher teaches the "
        "first, each teaches the next, the last teaches the student",
    )
    generations: int = Field(
        1,
        ge=1,
        le=100,
        description="above 1, each student teaches the next one (born-again networks)",
    )
    control: bool = Field(
        True,
        description="also train the same student, with the same seed, without the teacher",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_auto_out(cls, given: Any) -> Any:
        """A key that is `auto` has its default, and its name stands in `auto`."""
        if not isinstance(given, Mapping):
            return given
        chosen = [name for name in _CHOSEN if _is_auto(given.get(name))]
        if not chosen:
            return given
        fixed = {name: value for name, value in given.items() if name not in chosen}
        listed = given.get(_AUTO, ())
        return {**fixed, _AUTO: [*listed, *(name for name in chosen if name not in listed)]}


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == _AUTO


class AugmentSettings(Settings):
    """Random changes of training images, each a function of the example, the view and the seed."""

    pad_crop: int = Field(
        0,
        ge=0,
        le=1000,
        description="pixels to pad on every side before a random crop of the old size",
    )
    flip: bool = Field(False, description="mirror left and right at random")
    cutout: int = Field(
        0, ge=0, le=1000, description="side of a gray square at a random place, in pixels"
    )
    mixup: float = Field(
        0, ge=0, le=0.5, description="largest share of another image that is mixed in"
    )

    @property
    def active(self) -> bool:
        """Whether any image is changed."""
        return self != AugmentSettings()
