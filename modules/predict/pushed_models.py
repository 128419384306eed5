"""Pushed models: the versions that a directory stands for, and their files by the manifest.

Nothing heavy is imported: a wrong directory is reported before TensorFlow loads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from modules import files
from modules.errors import ConfigError, ModelError
from modules.push.destination import KINDS, PUSHED, SAVED_MODEL_FILE, read_manifest
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest, TFLiteFile
from modules.push.publish import open_destination

_IDENTITY = {"scale": 1.0, "zero_point": 0}
_WANTED = "give a run's output directory, the destination that it pushed to, or a version there"


@dataclass(frozen=True)
class PushedModel:
    """A SavedModel or a TFLite file to ask.

    Attributes:
      format: `saved_model` or `tflite`.
      version: Name of the version's directory.
      path: The SavedModel's directory, or the TFLite file; a local path or a URL.
      labels: Class names in the order of the logits; None if there is no manifest.
      file: What the manifest says of the TFLite file; None for a SavedModel.
      input_shape: `(height, width, channels)` of the pixels; None if there is no manifest.
    """

    format: str
    version: str
    path: str
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
      directory: A push destination, a version below it, or a run's output directory; local or a
        URL.
      wanted: One format alone; None is every format that is there.
      variant: The TFLite variant; None is that of `model.tflite`.

    Raises:
      ConfigError: The directory holds no such model.
      ModelError: A manifest is damaged, or a file is not the one that its manifest describes.
      UserError: The directory cannot be read.
    """
    with open_destination(directory).failures_explained():
        found = _newest_versions(directory)
        if not found:
            raise ConfigError(
                f"--model must have a pushed version, but {directory} has none; {_WANTED} (a "
                "student that was refused is not pushed)"
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


def _newest_versions(directory: str) -> dict[str, str]:
    """The version's directory by format."""
    if not files.is_url(directory):
        if not os.path.isdir(directory):
            raise ConfigError(
                f"--model must be a directory or a URL, but {directory} is neither; {_WANTED}"
            )
        # `..` and links would hide the version's name and its neighbors.
        directory = os.path.realpath(directory)
    directory = directory.rstrip("/")
    names = files.entries(directory)
    if SAVED_MODEL_FILE in names:
        return {SAVED_MODEL: directory}
    if MANIFEST_FILE in names or any(name.endswith(".tflite") for name in names):
        return {TFLITE: directory}
    for base in (directory, f"{directory}/{PUSHED}"):
        target = open_destination(base)
        numbers = {kind: target.numbers(kind) for kind in KINDS}
        if any(numbers.values()):
            return {kind: target.directory(kind, of[-1]) for kind, of in numbers.items() if of}
    return {}


def _saved_model(path: str) -> PushedModel:
    """With the class names of the manifest of the same version, if there is one."""
    base, _, version = path.rpartition("/")
    beside = f"{base.rpartition('/')[0]}/{TFLITE}/{version}"
    if not files.exists(f"{beside}/{MANIFEST_FILE}"):
        return PushedModel(SAVED_MODEL, version, path, labels=None)
    manifest = _manifest(beside)
    for name, digest in manifest.saved_model.files.items():
        _check_content(f"{path}/{name}", digest)
    return PushedModel(
        SAVED_MODEL, version, path, tuple(manifest.labels), input_shape=_image_shape(manifest)
    )


def _tflite(path: str, variant: str | None) -> PushedModel:
    manifest = _manifest(path)
    by_variant = {each.variant: each for each in manifest.tflite}
    if variant is not None and variant not in by_variant:
        raise ConfigError(
            f"--variant must be one of {', '.join(by_variant)} in {path}, got {variant!r}"
        )
    described = by_variant[variant or manifest.variant]
    file = f"{path}/{described.file}"
    _check_content(file, described.sha256)
    shape = _image_shape(described)
    if shape is None or described.output.get("shape") != [1, len(manifest.labels)]:
        raise ModelError(
            f"{path}/{MANIFEST_FILE} must describe raw uint8 pixels in and a logit for each of "
            f"{len(manifest.labels)} labels out, but {described.file} has {described.input} and "
            f"{described.output}; push the model again"
        )
    version = path.rpartition("/")[2]
    return PushedModel(TFLITE, version, file, tuple(manifest.labels), described, shape)


def _manifest(directory: str) -> Manifest:
    manifest = read_manifest(directory)
    if isinstance(manifest, str):
        raise ModelError(f"{manifest.removesuffix('.')}; push the model again")
    return manifest


def _image_shape(described: TFLiteFile) -> tuple[int, int, int] | None:
    """`(height, width, channels)`; None unless the file takes raw pixels of one image."""
    shape, quantization = described.input.get("shape"), described.input.get("quantization")
    raw = described.input.get("dtype") == "uint8" and quantization in (None, _IDENTITY)
    if not raw or not isinstance(shape, list) or len(shape) != 4 or shape[0] != 1:
        return None
    _, height, width, channels = shape
    return height, width, channels


def _check_content(file: str, sha256: str) -> None:
    try:
        actual = files.sha256(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error}); push the model again") from error
    if actual != sha256:
        raise ModelError(
            f"{file} must be the file that its manifest describes, but its sha256 is {actual} "
            f"instead of {sha256}; push the model again"
        )
