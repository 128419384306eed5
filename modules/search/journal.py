"""What a search has done already, so that a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modules.disk import space_for
from modules.search.halving import Trial
from modules.search.untrained import Untrained

_UNTRAINED = "untrained.json"
_META = "meta"


class Journal:
    """Files in a directory that stands for all that a search depends on.

    A damaged file is as good as none: what it told is done again.

    Args:
      directory: Local, or a URL.
    """

    def __init__(self, directory: str):
        self._directory = directory

    def untrained(self) -> list[Untrained] | None:
        """What `keep_untrained` was given."""
        content = self._read(_UNTRAINED)
        try:
            return content and [Untrained(**each) for each in json.loads(content)]
        except (ValueError, TypeError):
            return None

    def keep_untrained(self, found: Sequence[Untrained]) -> None:
        """Keep what is known of the students before they are trained."""
        described = [
            {
                "parameters": each.parameters,
                "sizes": dict(each.sizes),
                "latencies": dict(each.latencies),
                "speedups": dict(each.speedups),
                "broken": each.broken,
            }
            for each in found
        ]
        self._write(_UNTRAINED, json.dumps(described).encode())

    def trial(self, key: str, epochs: int) -> Trial | str | None:
        """A training that is done, or why it failed; None if there was none.

        Args:
          key: All that tells the candidate from others.
          epochs: Of the training.
        """
        content = self._read(_trial_file(key, epochs))
        try:
            with np.load(io.BytesIO(content)) as saved:
                meta = json.loads(str(saved[_META]))
                if meta["failed"]:
                    return str(meta["failed"])
                score, error = (float(meta[each]) for each in ("score", "error"))
                return Trial(epochs, saved["losses"], score, error)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep_trial(self, key: str, epochs: int, trial: Trial | str) -> None:
        """Keep a training, or why it failed."""
        losses: Any = np.zeros(0)
        meta: dict[str, Any] = {"failed": trial}
        if isinstance(trial, Trial):
            losses = trial.losses
            meta = {"failed": "", "score": trial.score, "error": trial.error}
        buffer = io.BytesIO()
        np.savez(buffer, losses=losses, meta=np.array(json.dumps(meta)))
        self._write(_trial_file(key, epochs), buffer.getvalue())

    def _read(self, name: str) -> Any:
        path = os.path.join(self._directory, name)
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                return file.read()
        except tf.errors.OpError:
            return b""

    def _write(self, name: str, content: bytes) -> None:
        path = os.path.join(self._directory, name)
        aside = f"{path}.{os.getpid()}"
        with space_for(aside, len(content), "the notes of the search"):
            tf.io.gfile.makedirs(self._directory)
            with tf.io.gfile.GFile(aside, "wb") as file:
                file.write(content)
            tf.io.gfile.rename(aside, path, overwrite=True)


def _trial_file(key: str, epochs: int) -> str:
    return f"trial_{hashlib.sha256(key.encode()).hexdigest()[:16]}_{epochs}.npz"
