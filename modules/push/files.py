"""The few file operations that a push needs, on this machine or on any other file system.

`tfx.dsl.io.fileio` has them under the same names, so that a URL works wherever TFX has a plugin
for its scheme; `LOCAL` has them without TFX.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import IO, Any, Protocol

from modules.errors import ConfigError

_CHUNK_BYTES = 1 << 20


class Files(Protocol):
    """A file system; paths are strings with `/` between their parts."""

    def open(self, path: str, /, mode: str = "r") -> Any:
        """A context manager with `read` or `write`; modes `rb` and `wb` are used."""

    def exists(self, path: str, /) -> bool:
        """Whether there is such a file or directory."""

    def isdir(self, path: str, /) -> bool:
        """Whether it is a directory; on an object store, whether something lies below it."""

    def listdir(self, path: str, /) -> Any:
        """Names of what is in a directory; a directory's may end in `/`."""

    def makedirs(self, path: str, /) -> None:
        """Makes a directory and what is missing above it; nothing happens if it is there."""

    def remove(self, path: str, /) -> None:
        """Removes a file."""

    def rmtree(self, path: str, /) -> None:
        """Removes a directory with all that is in it."""


class LocalFiles:
    """The file system of this machine."""

    def open(self, path: str, /, mode: str = "r") -> IO[Any]:
        """See `Files`."""
        return open(path, mode)

    def exists(self, path: str, /) -> bool:
        """See `Files`."""
        return os.path.exists(path)

    def isdir(self, path: str, /) -> bool:
        """See `Files`."""
        return os.path.isdir(path)

    def listdir(self, path: str, /) -> list[str]:
        """See `Files`."""
        return os.listdir(path)

    def makedirs(self, path: str, /) -> None:
        """See `Files`."""
        os.makedirs(path, exist_ok=True)

    def remove(self, path: str, /) -> None:
        """See `Files`."""
        os.remove(path)

    def rmtree(self, path: str, /) -> None:
        """See `Files`."""
        shutil.rmtree(path)


LOCAL = LocalFiles()


def is_url(path: str) -> bool:
    """Whether a path is one of another file system, such as `gs://bucket/models`."""
    return "://" in path


def files_of(path: str, remote: Files | None) -> Files:
    """The file system that a path is on.

    Args:
      path: a local path or a URL.
      remote: what reads and writes URLs, such as `tfx.dsl.io.fileio`.

    Raises:
      ConfigError: the path is a URL and `remote` is None.
    """
    if not is_url(path):
        return LOCAL
    if remote is None:
        raise ConfigError(
            f"{path} must be a local path here, where no file system for URLs is at hand"
        )
    return remote


def entries(files: Files, directory: str) -> list[str]:
    """Sorted names of what is in a directory; none if there is no such directory."""
    # Not isdir: TensorFlow's answers False where it is not allowed to look, or cannot.
    if not files.exists(directory):
        return []
    names = (os.fsdecode(name).rstrip("/") for name in files.listdir(directory))
    return sorted(name for name in names if name)


def file_names(files: Files, directory: str) -> list[str]:
    """Sorted relative names of every file below a directory."""
    found = []
    for name in entries(files, directory):
        path = f"{directory}/{name}"
        if files.isdir(path):
            found += [f"{name}/{below}" for below in file_names(files, path)]
        else:
            found.append(name)
    return sorted(found)


def read_bytes(files: Files, path: str) -> bytes:
    """The content of a file.

    Raises:
      FileNotFoundError: there is none, whatever the file system itself would raise.
    """
    if not files.exists(path):
        raise FileNotFoundError(path)
    with files.open(path, mode="rb") as file:
        return bytes(file.read())


def write_bytes(files: Files, path: str, content: bytes) -> None:
    """Writes a file; its directory has to be there."""
    with files.open(path, mode="wb") as file:
        file.write(content)


def sha256(files: Files, path: str) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
      FileNotFoundError: there is none.
    """
    if not files.exists(path):
        raise FileNotFoundError(path)
    digest = hashlib.sha256()
    with files.open(path, mode="rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def copy(source_files: Files, source: str, files: Files, target: str) -> str:
    """Copies a file, between file systems too; returns the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with (
        source_files.open(source, mode="rb") as reader,
        files.open(target, mode="wb") as writer,
    ):
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()
