"""A temporary directory for one command, of which nothing stays, whatever ends the command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modules.errors import UserError

_PREFIX = "tfx-distill-run-"
_LOCK = ".lock"


@contextmanager
def private_directory() -> Iterator[str]:
    """Make a directory in `TMPDIR`, and remove it; also removes those of commands that were killed.

    A command and what it forks hold the lock in their directory, which the kernel releases when
    the last of them has ended.

    Raises:
      UserError: There is no place for it.
    """
    try:
        _remove_abandoned(Path(tempfile.gettempdir()))
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise UserError(
            f"TMPDIR must name a directory that can be written to, but none can be made there "
            f"({error.strerror}: {error.filename or os.environ.get('TMPDIR')}); set another one, "
            "or make room"
        ) from error
    try:
        # Locked before it has its name, so that a lock without a holder has lost it.
        with open(directory / f"{_LOCK}.new", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, directory / _LOCK)
            yield str(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(temporary: Path) -> None:
    for lock in temporary.glob(f"{_PREFIX}*/{_LOCK}"):
        # Another user's directory cannot be opened; one that is gone was removed by its command.
        with contextlib.suppress(OSError), open(lock, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
