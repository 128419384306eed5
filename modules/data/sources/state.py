"""What a source's files are at the moment: digests by which a run notices any change of them.

TFX's own fingerprint is the number of files, their bytes and the whole seconds of their times. It
knows no names: to TFX, two swapped folders are the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

from modules import files

# Up to so much is read, in a second or two; of more, times stand for contents.
MAX_CONTENT_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20


def folder_state(folder: str) -> bytes:
    """Digest of all files below a folder or a URL but hidden ones; see `files_state`.

    At a URL, what its store says of a version stands for the content.
    """
    local = files.local_path(folder)
    if local is not None:
        return files_state(_below(local.rstrip("/")))
    lines = [
        f"{name}\0{mark}\n"
        for name, mark in files.marks(folder)
        if not any(part.startswith(".") for part in name.split("/"))
    ]
    return hashlib.sha256("".join(lines).encode()).digest()


def files_state(named: Iterable[tuple[str, str]]) -> bytes:
    """Digest of local files: their names, sizes and contents.

    Of more than `MAX_CONTENT_BYTES` in all, their times in nanoseconds stand for the contents.

    Args:
      named: A name and a path for each file.
    """
    found = [(name, path, _status(path)) for name, path in sorted(named)]
    exact = sum(about.st_size for _, _, about in found) <= MAX_CONTENT_BYTES
    digest = hashlib.sha256()
    for name, path, about in found:
        digest.update(b"%s\0%d " % (os.fsencode(name), about.st_size))
        # Only a regular file has an end.
        if exact and stat.S_ISREG(about.st_mode) and os.access(path, os.R_OK):
            for chunk in _chunks(path):
                digest.update(chunk)
        else:
            digest.update(b"%d %d" % (about.st_mode, about.st_mtime_ns))
    return digest.digest()


def _below(folder: str) -> Iterator[tuple[str, str]]:
    """Relative name and path of every file, of linked folders too."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _is_circle(os.path.join(place, name))
        ]
        below = place.removeprefix(folder)
        for name in names:
            if not name.startswith("."):
                yield f"{below}/{name}", f"{place}/{name}"


def _is_circle(path: str) -> bool:
    return os.path.islink(path) and files.leads_up(path)


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError:  # A link to nothing, which whoever reads it will name.
        return os.lstat(path)


def _chunks(path: str) -> Iterator[bytes]:
    # Half the time of Python's file objects, where files are small and many.
    file = os.open(path, os.O_RDONLY)
    try:
        while chunk := os.read(file, _CHUNK_BYTES):
            yield chunk
    finally:
        os.close(file)
