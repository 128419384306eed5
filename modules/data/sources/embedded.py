"""Data sets that are part of the project: `data.path: embedded:NAME`, see embedded/SOURCES.md.

They are found by the process that reads them, wherever the project is installed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modules.errors import did_you_mean
from modules.settings import EMBEDDED, DataSettings

DIRECTORY = Path(__file__).parents[1] / "embedded"


def is_embedded(path: str | None) -> bool:
    """Whether a path names such a data set."""
    return path is not None and path.startswith(EMBEDDED)


def locate(path: str) -> str:
    """Where such a data set lies here; any other path as it is."""
    return str(DIRECTORY / path.removeprefix(EMBEDDED)) if is_embedded(path) else path


def embedded_problems(settings: DataSettings) -> Iterator[str]:
    """A line for each setting that does not suit an embedded `data.path`."""
    path = str(settings.path)
    if not is_embedded(path):
        return
    known = [f"{EMBEDDED}{file.name}" for file in sorted(DIRECTORY.glob("*.parquet"))]
    if path not in known:
        yield (
            f"data.path must be one of {', '.join(known)}, or files of your own, got {path!r}"
            f"{did_you_mean(path, known)}"
        )
    if settings.source != "parquet":
        yield f"data.source must be parquet when data.path is {path}, got {settings.source!r}"
    for name in ("splits", "unlabeled"):
        if value := getattr(settings, name):
            yield f"data.{name} must not be set when data.path is {path}, got {value!r}; remove it"
