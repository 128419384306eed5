"""One run at a time in an output directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import portalocker

from modules.errors import UserError

LOCK_FILE = ".lock"


@contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Hold the lock of an output directory, which has to be there.

    Raises:
      UserError: Another run holds it.
    """
    # The kernel releases it when the process ends, however that happens.
    lock = portalocker.Lock(output / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except portalocker.LockException as error:
        raise UserError(
            f"--output: {output} must not be in use, but another run is using it; wait for it or "
            "choose another directory"
        ) from error
    try:
        yield
    finally:
        lock.release()
