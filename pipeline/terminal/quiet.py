"""Quiet for commands whose output is an answer and not a log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_messages(shown: bool = False) -> Iterator[None]:
    """TensorFlow's and LiteRT's native code write to stderr whatever the logging is set to.

    While this lasts nothing written to stderr is seen, unless it is to be shown.
    """
    if shown:
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
