"""Runs nodes under the console; whatever ends them is one line that begins with the node."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from modules.disk import free_space, is_full
from modules.errors import ConfigError, UserError, reason_of
from pipeline.terminal.console import run_console
from pipeline.terminal.exits import EXIT_FAILED, EXIT_USAGE, explain
from pipeline.terminal.supervision import ending, exit_code, interruption

Found = TypeVar("Found")


def run_nodes(
    work: Callable[[], Found], log_file: Path, debug: bool, log_is_kept: bool = True
) -> Found:
    """Do some work that runs nodes.

    Args:
      work: Imports what it needs, so that the console is there before TensorFlow.
      log_file: Gets every message.
      debug: Show every message.
      log_is_kept: Whether the user finds the file afterwards.

    Raises:
      KeyboardInterrupt: With what to say of it.
      UserError: Anything else has gone wrong; the log has the traceback.
    """
    # A user's own `package.module:function` is looked for where the command is given, too.
    sys.path.append(os.getcwd())
    with run_console(log_file, debug) as console:
        try:
            return work()
        except BaseException as raised:
            # Beam makes a RuntimeError of an interrupt.
            error = interruption() or raised
            logging.getLogger("pipeline").exception("the run ends with an error")
            where = f"{console.node}: " if console.node else ""
            kind, message = _said_of(error, log_file, log_is_kept)
            raise kind(f"{where}{message}") from raised


def _said_of(
    error: BaseException, log_file: Path, log_is_kept: bool
) -> tuple[type[BaseException], str]:
    """What to raise instead of an exception, and its message."""
    if isinstance(error, UserError):
        return type(error), str(error)
    if isinstance(error, KeyboardInterrupt):
        goes_on = "; the same command goes on from what is done" if log_is_kept else ""
        return type(error), f"{ending(error)}{goes_on}"
    if is_full(error):
        free = "; ".join(map(free_space, (str(log_file.parent), tempfile.gettempdir())))
        goes_on = "free some, and the same command goes on from what is done"
        return UserError, f"no space left: {free}; {goes_on}"
    # A user's code may even call sys.exit.
    traceback = f"is in {log_file}, or run again with" if log_is_kept else "is shown by"
    return UserError, f"{reason_of(error)}; the traceback {traceback} --debug"


def code_of(work: Callable[[], int]) -> int:
    """The exit code of a command's work; says what ends it."""
    try:
        return work()
    except UserError as error:
        return explain(str(error), EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
    except KeyboardInterrupt as interrupt:
        return explain(str(interrupt) or ending(interrupt), exit_code(interrupt))
