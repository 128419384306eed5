"""Which file of records is damaged, once something that has read them says that one is."""

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
    """The first file of records below a directory that cannot be read to its end, and why."""
    for folder, _, names in sorted(os.walk(directory)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            reason = _PROBLEM[os.path.splitext(name)[1]](path) if name.endswith(_KNOWN) else ""
            if reason:
                return f"{path} is damaged ({reason})"
    return None


def _unreadable(path: str) -> str:
    try:
        with gzip.open(path) as file:
            while file.read(_CHUNK_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return ""


def _broken_records(path: str) -> str:
    """Of what is not compressed, each record has a sum."""
    import tensorflow as tf

    try:
        for _ in tf.data.TFRecordDataset(path):
            pass
    except tf.errors.OpError as error:
        return error.message.split(" [Op:")[0].split("}} ")[-1]
    return ""


_PROBLEM = {".gz": _unreadable, ".answers": _broken_records}
_KNOWN = tuple(_PROBLEM)
