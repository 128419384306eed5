"""`data`: where examples come from, and how they are split."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from modules.settings.base import EMBEDDED, Fraction, PathOrUrl, Settings
from modules.settings.checks import CheckSettings
from modules.settings.features import FeatureSettings


def _form_of_weights(value: Any) -> str | None:
    return "each" if isinstance(value, dict) else "auto" if value == "auto" else None


_ClassWeights = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    # Strict: YAML reads `yes` as true, which would count as 1.
    | Annotated[dict[str, Annotated[float, Field(gt=0, le=1_000_000, strict=True)]], Tag("each")],
    Discriminator(
        _form_of_weights,
        custom_error_type="class_weights",
        custom_error_message="must be auto or a weight for each class, such as {cat: 1, dog: 2.5}",
    ),
]


class RecordedExamples(Settings):
    """The newest Examples artifact that another TFX pipeline has recorded in its ML Metadata."""

    metadata: PathOrUrl = Field(description="its SQLite file, `metadata.sqlite` or `metadata.db`")
    pipeline: str = Field(min_length=1, description="name of the pipeline")
    node: str | None = Field(
        None, min_length=1, description="node that made them; null: the only one that has"
    )


class DataSettings(Settings):
    """Where the examples come from, what in them is what, and how they are split."""

    source: str = Field(
        "digits",
        description="`digits`: 1,797 handwritten digits, 8x8, which come with scikit-learn; "
        "`image_folder`: your own image files; `csv`, `parquet`, `tfrecord`: your own files; "
        "`examples`: the Examples of another TFX pipeline; `bigquery`: the rows of a query",
    )
    path: PathOrUrl | None = Field(
        None,
        description="a file, a directory or a pattern such as `data/*.csv` or "
        "`days/{SPAN}/*.csv`; of `image_folder` a directory with one sub-folder per class; of "
        "`examples` the artifact's directory; `embedded:segments.parquet` and the like come with "
        "the project",
    )
    produced_by: RecordedExamples | None = Field(
        None, description="of the source `examples`, instead of `path`: where they are recorded"
    )
    query: str | None = Field(
        None, min_length=1, max_length=1_000_000, description="SQL of the source `bigquery`"
    )
    label: str | None = Field(
        None, min_length=1, description="the feature to predict; folders and digits have their own"
    )
    positive: str | None = Field(
        None, description="of a binary task, the class that counts as positive; null: the second"
    )
    classes: tuple[str, ...] = Field(
        (), description="names of the classes 0, 1, ... of integer labels; default: the values"
    )
    rename: dict[str, str] = Field(
        {},
        description="our names of features to those in the files, for example "
        "`{image: image/encoded, label: image/class/label}`",
    )
    features: dict[str, FeatureSettings] = Field(
        {},
        description="what the models take, by name; default: all features, of the kinds that their "
        "statistics suggest",
    )
    exclude: tuple[str, ...] = Field((), description="features that the models do not take")
    id: str | None = Field(
        None, min_length=1, description="a feature that identifies the example; null: its content"
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="a feature, for example of a patient or a camera: examples that share its "
        "value fall into the same split",
    )
    weight: str | None = Field(
        None, min_length=1, description="a feature that weights the example, above 0"
    )
    class_weights: _ClassWeights | None = Field(
        None,
        description="weights of the classes in training; `auto`: inverse to their frequency",
    )
    splits: dict[Literal["train", "eval", "unlabeled"], str] = Field(
        {},
        description="your own splits: a pattern below `path` for each of `train` and `eval`, and "
        "perhaps `unlabeled`; default: by a hash of the content",
    )
    unlabeled: PathOrUrl | None = Field(
        None, description="further examples without label, as `path`; of the same source"
    )
    max_labels: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="use the labels of at most so many training examples, chosen by a hash; the "
        "others count as unlabeled. Shows what more or fewer labels are worth; null: all",
    )
    time: str | None = Field(
        None, min_length=1, description="a feature with a date or time, for `eval_from`"
    )
    eval_from: str | None = Field(
        None,
        min_length=1,
        description="examples whose `time` is this or later are kept for the judgment",
    )
    eval_fraction: Fraction = Field(
        0.2, description="share of all examples that is kept for the judgment"
    )
    validation_fraction: Fraction = Field(
        0.1, description="share of the training split that is held out for early stopping"
    )
    split_seed: int = Field(
        0, ge=0, lt=2**53, description="another seed gives another train/eval split"
    )
    schema_file: PathOrUrl | None = Field(
        None, description="a curated `schema.pbtxt`; null: inferred from the training examples"
    )
    checks: CheckSettings = CheckSettings()
    preprocessing_fn: PathOrUrl | None = Field(
        None,
        min_length=1,
        description="`package.module:function` or `file.py:function`, a TFX preprocessing_fn, "
        "instead of `features`",
    )

    @model_validator(mode="before")
    @classmethod
    def _digits_are_images(cls, content: Any) -> Any:
        """The size of the digits is known."""
        if isinstance(content, dict) and content.get("source", "digits") == "digits":
            image = {"kind": "image", "size": 8, "channels": 1}
            if not content.get("preprocessing_fn"):
                return {"features": {"image": image}} | content
        return content

    @property
    def external_path(self) -> str | None:
        """`path`, unless it names data that are part of the project."""
        return None if (self.path or "").startswith(EMBEDDED) else self.path

    @field_validator("preprocessing_fn")
    @classmethod
    def _features_or_function(cls, function: str | None, info: ValidationInfo) -> str | None:
        if function and info.data.get("features"):
            raise ValueError(
                f"must not be set together with features, got {function!r}; remove one of the two"
            )
        return function

    @field_validator("eval_from", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        """YAML reads 2024-03-31 as a date and 2024 as a number."""
        return str(value) if isinstance(value, datetime.date | int | float) else value
