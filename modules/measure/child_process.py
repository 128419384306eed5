"""Runs a module of the project in a process of its own, with files for question and answer.

The child gets a directory with `task.json` and `arrays.npz`, says when it is ready, waits for its
turn, and leaves `answer.json` and `answer.npz`. Whatever becomes of it, the process and the
directory are gone when the parent goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import modules
from modules.processes import die_with_parent

# Where `modules` lies, be it a checkout or site-packages.
_ROOT = Path(next(iter(modules.__path__))).parent
_LONGEST_LINE = 300
_PARENT = "TFX_DISTILL_PARENT"  # environment variable: process id
Arrays = Mapping[str, NDArray[Any]]


class ChildError(Exception):
    """A child gave no answer.

    Attributes:
      subject: The file it was at work on, as far as it said.
      reason: One line.
    """

    def __init__(self, subject: str, reason: str):
        super().__init__(f"{subject}: {reason}" if subject else reason)
        self.subject, self.reason = subject, reason


class Child:
    """A child process as a context manager; leaving the context ends it.

    Args:
      worker: A module that talks to `Parent` when it is run by `python -m`.
      task: JSON for the child.
      arrays: More for the child.
      time_limit_s: Until it is ready, and again for its turn, before it is killed.
    """

    def __init__(
        self, worker: ModuleType, task: Mapping[str, Any], arrays: Arrays, time_limit_s: float
    ):
        self._worker, self._task, self._arrays = worker, task, arrays
        self._limit, self._is_ready = time_limit_s, False

    def __enter__(self) -> Child:
        self._directory = tempfile.TemporaryDirectory(prefix="tfx-distill-")
        folder = self._folder = Path(self._directory.name)
        (folder / "task.json").write_text(json.dumps(self._task))
        np.savez(folder / "arrays.npz", **self._arrays)  # type: ignore[arg-type]
        paths = [str(_ROOT), os.environ.get("PYTHONPATH")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            # The parent may hold all of an accelerator's memory, and both runtimes answer on the
            # processor here.
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            _PARENT: str(os.getpid()),
        }
        self._deadline = time.monotonic() + self._limit
        with open(folder / "messages", "wb") as messages:
            self._process = subprocess.Popen(
                # -P: the caller's directory is none of the child's business.
                [sys.executable, "-P", "-m", self._worker.__name__, self._directory.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=environment,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._directory.cleanup()

    def kill(self) -> None:
        """End it; whoever waits for its answer hears that it was lost."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait_until_ready(self) -> None:
        """Returns when the child has imported all it needs and waits for its turn.

        Raises:
          ChildError: It died or took too long.
        """
        assert self._process.stdout is not None
        left = max(0.0, self._deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise self._too_late()
        if not self._process.stdout.readline():
            self._process.wait()
            raise self._lost()
        self._is_ready = True

    def answer(self, word: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Gives the child its turn and returns what it found, as JSON and as arrays.

        Args:
          word: JSON that could not be known when the child was started.

        Raises:
          ChildError: It died, took too long, or said what was wrong.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(word or {}).encode())
            self._process.stdin.close()
        if self._is_ready:
            self._deadline = time.monotonic() + self._limit
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self._too_late() from error
        if code != 0 or not (self._folder / "answer.npz").exists():
            raise self._lost()
        with np.load(self._folder / "answer.npz") as arrays:
            return json.loads((self._folder / "answer.json").read_text()), dict(arrays)

    def _too_late(self) -> ChildError:
        return ChildError(self._subject(), f"did not answer within {self._limit:g} s")

    def _subject(self) -> str:
        """The file the child was at work on, from its own note."""
        note = self._folder / "subject"
        return note.read_text() if note.exists() else ""

    def _lost(self) -> ChildError:
        """Why a process that has ended left no answer, in its own words if it had any."""
        code = self._process.returncode
        problem, messages = self._folder / "problem", self._folder / "messages"
        if code < 0:
            reason = f"killed by signal {-code} ({signal.strsignal(-code)})"
        elif problem.exists():
            reason = problem.read_text()
        else:
            lines = messages.read_text(errors="replace").strip().splitlines()
            reason = ": ".join([f"ended with exit code {code}", *lines[-1:]])
        return ChildError(self._subject(), _one_line(reason))


class Parent:
    """The parent as the child sees it."""

    def __init__(self, directory: str):
        die_with_parent(int(os.environ[_PARENT]))
        self._folder = Path(directory)
        # What the runtimes print must not be taken for our one line.
        self._line = os.dup(1)
        os.dup2(2, 1)

    def task(self) -> tuple[Any, dict[str, NDArray[Any]]]:
        """What is to be done."""
        with np.load(self._folder / "arrays.npz") as arrays:
            return json.loads((self._folder / "task.json").read_text()), dict(arrays)

    def wait_for_turn(self) -> Any:
        """Says that the child is ready, and blocks until the parent has the word for it."""
        os.write(self._line, b"ready\n")
        word = sys.stdin.read()
        if not word:
            sys.exit("the parent process is gone")
        return json.loads(word)

    def note(self, subject: str) -> None:
        """Leaves word of the file at work on, in case it is the child's end."""
        (self._folder / "subject").write_text(subject)

    def answer(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        """Hands over what was found, and is the last thing a child does."""
        np.savez(self._folder / "answer.npz", **arrays)  # type: ignore[arg-type]
        (self._folder / "answer.json").write_text(json.dumps(values))

    def fail(self, problem: str) -> None:
        """Hands over what went wrong, and is the last thing a child does."""
        (self._folder / "problem").write_text(problem)


def _one_line(text: str) -> str:
    return textwrap.shorten(text, _LONGEST_LINE, placeholder=" ...")
