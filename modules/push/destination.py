"""A destination of pushes: what every kind of it has in common.

    <destination>/saved_model/<version>/saved_model.pb ...               TF Serving's layout
    <destination>/tflite/<version>/model.tflite, manifest.json
    <destination>/rolled_back/<content digest>.json                      not to be pushed again

A version is whole when its manifest can be read and its SavedModel is there. Anything else under a
number, such as another tool's SavedModel, is left alone, and its number is not used.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pydantic import ValidationError

from modules import files
from modules.errors import ModelError, UserError, first_problem
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest

# The files of a version: local paths or URLs by format and name at the destination.
Paths = Mapping[str, Mapping[str, str]]
KINDS = (SAVED_MODEL, TFLITE)
SAVED_MODEL_FILE = "saved_model.pb"
CLAIM_FILE = ".push.json"
ROLLED_BACK = "rolled_back"
PUSHED = "pushed"  # the default destination in a run's output directory


class Destination(ABC):
    """Versions at a local path or a URL."""

    # What its file system raises when it fails.
    failures: tuple[type[Exception], ...]

    def __init__(self, base: str):
        self.base = base

    @abstractmethod
    def exclusive(self, timeout_s: float) -> AbstractContextManager[None]:
        """Makes the directory, keeps out other pushers if it can, cleans up after dead ones.

        Args:
          timeout_s: how long to wait for another pusher, in seconds.
        """

    @abstractmethod
    def publish(self, manifest: Manifest, sources: Paths) -> None:
        """Copies a new version, which becomes whole in one step."""

    @abstractmethod
    def remove(self, version: int) -> None:
        """Removes a version, which stops being whole in one step."""

    @abstractmethod
    def write_mark(self, content_digest: str, mark: dict[str, Any]) -> None:
        """Marks a content as rolled back."""

    def check_usable(self) -> None:
        """Fails as a push would, as far as that can be found out without pushing."""
        self.highest()

    def directory(self, kind: str, version: int | str) -> str:
        """The directory of a version in one of the formats."""
        return f"{self.base}/{kind}/{version}"

    def numbers(self, kind: str) -> list[int]:
        """Every number in use in a format, whole version or not, in ascending order."""
        names = files.entries(f"{self.base}/{kind}")
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def highest(self) -> int:
        """The highest number in use, whole version or not, which TF Serving serves; 0 if unused."""
        return max((number for kind in KINDS for number in self.numbers(kind)), default=0)

    def next_version(self, unix_s: float) -> int:
        """A number above all that are in use: the time, unless the clock runs behind them."""
        return max(self.highest() + 1, int(unix_s))

    def read_manifest(self, version: int) -> Manifest | str:
        """The manifest of a version, or a sentence that says what is wrong with it."""
        directory = self.directory(TFLITE, version)
        manifest = read_manifest(directory)
        if isinstance(manifest, Manifest) and manifest.version != version:
            return f"{directory}/{MANIFEST_FILE} is that of version {manifest.version}."
        return manifest

    def manifest(self, version: int) -> Manifest | None:
        """The manifest of a version, or None if the version is not whole."""
        manifest = self.read_manifest(version)
        saved_model = f"{self.directory(SAVED_MODEL, version)}/{SAVED_MODEL_FILE}"
        if isinstance(manifest, str) or not files.exists(saved_model):
            return None
        return manifest

    def whole_versions(self) -> Iterator[Manifest]:
        """The manifests of all whole versions, the newest first."""
        for version in reversed(self.numbers(TFLITE)):
            if manifest := self.manifest(version):
                yield manifest

    def problems(self, manifest: Manifest) -> list[str]:
        """What is wrong with the files of a version, as sentences."""
        found = []
        for kind, expected in manifest.files.items():
            directory = self.directory(kind, manifest.version)
            names = set(files.file_names(directory))
            known = expected.keys() | ({MANIFEST_FILE, CLAIM_FILE} if kind == TFLITE else set())
            for name, digest in expected.items():
                path = f"{directory}/{name}"
                if name not in names:
                    found.append(f"{path} is missing.")
                elif (actual := files.sha256(path)) != digest:
                    found.append(f"{path} has sha256 {actual}, its manifest says {digest}.")
            found += [
                f"{directory}/{name} is not in the manifest." for name in sorted(names - known)
            ]
        return found

    def mark_path(self, content_digest: str) -> str:
        """Where a content is marked as rolled back."""
        return f"{self.base}/{ROLLED_BACK}/{content_digest}.json"

    def mark(self, content_digest: str) -> dict[str, Any] | None:
        """The mark of a content that was rolled back, or None."""
        try:
            return dict(json.loads(files.read_bytes(self.mark_path(content_digest))))
        except (FileNotFoundError, ValueError):
            return None  # half a mark was left by a rollback that did not finish

    def paths(self, manifest: Manifest) -> Paths:
        """The files of a version that is here."""
        return {
            kind: {name: f"{self.directory(kind, manifest.version)}/{name}" for name in names}
            for kind, names in manifest.files.items()
        }

    @contextmanager
    def failures_explained(self) -> Iterator[None]:
        """Turns errors of the destination's file system into one line.

        Raises:
          UserError: with that line.
        """
        try:
            yield
        except UserError:
            raise
        except self.failures as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"push destination {self.base} cannot be used ({type(error).__name__}: {reason}); "
                "fix that or choose another destination"
            ) from error


def read_manifest(directory: str) -> Manifest | str:
    """The manifest in a version's TFLite directory, or a sentence that says what is wrong."""
    path = f"{directory}/{MANIFEST_FILE}"
    try:
        return Manifest.model_validate_json(files.read_bytes(path))
    except FileNotFoundError:
        return f"{path} is missing."
    except ValidationError as error:
        return f"{path} is not a manifest ({first_problem(error)})."


def copy_file(source: str, target: str, digest: str) -> None:
    """Copies one file of a version and makes its directory.

    Raises:
      ModelError: the content does not match the SHA-256.
    """
    if files.copy(source, target) != digest:
        raise ModelError(f"{source} changed while it was being pushed; push again")
