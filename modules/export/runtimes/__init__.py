"""The runtimes that a model is shipped for: the only code that runs a shipped file.

A new runtime is a file beside this one with a class that fulfills `Runtime`, and an entry in
`RUNTIMES`. NumPy is all that is imported with this package: the processes that time a file load
nothing of what trained the model.
"""

from __future__ import annotations

from typing import Any

from modules.export.runtimes.litert import LiteRT
from modules.export.runtimes.protocol import (
    Examples,
    LoadedModel,
    ModelFile,
    Query,
    Runtime,
    Tensors,
    count_examples,
    select,
)
from modules.export.runtimes.saved_model import SavedModel

LITERT, SAVED_MODEL = "litert", "saved_model"
RUNTIMES: dict[str, Runtime] = {LITERT: LiteRT(), SAVED_MODEL: SavedModel()}

__all__ = [
    "LITERT",
    "RUNTIMES",
    "SAVED_MODEL",
    "Examples",
    "LoadedModel",
    "ModelFile",
    "Query",
    "Runtime",
    "Tensors",
    "count_examples",
    "load",
    "select",
    "taken_by",
]


def load(runtime: str, path: str, threads: int = 1, batch_size: int = 1) -> LoadedModel:
    """Load a file.

    Args:
      runtime: A key of `RUNTIMES`.
      path: The file; of a SavedModel, the directory.
      threads: For LiteRT; TensorFlow's are those of the process.
      batch_size: Examples in a query.

    Raises:
      ValueError: The file cannot be loaded, does not take such batches, or has another
        signature; the runtimes raise it, and RuntimeError, OSError, MemoryError as well.
    """
    return RUNTIMES[runtime].load(path, threads, batch_size)


def taken_by(runtime: str, examples: Examples) -> Any:
    """The examples in the form that a runtime takes."""
    return getattr(examples, RUNTIMES[runtime].takes)
