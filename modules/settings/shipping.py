"""`export` and `push`: which files are made, and where they go."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import (
    Field,
    field_validator,
)

from modules.settings.base import PathOrUrl, Settings, TFLiteVariant


class ExportSettings(Settings):
    """The TFLite files that are made from the student. All of them take raw `uint8` pixels."""

    tflite: tuple[TFLiteVariant, ...] = Field(
        ("float32", "int8"),
        description="variants to export; `float32`, on which speed is compared, must be one",
    )
    calibration_examples: int = Field(
        200,
        ge=1,
        le=100_000,
        description="training examples, balanced over the classes, that calibrate int8 and check "
        "every file",
    )

    @field_validator("tflite")
    @classmethod
    def _variants_differ(cls, variants: tuple[TFLiteVariant, ...]) -> tuple[TFLiteVariant, ...]:
        if len(set(variants)) != len(variants):
            raise ValueError(
                f"must name each variant once, got {list(variants)}; remove the repeated ones"
            )
        if "float32" not in variants:
            # Timing needs the student in the teacher's format.
            raise ValueError(
                "must include float32, on which teacher and student are timed, "
                f"got {list(variants)}; add float32"
            )
        return variants


class VertexRegistrySettings(Settings):
    """Registration of the pushed SavedModel in the Vertex AI Model Registry."""

    project: str = Field(description="Google Cloud project")
    region: str = Field(description="for example `europe-west4`")
    display_name: str | None = Field(
        None, description="name shown in the registry; null: the pipeline's name"
    )
    serving_image: str = Field(
        "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest",
        description="container image that serves the SavedModel",
    )


class PushSettings(Settings):
    """What is pushed, and where to."""

    tflite: Literal["smallest", "fastest"] | tuple[TFLiteVariant, ...] = Field(
        "smallest",
        description="the smallest or fastest of the variants that pass; or a list of variants, "
        "all of which must pass",
    )
    destination: PathOrUrl | None = Field(
        None,
        description="a directory, or a URL such as `s3://bucket/models`; null: `pushed/` in the "
        "output directory",
    )
    keep: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="number of versions to keep at the destination; null: all",
    )
    vertex: VertexRegistrySettings | None = Field(
        None, description="also register the SavedModel in Vertex AI; null: do not"
    )

    @field_validator("tflite", mode="before")
    @classmethod
    def _choice_or_names(cls, tflite: Any) -> Any:
        if tflite in ("smallest", "fastest"):
            return tflite
        names = [tflite] if isinstance(tflite, str) else tflite
        known = get_args(TFLiteVariant)
        listed = isinstance(names, list | tuple) and names and all(name in known for name in names)
        if not listed or len(set(names)) != len(names):
            raise ValueError(
                f"must be smallest, fastest or a list of {', '.join(known)}, each at most once, "
                f"got {tflite!r}"
            )
        return names

    @field_validator("destination")
    @classmethod
    def _destination_is_named(cls, destination: str | None) -> str | None:
        if destination is not None and not destination.strip():
            raise ValueError(
                "must be a directory or a URL, got an empty string; "
                "remove the key to push to pushed/ in the output directory"
            )
        return destination
