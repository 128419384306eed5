"""Full disks: found before something large is written, and named where it turns out later."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modules.errors import UserError

_FULL = re.compile(
    "No space left on device|Disk quota exceeded|database or disk is full", re.IGNORECASE
)
_MB = 1e6


@contextmanager
def space_for(path: str, need: int, what: str) -> Iterator[None]:
    """Write what its disk has room for; a file that did not fit after all is removed.

    Args:
      path: Of the file or directory to write; a URL's store is not asked beforehand.
      need: Bytes.
      what: What is written, for the message.

    Raises:
      UserError: The disk is full, or too full.
    """
    if "://" not in path and shutil.disk_usage(_existing(path)).free < need:
        raise UserError(_message(path, need, what))
    try:
        yield
    except Exception as error:
        if is_full(error):
            with suppress(OSError):
                os.remove(path)
            raise UserError(_message(path, need, what)) from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether an exception, or what has led to it, is a full disk; libraries raise many kinds."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_space(path: str) -> str:
    """What is free at a local path and on which disk, for a message."""
    place = _existing(path)
    disk = next(each for each in (place, *place.parents) if os.path.ismount(each))
    return f"{shutil.disk_usage(place).free / _MB:,.1f} MB are free at {path} (disk {disk})"


def _message(path: str, need: int, what: str) -> str:
    free = "its store is full" if "://" in path else free_space(path)
    return (
        f"no space left for {what}: {need / _MB:,.1f} MB are needed, and {free}; free some, and "
        "the same command goes on from what is done"
    )


def _existing(path: str) -> Path:
    """The path, or the nearest directory above it that is there."""
    place = Path(path).absolute()
    return next(each for each in (place, *place.parents) if each.exists())
