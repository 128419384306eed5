"""Paths as they are typed: `~` is the home directory, relative ones begin where the command is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from modules.errors import ConfigError
from modules.files import is_url
from pipeline.run_directory.lock import LOCK_FILE
from pipeline.terminal.exits import EXIT_USAGE, fail


class LocalPath(click.Path):
    """A file or directory here, as a `pathlib.Path`; takes what `click.Path` takes."""

    def __init__(self, **checks: Any):
        super().__init__(path_type=Path, **checks)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, which is not empty."""
        return super().convert(_expanded(self, value, param, ctx), param, ctx)


class PathOrUrl(click.ParamType):
    """A local path or a URL, as text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text, which is not empty."""
        return _expanded(self, value, param, ctx)


def _expanded(
    kind: click.ParamType, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    if value == "":
        kind.fail("must be a path, got an empty text; name one", param, ctx)
    if isinstance(value, str) and not is_url(value):
        return os.path.expanduser(value)
    return value


def make_output(output: Path) -> Path:
    """Make a run's output directory, and the file of its messages.

    Returns:
      The file.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in (LOCK_FILE, "run.log"):
            (output / name).open("a").close()
    except OSError as error:
        message = f"--output must be a directory that can be written to, got {output} ({error})"
        fail(f"{message}; choose another", EXIT_USAGE)
    return output / "run.log"


def write_new(option: str, file: Path, text: str) -> None:
    """Write what a command was asked for.

    Raises:
      ConfigError: The file cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{option} must be a file that can be written, got {file} ({error.strerror}); choose "
            "another"
        ) from error
