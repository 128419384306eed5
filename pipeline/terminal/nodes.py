"""Runs nodes under the console; whatever ends them is one line that begins with the node."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
            if isinstance(error, UserError):
                raise type(error)(f"{where}{error}") from raised
            if isinstance(error, KeyboardInterrupt):
                goes_on = "; the same command goes on from what is done" if log_is_kept else ""
                message = f"{where}{ending(error)}{goes_on}"
                raise type(error)(message) from raised
            # A user's code may even call sys.exit.
            traceback = f"is in {log_file}, or run again with" if log_is_kept else "is shown by"
            message = f"{where}{reason_of(error)}; the traceback {traceback} --debug"
            raise UserError(message) from raised


def code_of(work: Callable[[], int]) -> int:
    """The exit code of a command's work; says what ends it."""
    try:
        return work()
    except UserError as error:
        return explain(str(error), EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
    except KeyboardInterrupt as interrupt:
        return explain(str(interrupt) or ending(interrupt), exit_code(interrupt))
