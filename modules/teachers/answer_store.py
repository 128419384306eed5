"""The answers of a teacher that is no Keras model: logits by example id, in one SQLite file.

However many there are, none is held in memory. Which examples were asked does not matter to a
reader: it looks up the ids that it has.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.errors import DataError

_ANSWERS, _DESCRIPTION = "answers.sqlite", "description.json"
_AT_ONCE = 500


class AnswerStore:
    """Answers in a local directory.

    Args:
      directory: Where the file is, or is made.
    """

    def __init__(self, directory: str):
        self._directory = directory
        self._database = sqlite3.connect(
            os.path.join(directory, _ANSWERS), check_same_thread=False, isolation_level=None
        )
        # The file is finished or is thrown away; what must survive a kill is kept elsewhere.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS answers (id BLOB PRIMARY KEY, logits BLOB) WITHOUT ROWID"
        )

    def add(self, ids: Sequence[bytes], logits: NDArray[np.float32]) -> None:
        """Keep logits `[b, classes]`; of a known id nothing changes."""
        rows = zip(ids, (row.astype("<f4").tobytes() for row in logits), strict=True)
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def has(self, identity: bytes) -> bool:
        """Whether there is an answer to an example."""
        return bool(
            self._database.execute("SELECT 1 FROM answers WHERE id = ?", (identity,)).fetchone()
        )

    def logits(self, ids: Iterable[bytes]) -> NDArray[np.float32]:
        """Logits `[b, classes]`.

        Raises:
          DataError: There is no answer to one of the examples.
        """
        wanted = list(ids)
        found: dict[bytes, bytes] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            found.update(
                self._database.execute(
                    f"SELECT id, logits FROM answers WHERE id IN ({marks})", some
                ).fetchall()
            )
        if absent := next((each for each in wanted if each not in found), None):
            raise DataError(
                f"the teacher's answers lack example {absent.decode()}", damaged=self._directory
            )
        return np.frombuffer(b"".join(found[each] for each in wanted), "<f4").reshape(
            len(wanted), -1
        )

    def describe(self, description: dict[str, Any]) -> None:
        """Write down where the answers come from, and close the file."""
        self._database.close()
        with open(os.path.join(self._directory, _DESCRIPTION), "w", encoding="utf-8") as file:
            json.dump(description, file, indent=2)

    def description(self) -> dict[str, Any]:
        """What was written down."""
        with open(os.path.join(self._directory, _DESCRIPTION), encoding="utf-8") as file:
            return dict(json.load(file))
