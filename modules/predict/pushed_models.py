"""Pushed models: which versions a directory means, and what the manifest says of their files.

    <destination>/saved_model/<version>/saved_model.pb ...
    <destination>/tflite/<version>/model.tflite, model_<variant>.tflite ..., manifest.json

Nothing heavy is imported: a wrong directory is refused before TensorFlow is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from modules.errors import ConfigError, ModelError
from modules.push.files import is_url
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest, TFLiteFile

_SAVED_MODEL_FILE = "saved_model.pb"
_IDENTITY = {"scale": 1.0, "zero_point": 0}
_PUSHED = "pushed"  # in a run's output directory
_WANTED = "give a run's output directory, the destination that it pushed to, or a version there"


@dataclass(frozen=True)
class PushedModel:
    """One file, or one SavedModel, that can be asked.

    Attributes:
      format: `saved_model` or `tflite`.
      version: Name of the version's directory.
      path: The SavedModel's directory, or the TFLite file.
      labels: Class names in the order of the logits; None if there is no manifest.
      file: What the manifest says of the TFLite file; None for a SavedModel.
      input_shape: `(height, width, channels)` of the pixels; None if there is no manifest.
    """

    format: str
    version: str
    path: Path
    labels: tuple[str, ...] | None
    file: TFLiteFile | None = None
    input_shape: tuple[int, int, int] | None = None

    @property
    def title(self) -> str:
        """Format and, for TFLite, variant."""
        return f"{self.format} {self.file.variant}" if self.file else self.format


def find_models(
    directory: str, wanted: str | None = None, variant: str | None = None
) -> list[PushedModel]:
    """The newest version of each format at a destination, or the one version that is named.

    Args:
      directory: A push destination, a version below it, or a run's output directory.
      wanted: One format alone; None is every format that is there.
      variant: The TFLite variant; None is the one that is `model.tflite`.

    Raises:
      ConfigError: The directory holds no such model.
      ModelError: A manifest is damaged, or a file is not the one that its manifest describes.
    """
    found = _newest_versions(directory)
    if not found:
        raise ConfigError(
            f"--model must have a pushed version, but {directory} has none; {_WANTED} (nothing "
            "is pushed of a student that was refused)"
        )
    if wanted and wanted not in found:
        raise ConfigError(f"--format {wanted}: {directory} has only {', '.join(found)}")
    if variant and TFLITE not in ([wanted] if wanted else found):
        raise ConfigError(f"--variant {variant}: only TFLite has variants; ask for that format")
    return [
        _tflite(path, variant) if form == TFLITE else _saved_model(path)
        for form, path in found.items()
        if wanted in (None, form)
    ]


def _newest_versions(directory: str) -> dict[str, Path]:
    """The version's directory by format."""
    path = Path(directory)
    if is_url(directory) or not path.is_dir():
        raise ConfigError(f"--model must be a local directory, but {directory} is none; {_WANTED}")
    # `..` and links would hide the version's name and its neighbours.
    path = path.resolve()
    if (path / _SAVED_MODEL_FILE).is_file():
        return {SAVED_MODEL: path}
    if (path / MANIFEST_FILE).is_file() or any(path.glob("*.tflite")):
        return {TFLITE: path}
    for destination in (path, path / _PUSHED):
        found: dict[str, Path] = {}
        for form in (SAVED_MODEL, TFLITE):
            versions = list(_versions(destination / form))
            if versions:
                found[form] = max(versions, key=lambda version: int(version.name))
        if found:
            return found
    return {}


def _versions(directory: Path) -> Iterator[Path]:
    entries = directory.iterdir() if directory.is_dir() else ()
    return (each for each in entries if each.name.isascii() and each.name.isdigit())


def _saved_model(path: Path) -> PushedModel:
    """With the class names of the manifest of the same version, if there is one."""
    beside = path.parents[1] / TFLITE / path.name / MANIFEST_FILE
    if not beside.is_file():
        return PushedModel(SAVED_MODEL, path.name, path, labels=None)
    manifest = read_manifest(beside)
    return PushedModel(
        SAVED_MODEL, path.name, path, tuple(manifest.labels), input_shape=_image_shape(manifest)
    )


def _tflite(path: Path, variant: str | None) -> PushedModel:
    manifest = read_manifest(path / MANIFEST_FILE)
    files = {each.variant: each for each in manifest.tflite}
    if variant is not None and variant not in files:
        raise ConfigError(f"--variant must be one of {', '.join(files)} in {path}, got {variant!r}")
    described = files[variant or manifest.variant]
    file = path / described.file
    _check_content(file, described.sha256)
    shape = _image_shape(described)
    if shape is None or described.output.get("shape") != [1, len(manifest.labels)]:
        raise ModelError(
            f"{path / MANIFEST_FILE} must describe raw uint8 pixels in and a logit for each of "
            f"{len(manifest.labels)} labels out, but {described.file} has {described.input} and "
            f"{described.output}; push the model again"
        )
    return PushedModel(TFLITE, path.name, file, tuple(manifest.labels), described, shape)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a pushed TFLite version.

    Raises:
      ModelError: It is missing or damaged.
    """
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
        raise ModelError(
            f"the manifest {path} cannot be read ({reason}); push the model again"
        ) from error


def _image_shape(described: TFLiteFile) -> tuple[int, int, int] | None:
    """`(height, width, channels)`; None unless the file takes raw pixels of one image."""
    shape, quantization = described.input.get("shape"), described.input.get("quantization")
    raw = described.input.get("dtype") == "uint8" and quantization in (None, _IDENTITY)
    if not raw or not isinstance(shape, list) or len(shape) != 4 or shape[0] != 1:
        return None
    _, height, width, channels = shape
    return height, width, channels


def _check_content(file: Path, sha256: str) -> None:
    try:
        with file.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{file} cannot be read ({error.strerror}); push the model again"
        ) from error
    if actual != sha256:
        raise ModelError(
            f"{file} must be the file that its manifest describes, but its sha256 is {actual} "
            f"instead of {sha256}; push the model again"
        )
