"""A destination on another file system, such as an object store: no locks, no atomic rename.

There the order of the writes makes a version whole: first a claim, by which a dead pusher's
leftovers are known; then all files, saved_model.pb last, for which TF Serving waits; and
manifest.json last of all. What has a claim and no manifest is no version. Its number is never
used again, and it is removed once a newer version is whole. One pusher at a time is up to the
caller; two that meet on one number are found out, and one of them fails.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

from modules.errors import UserError
from modules.push.candidate import Source
from modules.push.destination import CLAIM_FILE, KINDS, ROLLED_BACK, SAVED_MODEL_FILE, Destination
from modules.push.files import Files, entries, read_bytes, write_bytes
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest


class RemoteDestination(Destination):
    """A URL."""

    # Plugins raise what they like; TensorFlow's errors, for one, are no OSErrors.
    failures = (Exception,)

    def __init__(self, url: str, files: Files):
        super().__init__(url.rstrip("/"), files)

    @contextlib.contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[None]:
        """See `Destination`; nothing waits, and leftovers go after the work, not before."""
        for kind in KINDS:
            self.files.makedirs(f"{self.base}/{kind}")
        yield
        self._remove_leftovers()

    def publish(self, manifest: Manifest, source: Source) -> None:
        """See `Destination`.

        Raises:
          UserError: another pusher writes the same version.
        """
        claim = json.dumps({"pusher": uuid.uuid4().hex}).encode()
        self._claim(manifest.version, claim)
        saved_model = dict(manifest.saved_model.files)
        last = {SAVED_MODEL_FILE: saved_model.pop(SAVED_MODEL_FILE)}
        but_last = manifest.with_saved_model_files(saved_model)
        self._copy(source, but_last.version, but_last.files, claim)
        self._read_back(but_last)
        self._copy(source, manifest.version, {SAVED_MODEL: last}, claim)
        self._read_back(manifest)
        path = f"{self.directory(TFLITE, manifest.version)}/{MANIFEST_FILE}"
        write_bytes(self.files, path, manifest.to_json())

    def remove(self, version: int) -> None:
        """See `Destination`."""
        tflite, saved_model = (self.directory(kind, version) for kind in (TFLITE, SAVED_MODEL))
        claim = f"{tflite}/{CLAIM_FILE}"
        if not self.files.exists(claim):
            write_bytes(self.files, claim, b"{}")
        # First what makes others look at the rest.
        for first in (f"{tflite}/{MANIFEST_FILE}", f"{saved_model}/{SAVED_MODEL_FILE}"):
            if self.files.exists(first):
                self.files.remove(first)
        if self.files.exists(saved_model):
            self.files.rmtree(saved_model)
        # The claim goes last: without it, nobody would know what to do with the rest.
        for name in entries(self.files, tflite):
            if name != CLAIM_FILE:
                self.files.remove(f"{tflite}/{name}")
        self.files.rmtree(tflite)

    def write_mark(self, content_digest: str, mark: dict[str, Any]) -> None:
        """See `Destination`."""
        self.files.makedirs(f"{self.base}/{ROLLED_BACK}")
        path = self.mark_path(content_digest)
        write_bytes(self.files, path, json.dumps(mark, indent=2).encode())

    def _claim(self, version: int, claim: bytes) -> None:
        directory = self.directory(TFLITE, version)
        self.files.makedirs(directory)
        if self.files.exists(f"{directory}/{CLAIM_FILE}"):
            raise _another_pusher(directory)
        write_bytes(self.files, f"{directory}/{CLAIM_FILE}", claim)

    def _copy(
        self, source: Source, version: int, files: dict[str, dict[str, str]], claim: bytes
    ) -> None:
        for kind, names in files.items():
            for name, digest in names.items():
                self._check_claim(version, claim)
                target = f"{self.directory(kind, version)}/{name}"
                self.copy_file(source, kind, name, target, digest)

    def _check_claim(self, version: int, claim: bytes) -> None:
        directory = self.directory(TFLITE, version)
        try:
            found = read_bytes(self.files, f"{directory}/{CLAIM_FILE}")
        except FileNotFoundError:
            found = b""
        if found != claim:
            raise _another_pusher(directory)

    def _read_back(self, manifest: Manifest) -> None:
        if problems := self.problems(manifest):
            raise OSError(f"it does not hold what was written: {' '.join(problems)}")

    def _remove_leftovers(self) -> None:
        newest = next((manifest.version for manifest in self.whole_versions()), 0)
        for version in self.numbers(TFLITE):
            if version < newest and self._is_leftover(version):
                self.remove(version)

    def _is_leftover(self, version: int) -> bool:
        """Whether a pusher has begun it and neither finished nor, so far, removed it."""
        directory = self.directory(TFLITE, version)
        if not self.files.exists(f"{directory}/{CLAIM_FILE}"):
            return False
        try:
            json.loads(read_bytes(self.files, f"{directory}/{MANIFEST_FILE}"))
        except (FileNotFoundError, ValueError):
            return True  # not every file system writes a file as a whole or not at all
        return False


def _another_pusher(directory: str) -> UserError:
    return UserError(
        f"another pusher writes {directory}; let one pusher at a time work on a destination that "
        "is a URL, and push again"
    )
