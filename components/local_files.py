"""Local stand-ins for directories at URLs, for what works on local files alone.

LiteRT opens local files, and models are timed in processes that should read no network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import tensorflow as tf

from modules.push.files import is_url


class LocalFiles:
    """Copies what is at URLs into local directories and back; local paths stay as they are.

    A context: what was written is copied to its URL when it ends without an error.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> LocalFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def to_read(self, uri: str) -> str:
        """A local directory with the content of `uri`."""
        if not is_url(uri):
            return uri
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        copy_tree(uri, directory)
        return directory

    def to_write(self, uri: str) -> str:
        """A local directory whose content goes to `uri`."""
        return self._stack.enter_context(_written(uri)) if is_url(uri) else uri


@contextmanager
def _written(uri: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield directory
        copy_tree(directory, uri)


def copy_tree(source: str, target: str) -> None:
    """Copy all files below a directory or URL that TensorFlow can read."""
    source = source.rstrip("/")
    for folder, _, names in tf.io.gfile.walk(source):
        inner = folder.rstrip("/").removeprefix(source).strip("/")
        into = os.path.join(target, inner) if inner else target
        tf.io.gfile.makedirs(into)
        for name in names:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(into, name), overwrite=True)
