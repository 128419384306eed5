"""A destination on another file system, such as an object store: no locks, no atomic rename.

The order of the writes makes a version whole: first a claim, which identifies the leftovers of a
dead pusher; then all files, with saved_model.pb, for which TF Serving waits, as the last of them;
and finally manifest.json. A claim without a manifest is not a version: its number is never reused,
and it is removed once a newer version is whole. The caller sees to it that there is one pusher at
a time; if two use the same number, one of them notices and fails.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

from modules import files
from modules.errors import UserError
from modules.push.destination import CLAIM_FILE, SAVED_MODEL_FILE, Destination, Paths, copy_file
from modules.push.manifest import MANIFEST_FILE, SAVED_MODEL, TFLITE, Manifest


class RemoteDestination(Destination):
    """A URL."""

    # The stores' clients raise errors of their own, not only OSErrors.
    failures = (Exception,)

    def __init__(self, url: str):
        super().__init__(url.rstrip("/"))
        files.check_scheme(self.base)

    @contextlib.contextmanager
    def exclusive(self, timeout_s: float) -> Iterator[None]:
        """See `Destination`; without waiting, and leftovers are removed after the work."""
        yield
        self._remove_leftovers()

    def publish(self, manifest: Manifest, sources: Paths) -> None:
        """See `Destination`.

        Raises:
          UserError: another pusher is writing the same version.
        """
        claim = json.dumps({"pusher": uuid.uuid4().hex}).encode()
        self._claim(manifest.version, claim)
        saved_model = dict(manifest.saved_model.files)
        last = {SAVED_MODEL_FILE: saved_model.pop(SAVED_MODEL_FILE)}
        but_last = manifest.with_saved_model_files(saved_model)
        self._copy(sources, but_last.version, but_last.files, claim)
        self._read_back(but_last)
        self._copy(sources, manifest.version, {SAVED_MODEL: last}, claim)
        self._read_back(manifest)
        path = f"{self.directory(TFLITE, manifest.version)}/{MANIFEST_FILE}"
        files.write_bytes(path, manifest.to_json())

    def remove(self, version: int) -> None:
        """See `Destination`."""
        tflite, saved_model = (self.directory(kind, version) for kind in (TFLITE, SAVED_MODEL))
        claim = f"{tflite}/{CLAIM_FILE}"
        if not files.exists(claim):
            files.write_bytes(claim, b"{}")
        # These go first, since they make readers look at the rest.
        for first in (f"{tflite}/{MANIFEST_FILE}", f"{saved_model}/{SAVED_MODEL_FILE}"):
            if files.exists(first):
                files.remove(first)
        files.remove_tree(saved_model)
        # The claim goes last: without it, nobody would know that the rest can be removed.
        for name in files.entries(tflite):
            if name != CLAIM_FILE:
                files.remove(f"{tflite}/{name}")
        files.remove_tree(tflite)

    def write_mark(self, content_digest: str, mark: dict[str, Any]) -> None:
        """See `Destination`."""
        files.write_bytes(self.mark_path(content_digest), json.dumps(mark, indent=2).encode())

    def _claim(self, version: int, claim: bytes) -> None:
        directory = self.directory(TFLITE, version)
        if files.exists(f"{directory}/{CLAIM_FILE}"):
            raise _another_pusher(directory)
        files.write_bytes(f"{directory}/{CLAIM_FILE}", claim)

    def _copy(self, sources: Paths, version: int, digests: Paths, claim: bytes) -> None:
        for kind, names in digests.items():
            for name, digest in names.items():
                self._check_claim(version, claim)
                target = f"{self.directory(kind, version)}/{name}"
                copy_file(sources[kind][name], target, digest)

    def _check_claim(self, version: int, claim: bytes) -> None:
        directory = self.directory(TFLITE, version)
        try:
            found = files.read_bytes(f"{directory}/{CLAIM_FILE}")
        except FileNotFoundError:
            found = b""
        if found != claim:
            raise _another_pusher(directory)

    def _read_back(self, manifest: Manifest) -> None:
        if problems := self.problems(manifest):
            raise OSError(f"it does not contain what was written: {' '.join(problems)}")

    def _remove_leftovers(self) -> None:
        newest = next((manifest.version for manifest in self.whole_versions()), 0)
        for version in self.numbers(TFLITE):
            if version < newest and self._is_leftover(version):
                self.remove(version)

    def _is_leftover(self, version: int) -> bool:
        """Whether a pusher has begun this version and neither finished nor removed it."""
        directory = self.directory(TFLITE, version)
        if not files.exists(f"{directory}/{CLAIM_FILE}"):
            return False
        try:
            json.loads(files.read_bytes(f"{directory}/{MANIFEST_FILE}"))
        except (FileNotFoundError, ValueError):
            return True  # on some file systems half a file can appear
        return False


def _another_pusher(directory: str) -> UserError:
    return UserError(
        f"another pusher is writing {directory}, but a destination at a URL takes one pusher at a "
        "time; wait for the other one and push again"
    )
