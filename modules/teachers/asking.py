"""Asks a teacher that is no Keras model every raw example, once.

What it answered is kept as it comes, one small file for each batch, beside the node's results: a
run that was killed, or one with more data, asks only what was never asked. The answers are kept as
they were given, so that another order of classes asks nothing anew either.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules import files
from modules.errors import DataError
from modules.teachers.answer_store import AnswerStore
from modules.teachers.labels import Conversion
from modules.teachers.raw_features import Features, RawReader

_LOG = logging.getLogger("tfx_distill.teacher")
_SECONDS_BETWEEN_LINES = 10.0


class Teacher(Protocol):
    """Whatever answers raw features."""

    def answer(self, features: Features) -> NDArray[Any]:
        """Logits, probabilities or values `[b]` or `[b, n]` of raw features `[b]` by name."""


class Journal:
    """Answers as they were given, in files that a kill cannot damage.

    Args:
      directory: Local or at a URL; made if it is not there.
    """

    def __init__(self, directory: str):
        self._directory = directory.rstrip("/")
        local = files.local_path(self._directory)
        if local is not None:
            os.makedirs(local, exist_ok=True)
        self._names = [each for each in files.entries(directory) if each.endswith(".npz")]

    def batches(self) -> Any:
        """`(ids, answers)` of earlier runs."""
        for name in self._names:
            with np.load(io.BytesIO(files.read_bytes(f"{self._directory}/{name}"))) as part:
                yield [bytes(each) for each in part["ids"]], part["answers"]

    def add(self, ids: Sequence[bytes], answers: NDArray[Any]) -> None:
        """Keep a batch."""
        content = io.BytesIO()
        np.savez(content, ids=np.array(ids), answers=answers)
        self._names.append(f"{len(self._names):08d}.npz")
        path = f"{self._directory}/{self._names[-1]}"
        if (local := files.local_path(path)) is None:
            files.write_bytes(path, content.getvalue())
            return
        with open(f"{local}.part", "wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{local}.part", local)


class Collection:
    """Gathers the answers to some splits.

    Args:
      store: Where they are looked up afterwards.
      reader: Of the raw examples.
      conversion: Of answers to logits.
    """

    def __init__(self, store: AnswerStore, reader: RawReader, conversion: Conversion):
        self._store, self._reader, self._conversion = store, reader, conversion
        self.asked = 0
        self.known = 0
        self._last_line = time.monotonic()

    def ask(
        self,
        teacher: Teacher,
        splits: Mapping[str, Sequence[str]],
        journal: Journal,
        batch_size: int,
    ) -> None:
        """Ask whatever the journal and the store do not know.

        Args:
          teacher: That is asked.
          splits: Files of raw examples by split.
          journal: What was answered before, and what is now.
          batch_size: Examples in a call.
        """
        for ids, answers in journal.batches():
            self._store.add(ids, self._conversion.logits(answers))
            self.known += len(ids)
        if self.known:
            _LOG.info("%s answers are known from an earlier run", f"{self.known:,}")
        pending: dict[bytes, tf.train.Example] = {}
        for paths in splits.values():
            for identity, example in self._reader.examples(paths):
                if identity in pending or self._store.has(identity):
                    continue
                pending[identity] = example
                if len(pending) == batch_size:
                    self._ask(teacher, pending, journal)
        if pending:
            self._ask(teacher, pending, journal)

    def require(self, splits: Mapping[str, Sequence[str]], key: str) -> None:
        """Hold the store to the data.

        Raises:
          DataError: Examples have no answer; says how many, in which split.
        """
        missing, first = dict.fromkeys(splits, 0), b""
        for split, paths in splits.items():
            for identity, _ in self._reader.examples(paths):
                if not self._store.has(identity):
                    missing[split] += 1
                    first = first or identity
        if first:
            counts = ", ".join(f"{count:,} of {split}" for split, count in missing.items() if count)
            raise DataError(
                f"{key} must answer every example, but lacks {counts}, such as {first.decode()}; "
                "add their answers, or remove the examples"
            )

    def _ask(
        self, teacher: Teacher, pending: dict[bytes, tf.train.Example], journal: Journal
    ) -> None:
        ids = list(pending)
        answers = np.asarray(teacher.answer(self._reader.arrays(list(pending.values()))))
        if answers.shape[:1] != (len(ids),) or answers.dtype.kind not in "fiu":
            raise DataError(
                f"{self._conversion.key} must answer an array of numbers with one row for each of "
                f"{len(ids)} examples, got {answers.dtype} of shape {answers.shape}; correct it"
            )
        # First of all: it may have been paid for.
        journal.add(ids, answers)
        self._store.add(ids, self._conversion.logits(answers))
        self.asked += len(ids)
        pending.clear()
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            _LOG.info("%s examples answered", f"{self.asked:,}")
            self._last_line = time.monotonic()
