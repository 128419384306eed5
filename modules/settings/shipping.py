"""`export` and `push`: which files are made, and where they go."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
)

from modules.settings.base import Int8Input, PathOrUrl, Settings, TFLiteVariant


class ExportSettings(Settings):
    """The TFLite files that are made from the student."""

    tflite: tuple[TFLiteVariant, ...] = Field(
        ("float32", "int8"),
        description="variants to export; `float32`, on which speed is compared, must be one",
    )
    quantization: Literal["post", "aware"] = Field(
        "post",
        description="how int8 comes about: `post`: after training; `aware`: in the last quarter of "
        "their epochs student and control feel what int8 will round, and the best of these is kept",
    )
    int8_input: Int8Input = Field(
        "uint8",
        description="how the file int8 takes an image: `uint8`: raw pixels, as all others do; "
        "`int8`: each pixel minus 128",
    )
    calibration_examples: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="training examples, balanced over the classes, that calibrate int8 and check "
        "every file",
    )

    @field_validator("quantization")
    @classmethod
    def _int8_is_made(cls, quantization: str, info: ValidationInfo) -> str:
        variants = info.data.get("tflite")
        if quantization == "aware" and variants is not None and "int8" not in variants:
            raise ValueError(
                f"must be post when export.tflite has no int8, got aware with {list(variants)}; "
                "add int8 to export.tflite"
            )
        return quantization

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

    project: str = Field(min_length=1, description="Google Cloud project")
    region: str = Field(min_length=1, description="for example `europe-west4`")
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
