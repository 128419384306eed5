"""A run in a process of its own: whatever ends it, one line says so and nothing is left behind."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from modules.disk import free_space
from modules.processes import die_with_parent
from pipeline.terminal.exits import explain
from pipeline.terminal.temporary import private_directory

# As a shell reports a process that a signal has ended.
_SIGNALED = 128
_HANDLED = {signal.SIGINT, signal.SIGTERM}
_NODE = re.compile(rb"Component (\S+) is (running|finished)\.")
_LOG_TAIL_BYTES = 1 << 20
_LITTLE_BYTES = 1_000_000
_SOON_S = 0.05
_TWICE_S = 2.0
_GOES_ON = "the same command goes on from what is done"
_received: list[KeyboardInterrupt] = []
_last_interrupt = [-math.inf]


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


def supervised(
    work: Callable[[], int],
    log_file: Path | None = None,
    remedy: str = f"--debug shows messages, and {_GOES_ON}",
) -> int:
    """Run in a forked process with a temporary directory of its own, and wait for it.

    Native code may kill its process, and an exhausted machine may too; then this one is still
    there to say so, and to remove what was left in the temporary directory.

    Args:
      work: Returns the exit code. It loads all that is heavy; a process that has loaded it already
        cannot be forked safely, and does the work itself.
      log_file: Where the run writes its messages; None if nobody will find it.
      remedy: What to say after a signal that has ended the work, if there is no log file.

    Returns:
      The exit code of the work, or 128 and the signal's number if a signal has ended it.
    """
    if "tensorflow" in sys.modules:
        return work()
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor, logged = os.getpid(), log_file.stat().st_size if log_file else 0
    if log_file:
        remedy = f"the last messages are in {log_file}, and {_GOES_ON}"
    with private_directory() as temporary:
        # A signal waits until both processes know what to do with it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        child = os.fork()
        if child == 0:
            _work(work, supervisor, temporary)
        return _wait(child, log_file, logged, remedy)


def ending(error: KeyboardInterrupt) -> str:
    """What has happened, in a word."""
    return "terminated" if isinstance(error, Terminated) else "interrupted"


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects of a process that was interrupted or terminated."""
    return _SIGNALED + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _work(work: Callable[[], int], supervisor: int, temporary: str) -> NoReturn:
    code = 1
    try:
        die_with_parent(supervisor)
        handle_signals()
        sys.unraisablehook = _send_again
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        code = work()
    except KeyboardInterrupt as interrupt:
        code = explain("interrupted before the run began", exit_code(interrupt))
    # Work explains what it expects; what nobody has expected must not go without a word.
    except BaseException as error:  # noqa: BLE001
        traceback.print_exc()
        code = explain(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: what the command has on its stack is the supervisor's to end.
        os._exit(code)


def handle_signals() -> dict[int, Any]:
    """Have SIGTERM end this process as Ctrl-C does.

    Returns:
      The handlers before.
    """
    return {number: signal.signal(number, _interrupt) for number in _HANDLED}


def interruption() -> KeyboardInterrupt | None:
    """The signal that has ended the work, whatever others have made of its exception."""
    return _received[-1] if _received else None


def _interrupt(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    else:
        # A terminal sends Ctrl-C to both processes, and the other one hands it on.
        before, _last_interrupt[0] = _last_interrupt[0], time.monotonic()
        if _last_interrupt[0] - before < _TWICE_S:
            return
    _received.append(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
    raise _received[-1]


def _send_again(ignored: Any) -> None:
    """Python ignores what is raised in a finalizer; a signal that came just then would be lost."""
    if not any(ignored.exc_value is each for each in _received):
        sys.__unraisablehook__(ignored)
        return
    number = signal.SIGTERM if isinstance(ignored.exc_value, Terminated) else signal.SIGINT
    # Not at once, since what is raised in here is ignored, too.
    again = threading.Timer(_SOON_S, _send, (number,))
    again.daemon = True
    again.start()
    signal.signal(number, _interrupt)


def _send(number: int) -> None:
    _last_interrupt[0] = -math.inf
    os.kill(os.getpid(), number)


def _wait(child: int, log_file: Path | None, logged: int, remedy: str) -> int:
    """Wait for the child, and hand on signals: the child may know nothing of them."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        # It may have got the signal itself, and be gone.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before: dict[int, Any] = {number: signal.signal(number, hand_on) for number in _HANDLED}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    node = running_node(log_file, logged) if log_file else ""
    return explain(
        f"{f'{node}: ' if node else ''}the process was ended by {signal.Signals(number).name} "
        f"({signal.strsignal(number)}){_advice(number)}{_full(log_file)}; {remedy}",
        _SIGNALED + number,
    )


def _advice(number: int) -> str:
    if number == signal.SIGKILL:
        return ", which is how Linux ends a process when memory is short"
    if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        return ", a fault in native code; try another batch size, or TF_ENABLE_ONEDNN_OPTS=0"
    return ""


def _full(log_file: Path | None) -> str:
    """A file that is mapped into memory on a full disk ends its process with a signal."""
    if log_file is None or shutil.disk_usage(log_file.parent).free >= _LITTLE_BYTES:
        return ""
    return f"; no space left: {free_space(str(log_file.parent))}"


def running_node(log_file: Path, begin: int = 0) -> str:
    """The node that had begun and not ended, by the messages from a position of the log on."""
    with log_file.open("rb") as log:
        log.seek(max(begin, log_file.stat().st_size - _LOG_TAIL_BYTES))
        found = _NODE.findall(log.read())
    return found[-1][0].decode() if found and found[-1][1] == b"running" else ""
