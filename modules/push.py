"""Pushing: a SavedModel and a TFLite file become one new, whole version at the destination.

    <destination>/saved_model/<version>/saved_model.pb ...               TF Serving's layout
    <destination>/tflite/<version>/model.tflite, manifest.json

A version is copied into a dot-named directory beside its place, flushed to disk and renamed, so a
reader sees all of it or nothing. saved_model is renamed first: a manifest that can be seen never
refers to a SavedModel that cannot. A pusher killed between the two renames leaves a whole
SavedModel without a manifest; it stays, and its number is never given out again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import portalocker

from modules.errors import ConfigError, ModelError, UserError

SAVED_MODEL, TFLITE = "saved_model", "tflite"
TFLITE_FILE, SPEC_FILE, MANIFEST_FILE = "model.tflite", "spec.json", "manifest.json"
LOCK_FILE = ".push.lock"
_STAGING_PREFIX = ".staging-"


@dataclass(frozen=True)
class Candidate:
    """What is to be pushed.

    Attributes:
      saved_model_dir: directory with `saved_model.pb`.
      tflite_dir: directory with `model.tflite` and `spec.json`, as the Exporter writes it:
        `input`, `output` (each `name`, `shape`, `dtype`, `quantization`), `labels`, `sha256`.
      variant: name of the TFLite variant.
      metrics: the variant's entry in report.json; its `sha256` names the file that was measured.
    """

    saved_model_dir: Path
    tflite_dir: Path
    variant: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Pushed:
    """The version at the destination, and whether this push had to copy it."""

    version: int
    saved_model_dir: Path
    tflite_dir: Path
    copied: bool


def push(
    candidate: Candidate,
    destination: str,
    *,
    now: Callable[[], float] = time.time,
    lock_timeout_s: float = 600.0,
) -> Pushed:
    """Pushes the candidate, unless the newest version at the destination is the same and intact.

    Args:
      candidate: the model; nothing is written unless its TFLite file is the one measured.
      destination: a local directory, made when missing.
      now: the clock, in Unix seconds.
      lock_timeout_s: how long to wait for another pusher, in seconds.

    Raises:
      ConfigError: the destination is empty or a URL.
      ModelError: the candidate is incomplete or not the file that was measured.
      UserError: the destination is a file or not writable, or another pusher holds its lock.
    """
    try:
        target = _local_directory(destination)
        description = _describe(candidate)
        for name in (SAVED_MODEL, TFLITE):
            (target / name).mkdir(parents=True, exist_ok=True)
        # The kernel lets go of the lock when its holder dies, however that happens.
        with portalocker.Lock(target / LOCK_FILE, mode="a", timeout=lock_timeout_s):
            return _push_locked(candidate, description, target, now())
    except portalocker.LockException as error:
        raise UserError(
            f"another pusher has held {target / LOCK_FILE} for over {lock_timeout_s:g} s; "
            "wait for it to finish, or end it, and push again"
        ) from error
    except OSError as error:
        raise UserError(
            f"push destination {destination} must be a writable directory with room for the "
            f"model, but: {error}; mend it or choose another destination"
        ) from error


def _local_directory(destination: str) -> Path:
    """The destination as an absolute path; it need not exist yet."""
    if not destination or "://" in destination:
        raise ConfigError(
            f"push destination must be a local directory, not {destination!r}; "
            "give a path such as /srv/models (remote file systems are not supported yet)"
        )
    return Path(destination).absolute()


def _describe(candidate: Candidate) -> dict[str, Any]:
    """The manifest but for what depends on the destination: version, time and SavedModel path."""
    tflite_file = candidate.tflite_dir / TFLITE_FILE
    try:
        spec = json.loads((candidate.tflite_dir / SPEC_FILE).read_text(encoding="utf-8"))
        description = {
            "schema_version": 1,
            "variant": candidate.variant,
            "file": TFLITE_FILE,
            "sha256": _sha256(tflite_file),
            "size_bytes": tflite_file.stat().st_size,
            "input": spec["input"],
            "output": {**spec["output"], "meaning": "logits"},
            "labels": spec["labels"],
            "metrics": dict(candidate.metrics),
            "saved_model": {"files": _file_hashes(candidate.saved_model_dir)},
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the export in {candidate.tflite_dir} or {candidate.saved_model_dir} is incomplete "
            f"({type(error).__name__}: {error}); export the model again"
        ) from error
    recorded = {"report": candidate.metrics.get("sha256"), SPEC_FILE: spec.get("sha256")}
    for source, sha256 in recorded.items():
        if sha256 != description["sha256"]:
            raise ModelError(
                "the file that ships must be the file that was measured, but for variant "
                f"{candidate.variant!r} sha256 is {sha256} in the {source} and "
                f"{description['sha256']} in {tflite_file}; export and evaluate the model again"
            )
    return description


def _push_locked(
    candidate: Candidate, description: Mapping[str, Any], target: Path, unix_s: float
) -> Pushed:
    """One push; the caller holds the lock, so every staging directory found is a dead one."""
    _remove_staging(target)
    newest = max((*_versions(target / SAVED_MODEL), *_versions(target / TFLITE)), default=0)
    if newest and _is_at_destination(description, target, newest):
        return _pushed(target, newest, copied=False)
    pushed = _pushed(target, max(newest + 1, int(unix_s)), copied=True)
    path = f"../../{SAVED_MODEL}/{pushed.version}"
    manifest = {
        **description,
        "version": pushed.version,
        "created": datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds"),
        "saved_model": {"path": path, **description["saved_model"]},
    }
    places = (pushed.saved_model_dir, pushed.tflite_dir)
    staged = [place.with_name(f"{_STAGING_PREFIX}{pushed.version}") for place in places]
    try:
        _copy(candidate.saved_model_dir, description["saved_model"]["files"], staged[0])
        _copy(candidate.tflite_dir, {TFLITE_FILE: description["sha256"]}, staged[1])
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        (staged[1] / MANIFEST_FILE).write_text(text, encoding="utf-8")
        for staging in staged:
            for entry in (staging, *staging.rglob("*")):
                _flush(entry)
        for staging, place in zip(staged, places, strict=True):
            staging.rename(place)
            _flush(place.parent)
    finally:
        _remove_staging(target, ignore_errors=True)
    return pushed


def _pushed(target: Path, version: int, *, copied: bool) -> Pushed:
    saved_model_dir = target / SAVED_MODEL / str(version)
    return Pushed(version, saved_model_dir, target / TFLITE / str(version), copied)


def _versions(directory: Path) -> Iterator[int]:
    """Every number in use, whole version or not: what was seen once is never given out again."""
    names = (entry.name for entry in directory.iterdir())
    return (int(name) for name in names if name.isascii() and name.isdigit())


def _is_at_destination(description: Mapping[str, Any], target: Path, version: int) -> bool:
    """Whether this version has the described content, on disk as well as in its manifest."""
    found = _pushed(target, version, copied=False)
    files = description["saved_model"]["files"]
    # Metrics may differ: latency is measured afresh in every run and makes no other model.
    compared = description.keys() - {"metrics", "saved_model"}
    try:
        manifest = json.loads((found.tflite_dir / MANIFEST_FILE).read_text(encoding="utf-8"))
        return (
            all(manifest[key] == description[key] for key in compared)
            and manifest["saved_model"]["files"] == files
            and _sha256(found.tflite_dir / TFLITE_FILE) == description["sha256"]
            and all(_sha256(found.saved_model_dir / name) == files[name] for name in files)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # damaged, or only half of a push: a new version mends it


def _copy(source_dir: Path, files: Mapping[str, str], staging: Path) -> None:
    """Copies the files (name: sha256) into a new directory."""
    staging.mkdir()  # not mkdtemp: a server that runs as another user must be able to read it
    for name, sha256 in files.items():
        copy = staging / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source_dir / name, copy)
        if _sha256(copy) != sha256:
            raise ModelError(f"{source_dir / name} changed while it was being pushed; push again")


def _remove_staging(target: Path, *, ignore_errors: bool = False) -> None:
    for name in (SAVED_MODEL, TFLITE):
        for staging in (target / name).glob(f"{_STAGING_PREFIX}*"):
            shutil.rmtree(staging, ignore_errors=ignore_errors)


def _file_hashes(directory: Path) -> dict[str, str]:
    """sha256 of every file below the directory of a SavedModel, by its relative path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    hashes = {path.relative_to(directory).as_posix(): _sha256(path) for path in files}
    if "saved_model.pb" not in hashes:
        raise FileNotFoundError(f"no saved_model.pb in {directory}")
    return hashes


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Waits until a file's content, or a directory's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
