"""What a run shows: one line per node, the training lines, and everything else in a log file."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from modules.errors import printable
from pipeline.terminal.printable import PrintableFormatter

_LAUNCHER_RUNNING = "Component %s is running."
_LAUNCHER_CACHED = "A cached execution %d is used."
_LAUNCHER_FINISHED = "Component %s is finished."
_NODE_WIDTH = 20


class Console(logging.Handler):
    """Turns log messages of a run into a few lines for a person.

    LocalDagRunner offers no hook, but its messages say when a node begins, is answered from the
    cache, and ends. Our own messages are indented below the node they belong to.

    Attributes:
      node: The node that is running, "" between nodes.
    """

    def __init__(self, stream: TextIO):
        super().__init__()
        self.node = ""
        self._stream = stream
        self._started = 0.0
        self._cached = False
        self._line_is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message, if it is meant to be seen."""
        if record.name.startswith("tfx_distill"):
            self._close_line()
            self._write(f"    {printable(record.getMessage())}\n")
        elif record.msg == _LAUNCHER_RUNNING and isinstance(record.args, tuple):
            self.node, self._cached, self._started = str(record.args[0]), False, time.monotonic()
            self._write(f"{self.node:{_NODE_WIDTH}}")
            self._line_is_open = True
        elif record.msg == _LAUNCHER_CACHED:
            self._cached = True
        elif record.msg == _LAUNCHER_FINISHED:
            took = "cached" if self._cached else f"{time.monotonic() - self._started:.1f} s"
            label = "" if self._line_is_open else f"{self.node:{_NODE_WIDTH}}"
            self._write(f"{label}{took:>8}\n")
            self._line_is_open = False
            self.node = ""

    def _close_line(self) -> None:
        if self._line_is_open:
            self._write("\n")
        self._line_is_open = False

    def close(self) -> None:
        """Leave the cursor at the start of a line."""
        self._close_line()
        super().close()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


@contextmanager
def run_console(log_file: Path, debug: bool) -> Iterator[Console]:
    """Show a run on the terminal and keep all that it writes in a file.

    TensorFlow's native code, LiteRT, pip and setuptools write to the process' own output, so the
    file descriptors are turned to the file and a copy of the terminal is kept for the console.
    Call it before TensorFlow is imported.

    Args:
      log_file: Gets every message; appended to.
      debug: Leave the output where it is and show every message there too.
    """
    from absl import logging as absl_logging

    logging.captureWarnings(True)
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    root.setLevel(logging.INFO)
    absl_logging.set_verbosity(absl_logging.INFO)
    logging.getLogger("tfx_distill").setLevel(logging.INFO)
    file_handler = logging.FileHandler(log_file, encoding="utf-8")
    file_handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with _terminal(log_file, debug) as stream:
        console = Console(stream)
        handlers: list[logging.Handler] = [file_handler, console]
        if debug:
            handlers.append(logging.StreamHandler(stream))
            handlers[-1].setFormatter(PrintableFormatter())
        root.handlers[:] = handlers
        try:
            yield console
        finally:
            for handler in handlers:
                handler.close()
            root.setLevel(before[0])
            root.handlers[:] = before[1]
            logging.captureWarnings(False)


@contextmanager
def _terminal(log_file: Path, debug: bool) -> Iterator[TextIO]:
    """The terminal's stderr; unless debugging, the process' own output goes to the file."""
    if debug:
        yield sys.stderr
        return
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(log_file, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(os.dup(saved[1]), "w", encoding="utf-8") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
