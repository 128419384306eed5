"""How a command ends: its exit code, and its errors as one line each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from modules.errors import ConfigError, UserError
from pipeline.terminal.printable import echo

EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED = 1, 2, 3


def explain(message: str, code: int = EXIT_FAILED) -> int:
    """Write an error, one line or several; returns the exit code."""
    for line in message.splitlines():
        echo(f"error: {line}", err=True)
    return code


def fail(error: UserError | str, code: int) -> NoReturn:
    """Write an error and end."""
    sys.exit(explain(str(error), code))


@contextmanager
def errors_explained() -> Iterator[None]:
    """End with 2 if the command line or the configuration is wrong, with 1 for other errors."""
    try:
        yield
    except ConfigError as error:
        fail(error, EXIT_USAGE)
    except UserError as error:
        fail(error, EXIT_FAILED)
