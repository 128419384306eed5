"""A process that pushes, or rolls back, and is killed at a chosen one of its file operations."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pushes import make_candidate

from modules.push import publish

_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def start(action: str, work_dir: Path, destination: Path, step: int) -> BaseProcess:
    """Starts `push_<token>` or `rollback` in a process that does not survive the given step.

    A real SIGKILL comes before the step-th change of the destination: a file opened for writing,
    a directory made, a rename, a removal.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["pytest", "modules.push.publish"])  # what takes long to import
    arguments = (action, str(work_dir), str(destination), step)
    process = server.Process(target=_run, args=arguments)
    process.start()
    return process


def _run(action: str, work_dir: str, destination: str, step: int) -> None:
    os.fsync = lambda descriptor: None  # a kill loses nothing that was written
    steps = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if _is_change(event, arguments, destination):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if action == "rollback":
        publish.rollback(destination)
    else:
        token = action.removeprefix("push_")
        publish.push(make_candidate(Path(work_dir), token), destination, keep=2)


def _is_change(event: str, arguments: tuple[Any, ...], destination: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        return str(path).startswith(destination) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    if event not in _CHANGES:
        return False
    # rmtree names what it removes relative to an open directory.
    return str(arguments[0]).startswith(destination) or "/" not in str(arguments[0])
