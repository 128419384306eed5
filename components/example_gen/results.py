"""What a reading of the data found out, from Beam's workers to the node, through a file.

Workers may be other machines, so the file lies below the pipeline root, where others may write. It
is a pickle, of our own classes and plain ones alone: nothing in it is called.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from tfx.dsl.io import fileio

from modules.errors import DataError

_PLAIN = {("builtins", "set"), ("builtins", "frozenset"), ("collections", "Counter")}
_OURS = "modules.data."


def write_result(result: Any, path: str) -> None:
    """Write a result where the node expects it."""
    with fileio.open(path, "wb") as file:
        file.write(pickle.dumps(result))


def take_result(path: str) -> Any:
    """Read and remove a result.

    Raises:
      DataError: Something else is in the file.
    """
    with fileio.open(path, "rb") as file:
        content = file.read()
    fileio.remove(path)
    try:
        return _Unpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise DataError(
            f"{path}: must be what this node's readers have written, but {error}; let nobody else "
            "write below the pipeline root"
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN or module.startswith(_OURS):
            found = super().find_class(module, name)
            # A module's imports are no classes of its own.
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"it has {module}.{name} in it")
