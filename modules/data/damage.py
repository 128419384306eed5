"""Which file of examples is damaged, once something that has read them says that one is."""

from __future__ import annotations

import gzip
import os
import re
import zlib

# As Beam's readers and TensorFlow's say it.
_WORDS = re.compile(r"TFRecord|DataLoss|[Tt]runcated|[Cc]orrupt|damaged|CRC|decompress|EOFError")
_CHUNK_BYTES = 1 << 20


def speaks_of_damage(error: BaseException) -> bool:
    """Whether an error may come from a damaged file."""
    return bool(_WORDS.search(f"{type(error).__name__}: {error}"))


def damaged_file(directory: str) -> str | None:
    """The first compressed file below a directory that cannot be read to its end, and why."""
    for folder, _, names in sorted(os.walk(directory)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".gz") and (reason := _problem(path)):
                return f"{path} is damaged ({reason})"
    return None


def _problem(path: str) -> str:
    try:
        with gzip.open(path) as file:
            while file.read(_CHUNK_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return ""
