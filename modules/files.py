"""Files and directories at local paths and URLs, through fsspec.

The scheme of a URL names its file system, such as `s3://` or `gs://`. What a store needs besides
the URL comes from its own environment variables and from fsspec's configuration, never from ours.
For S3 and compatible servers:

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE      credentials, as for other clients
    AWS_ENDPOINT_URL or FSSPEC_S3_ENDPOINT_URL                 a server other than Amazon's
    ~/.config/fsspec/s3.json: {"s3": {"endpoint_url": "…"}}    the same in a file

They are read once, when a process first uses the store. Listings are not cached, so a reader
sees what others have written in the meantime.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from modules.errors import UserError

_CHUNK_BYTES = 1 << 20
# It also logs the stack of every error that it raises; GCSFS_DEBUG=WARNING shows them.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def is_url(path: str) -> bool:
    """Whether a path is one of another file system, such as `s3://bucket/models`."""
    return "://" in path


def local_path(path: str) -> str | None:
    """The path on this machine of a local path or a `file://` URL; None for any other URL."""
    path = path.removeprefix("file://")
    return None if is_url(path) else path


def check_scheme(path: str) -> None:
    """Checks that there is a file system for a path, without looking at the path.

    Raises:
      UserError: The scheme is unknown, or its package is not installed.
    """
    _locate(path)


def exists(path: str) -> bool:
    """Whether there is such a file or directory; on an object store, whether anything is below."""
    files, place = _locate(path)
    return bool(files.exists(place))


def is_dir(path: str) -> bool:
    """Whether it is a directory; on an object store, whether anything is below."""
    files, place = _locate(path)
    return bool(files.isdir(place))


def entries(directory: str) -> list[str]:
    """Sorted names of what is in a directory; none if there is no such directory."""
    files, place = _locate(directory)
    try:
        found = files.ls(place, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    # An object store may list the directory itself, as an empty object.
    return sorted({_name(each) for each in found if each.rstrip("/") != place})


def file_names(directory: str) -> list[str]:
    """Sorted relative names of all files below a directory; none if there is no such directory."""
    try:
        return sorted(name for name, _ in _below(*_locate(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def marks(url: str) -> list[tuple[str, str]]:
    """Sorted relative names of all files below a URL, each with what changes when it is written."""
    return sorted((name, _mark(entry)) for name, entry in _below(*_locate(url)))


def leads_up(path: str) -> bool:
    """Whether a local link leads to a directory that the path to it comes through, in a circle."""
    target, above = os.path.realpath(path), os.path.abspath(path)
    while above != (above := os.path.dirname(above)):
        if os.path.realpath(above) == target:
            return True
    return False


def check_regular(path: str) -> None:
    """Checks that a local path, if it is there, is a regular file: a pipe or a device has no end.

    Raises:
      OSError: It is something else.
    """
    local = local_path(path)
    if local is not None and os.path.exists(local) and not os.path.isfile(local):
        raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_bytes(path: str) -> bytes:
    """The content of a file.

    Raises:
      FileNotFoundError: The file does not exist.
      OSError: It is not a regular file, or cannot be read.
    """
    with _reading(path) as file:
        return bytes(file.read())


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
      FileNotFoundError: The file does not exist.
    """
    digest = hashlib.sha256()
    with _reading(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file, at a URL as a whole or not at all; a local directory must exist."""
    with _writing(path) as file:
        file.write(content)


def copy(source: str, target: str) -> str:
    """Copies a file and makes its directory; returns the SHA-256 of what was copied.

    Raises:
      FileNotFoundError: The source does not exist.
    """
    digest = hashlib.sha256()
    if (local := local_path(target)) is not None:
        os.makedirs(os.path.dirname(local), exist_ok=True)
    with _reading(source) as reader, _writing(target) as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


def copy_tree(source: str, target: str) -> None:
    """Copies all files below a directory."""
    for name in file_names(source):
        copy(f"{source.rstrip('/')}/{name}", f"{target.rstrip('/')}/{name}")


def remove(path: str) -> None:
    """Removes a file."""
    files, place = _locate(path)
    files.rm_file(place)


def remove_tree(directory: str) -> None:
    """Removes a directory with all that is in it, if it is there."""
    files, place = _locate(directory)
    if files.exists(place):
        files.rm(place, recursive=True)


class LocalCopies:
    """Local copies of what is at URLs; local paths stay as they are.

    For code that needs local files: LiteRT, SavedModels on stores that TensorFlow cannot read,
    timed processes that must not wait for a network. A context manager: what was written is copied
    to its URL when the context ends without an error.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> LocalCopies:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def to_read(self, path: str) -> str:
        """A local file or directory with the content of `path`."""
        if (local := local_path(path)) is not None:
            return local
        local = self._stack.enter_context(tempfile.TemporaryDirectory())
        files, place = _locate(path)
        if files.isfile(place):
            local = f"{local}/{_name(place)}"
            copy(path, local)
        else:
            copy_tree(path, local)
        return local

    def to_write(self, directory: str) -> str:
        """A local directory whose content is copied to `directory` in the end."""
        local = local_path(directory)
        return self._stack.enter_context(_copied_to(directory)) if local is None else local


@contextmanager
def _copied_to(url: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield directory
        copy_tree(directory, url)


def _locate(path: str) -> tuple[Any, str]:
    """The file system that a path is on, and what it calls the path; see `check_scheme`."""
    # Not at the top: takes a tenth of a second, and the command line only asks `is_url` at first.
    import fsspec

    if (local := local_path(path)) is not None:
        return fsspec.filesystem("file"), os.path.join(os.getcwd(), local).rstrip("/") or "/"
    try:
        files, place = fsspec.url_to_fs(path, use_listings_cache=False)
    except ImportError as error:
        raise UserError(f"{path} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise UserError(
            f"{path} must be a local path or a URL that fsspec knows, such as s3://… or gs://…, "
            f"but: {error}"
        ) from error
    return files, place.rstrip("/")


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _below(files: Any, directory: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in files.ls(directory, detail=True):
        path = entry["name"].rstrip("/")
        if path == directory:
            continue
        # A local link is listed as neither a file nor a directory.
        linked = entry["type"] not in ("file", "directory") and files.isdir(path)
        if linked and leads_up(path):
            continue
        if linked or entry["type"] == "directory":
            yield from _below(files, path, f"{prefix}{_name(path)}/")
        else:
            yield prefix + _name(path), entry


def _mark(entry: Mapping[str, Any]) -> str:
    """Size and version of a listed file, by whatever name its store has for the version."""
    versions = ("ETag", "etag", "generation", "LastModified", "updated", "created", "mtime")
    version = next((entry[name] for name in versions if entry.get(name)), None)
    return f"{entry.get('size')} {version}"


@contextmanager
def _reading(path: str) -> Iterator[IO[bytes]]:
    files, place = _locate(path)
    check_regular(path)
    try:
        file = files.open(place, "rb")
    except (FileNotFoundError, NotADirectoryError):
        # Object stores do not name the path.
        raise FileNotFoundError(path) from None
    with file:
        yield file


@contextmanager
def _writing(path: str) -> Iterator[IO[bytes]]:
    files, place = _locate(path)
    if local_path(path) is not None:
        with files.open(place, "wb") as file:
            yield file
        return
    # Only a finished file is uploaded: half of one must never appear. Not a transaction of fsspec,
    # which all threads of a process would share.
    with tempfile.NamedTemporaryFile() as finished:
        yield finished
        finished.flush()
        files.put_file(finished.name, place)
