"""Pushed models: the versions that a directory stands for, and their files by the manifest.

Only what has a manifest is asked: it says what a raw example is, and what the answer means.

Nothing heavy is imported: a wrong directory is reported before TensorFlow loads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pydantic import ValidationError

from modules import files
from modules.data.spec import DataSpec, OutputSpec
from modules.errors import ConfigError, ModelError, first_problem
from modules.push.destination import KINDS, PUSHED, SAVED_MODEL_FILE, read_manifest
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest, Preprocessing
from modules.push.publish import open_destination

_WANTED = "give a run's output directory, the destination that it pushed to, or a version there"


@dataclass(frozen=True)
class PushedModel:
    """A SavedModel or a TFLite file to ask.

    Attributes:
      format: `saved_model` or `tflite`.
      version: Name of the version's directory.
      path: The SavedModel's directory, or the TFLite file; a local path or a URL.
      spec: What it takes and answers.
      preprocessing: How raw examples become that.
      variant: Of the TFLite file; None for a SavedModel.
    """

    format: str
    version: str
    path: str
    spec: DataSpec
    preprocessing: Preprocessing
    variant: str | None = None

    @property
    def title(self) -> str:
        """Format and, for TFLite, variant."""
        return f"{self.format} {self.variant}" if self.variant else self.format

    @property
    def output(self) -> OutputSpec:
        """What it answers."""
        return self.spec.output

    def vocabularies(self) -> dict[str, list[bytes]]:
        """The lines of each vocabulary, by raw feature.

        Raises:
          ModelError: One is not the file that the manifest describes.
        """
        directory = self.path.rpartition("/")[0]
        found = {}
        for name, vocabulary in self.preprocessing.vocabularies.items():
            path = f"{directory}/{vocabulary.file}"
            _check_content(path, vocabulary.sha256)
            found[name] = files.read_bytes(path).removesuffix(b"\n").split(b"\n")
        return found


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
                "student that was refused lies in `refused` of its run's output directory)"
            )
        if wanted and wanted not in found:
            raise ConfigError(f"--format {wanted}: {directory} has only {', '.join(found)}")
        if variant and TFLITE not in ([wanted] if wanted else found):
            raise ConfigError(f"--variant {variant}: only TFLite has variants; ask for that format")
        models = [
            _tflite(path, variant) if form == TFLITE else _saved_model(path)
            for form, path in found.items()
            if wanted in (None, form)
        ]
    # The user's own code makes what these files take of a raw example.
    whole = [each for each in models if each.spec.features or each.format == SAVED_MODEL]
    if not whole:
        raise ConfigError(
            f"{directory}: the TFLite file takes what the preprocessing_fn of the run makes of an "
            "example, and only the SavedModel has that in it; ask for --format saved_model"
        )
    return whole


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
    """With what the manifest of the same version says."""
    base, _, version = path.rpartition("/")
    manifest = _manifest(f"{base.rpartition('/')[0]}/{TFLITE}/{version}")
    for name, digest in manifest.saved_model.files.items():
        _check_content(f"{path}/{name}", digest)
    return PushedModel(SAVED_MODEL, version, path, *_described(path, manifest))


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
    version = path.rpartition("/")[2]
    return PushedModel(TFLITE, version, file, *_described(path, manifest), described.variant)


def _manifest(directory: str) -> Manifest:
    manifest = read_manifest(directory)
    if isinstance(manifest, str):
        raise ModelError(f"{manifest.removesuffix('.')}; push the model again")
    return manifest


def _described(path: str, manifest: Manifest) -> tuple[DataSpec, Preprocessing]:
    if manifest.preprocessing is None:
        raise ModelError(
            f"{path} has a manifest of schema {manifest.schema_version}, which does not say what a "
            "raw example is; push the model again"
        )
    try:
        return DataSpec.model_validate(manifest.preprocessing.spec), manifest.preprocessing
    except ValidationError as error:
        raise ModelError(
            f"the manifest of {path} has a specification that cannot be read "
            f"({first_problem(error)}); push the model again"
        ) from error


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
