"""A destination on this machine: a lock protects it, versions appear and disappear by a rename.

A version is copied into hidden directories next to its final ones, flushed to disk and renamed,
saved_model first: a visible manifest never refers to an invisible SavedModel. To remove a version,
its directories are renamed to hidden ones, tflite first, and then deleted. A process may be killed
between the two renames; it leaves a hidden tflite directory, from which the next pusher sees that
the second rename is missing and makes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import portalocker

from modules.errors import UserError
from modules.files import entries, write_bytes
from modules.push.destination import KINDS, ROLLED_BACK, Destination, Paths, copy_file
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest

LOCK_FILE = ".push.lock"
_STAGING_PREFIX, _REMOVED_PREFIX = ".staging-", ".removed-"


class LocalDestination(Destination):
    """A local directory."""

    failures = (OSError,)

    def __init__(self, directory: str):
        super().__init__(str(Path(directory).absolute()))

    def check_usable(self) -> None:
        """See `Destination`; the nearest directory that is there must be writable."""
        super().check_usable()
        there = next(each for each in (Path(self.base), *Path(self.base).parents) if each.exists())
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(f"{there} cannot be written to")

    @contextlib.contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[None]:
        """See `Destination`.

        Raises:
          UserError: another pusher holds the lock.
        """
        for kind in KINDS:
            os.makedirs(f"{self.base}/{kind}", exist_ok=True)
        path = f"{self.base}/{LOCK_FILE}"
        # The kernel releases the lock when its holder dies.
        lock = portalocker.Lock(path, mode="a", timeout=timeout_s)
        try:
            lock.acquire()
        except portalocker.LockException as error:
            raise UserError(
                f"another pusher has held {path} for over {timeout_s:g} s; "
                "wait for it to finish, or end it, and push again"
            ) from error
        try:
            self._clear_up()
            yield
        finally:
            lock.release()

    def publish(self, manifest: Manifest, sources: Paths) -> None:
        """See `Destination`."""
        version = manifest.version
        staged = {kind: self.directory(kind, f"{_STAGING_PREFIX}{version}") for kind in KINDS}
        try:
            for kind, names in manifest.files.items():
                # Not mkdtemp, whose directories a server that runs as another user cannot read.
                os.mkdir(staged[kind])
                for name, digest in names.items():
                    copy_file(sources[kind][name], f"{staged[kind]}/{name}", digest)
            write_bytes(f"{staged[TFLITE]}/{MANIFEST_FILE}", manifest.to_json())
            for staging in staged.values():
                for entry in (Path(staging), *Path(staging).rglob("*")):
                    _flush(entry)
            for kind in KINDS:
                self._rename(kind, f"{_STAGING_PREFIX}{version}", str(version))
        except BaseException:
            with contextlib.suppress(OSError):  # the first failure is the one to report
                self._clear_up()
            raise

    def remove(self, version: int) -> None:
        """See `Destination`."""
        self._rename(TFLITE, str(version), f"{_REMOVED_PREFIX}{version}")
        self._clear_up()

    def write_mark(self, content_digest: str, mark: dict[str, Any]) -> None:
        """See `Destination`."""
        os.makedirs(f"{self.base}/{ROLLED_BACK}", exist_ok=True)
        staging = f"{_STAGING_PREFIX}{content_digest}"
        path = Path(self.base, ROLLED_BACK, staging)
        path.write_text(json.dumps(mark, indent=2), encoding="utf-8")
        _flush(path)
        self._rename(ROLLED_BACK, staging, f"{content_digest}.json")
        _flush(Path(self.base))

    def _clear_up(self) -> None:
        """Finishes or removes what a dead pusher, or the one that fails now, left unfinished."""
        for version in self._dotted(TFLITE, _STAGING_PREFIX):
            staging = self.directory(TFLITE, f"{_STAGING_PREFIX}{version}")
            # It was flushed before the SavedModel was renamed, so it is complete.
            if (
                version in self._versions(SAVED_MODEL)
                and version not in self._versions(TFLITE)
                and os.path.exists(f"{staging}/{MANIFEST_FILE}")
            ):
                self._rename(TFLITE, f"{_STAGING_PREFIX}{version}", version)
        for version in self._dotted(TFLITE, _REMOVED_PREFIX):
            if version in self._versions(SAVED_MODEL):
                self._rename(SAVED_MODEL, version, f"{_REMOVED_PREFIX}{version}")
        # No reader sees what still has a hidden name.
        for kind in KINDS:
            for prefix in (_STAGING_PREFIX, _REMOVED_PREFIX):
                for version in self._dotted(kind, prefix):
                    shutil.rmtree(self.directory(kind, f"{prefix}{version}"))
        for mark in self._dotted(ROLLED_BACK, _STAGING_PREFIX):
            os.remove(self.directory(ROLLED_BACK, f"{_STAGING_PREFIX}{mark}"))

    def _versions(self, kind: str) -> list[str]:
        return [str(number) for number in self.numbers(kind)]

    def _dotted(self, kind: str, prefix: str) -> list[str]:
        names = entries(f"{self.base}/{kind}")
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def _rename(self, kind: str, old: str, new: str) -> None:
        os.rename(self.directory(kind, old), self.directory(kind, new))
        _flush(Path(self.base, kind))


def _flush(path: Path) -> None:
    """Waits until a file's content, or a directory's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
