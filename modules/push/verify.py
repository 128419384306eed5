"""Checks a pushed version against its manifest, file by file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modules.errors import UserError
from modules.files import is_url
from modules.push.destination import KINDS, Destination
from modules.push.manifest import SAVED_MODEL, TFLITE
from modules.push.publish import open_destination


@dataclass(frozen=True)
class Verification:
    """What was checked, and what is wrong with it.

    Attributes:
      version: the version that was checked.
      saved_model_dir: its SavedModel.
      tflite_dir: its TFLite files and its manifest.
      files: number of files that the manifest lists.
      problems: sentences; empty if there are none.
    """

    version: int
    saved_model_dir: str
    tflite_dir: str
    files: int
    problems: tuple[str, ...]


def verify(path: str) -> Verification:
    """Checks the SHA-256 of every file of a version, in both formats.

    Args:
      path: a destination, of which the newest version is checked, or the directory of a version
        in either format; local or a URL.

    Raises:
      ConfigError: the path is empty.
      UserError: the path is neither a destination nor a version, or cannot be read.
    """
    given, path = path, path if is_url(path) or not path else os.path.abspath(path)
    parent, _, name = path.rstrip("/").rpartition("/")
    base, _, kind = parent.rpartition("/")
    asked = int(name) if kind in KINDS and name.isascii() and name.isdigit() else None
    target = open_destination(path if asked is None else base or "/")
    with target.failures_explained():
        version = target.highest() if asked is None else asked
        if not any(version in target.numbers(kind) for kind in KINDS):
            raise UserError(
                f"{given} must be a destination of pushes or a version of one, but has neither "
                f"{SAVED_MODEL}/ nor {TFLITE}/ with a version; give the directory pushed to"
            )
        return _verify(target, version)


def _verify(target: Destination, version: int) -> Verification:
    tflite_dir = target.directory(TFLITE, version)
    saved_model_dir = target.directory(SAVED_MODEL, version)
    manifest = target.read_manifest(version)
    problems: list[str]
    if isinstance(manifest, str):
        problems, files = [manifest], 0
    else:
        problems, files = target.problems(manifest), sum(map(len, manifest.files.values()))
    return Verification(version, saved_model_dir, tflite_dir, files, tuple(problems))
