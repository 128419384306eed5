"""Kinds of input features, and how each is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
)

from modules.settings.base import PathOrUrl, Settings


def _form_of_size(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "pair"
    return "number" if isinstance(value, int) and not isinstance(value, bool) else None


_Side = Annotated[int, Field(ge=1, le=4096)]
# The form is decided first, so that a mistake is told by the rule of one form, not of both.
_Size = Annotated[
    Annotated[_Side, Tag("number")]
    | Annotated[tuple[_Side, _Side], Field(title="[height, width]"), Tag("pair")],
    Discriminator(
        _form_of_size,
        custom_error_type="size",
        custom_error_message="must be a number of pixels or [height, width]",
    ),
]


class ImageFeature(Settings):
    """An encoded image; the models take its pixels, `uint8 [height, width, channels]`."""

    kind: Literal["image"] = "image"
    size: _Size = Field(description="height and width in pixels; one number means a square")
    resize: Literal["stretch", "pad", "crop"] = Field(
        "stretch",
        description="`stretch`: each side by itself; `pad`: keep the proportions, black borders; "
        "`crop`: keep the proportions, cut from the center",
    )
    channels: Literal[1, 3] = Field(3, description="1 (gray) or 3 (RGB)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width, self.channels


class NumericFeature(Settings):
    """A number; where some are missing, a second input `<name>_missing` says so."""

    kind: Literal["numeric"] = "numeric"
    scale: Literal["standard", "log", "quantile", "none"] = Field(
        "standard",
        description="`standard`: mean 0, deviation 1; `log`: the same of log(1 + x); `quantile`: "
        "the rank among the training examples, 0 to 1; `none`: as it is",
    )


class CategoryFeature(Settings):
    """A string or an integer that names one of several things, or a list of such."""

    kind: Literal["category"] = "category"
    min_count: int = Field(
        1, ge=1, le=10**9, description="rarer values count as unknown; in training examples"
    )
    oov_buckets: int = Field(
        1, ge=1, le=100_000, description="ids that unknown values share, by a hash"
    )
    max_values: int = Field(
        1, ge=1, le=10_000, description="values of one example; further ones are cut off"
    )


class TextFeature(Settings):
    """Text; the models take the ids of its tokens, padded with 0."""

    kind: Literal["text"] = "text"
    tokens: Literal["words", "characters"] = Field(
        "words", description="`words`: in lower case, without punctuation; `characters`"
    )
    length: int = Field(
        128, ge=1, le=100_000, description="number of tokens; longer texts are cut off"
    )
    vocabulary: int = Field(
        10_000, ge=1, le=10_000_000, description="largest number of different tokens"
    )
    min_count: int = Field(1, ge=1, le=10**9, description="rarer tokens count as unknown")
    vocabulary_file: PathOrUrl | None = Field(
        None, description="a file with one token per line instead of those of the data"
    )


def _kind_of(feature: Any) -> str | None:
    return feature.get("kind") if isinstance(feature, dict) else getattr(feature, "kind", None)


FeatureSettings = Annotated[
    Annotated[ImageFeature, Tag("image")]
    | Annotated[NumericFeature, Tag("numeric")]
    | Annotated[CategoryFeature, Tag("category")]
    | Annotated[TextFeature, Tag("text")],
    # Not the field itself: pydantic allows it no validator, and ours covers all fields.
    Discriminator(_kind_of),
]
