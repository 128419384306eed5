"""What is said of the end of a run: the node, the reason, the right exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT

# As Apache Beam does: whatever a function of it raises becomes a RuntimeError.
PROGRAM = """
import logging, sys, time
from pathlib import Path
from pipeline.terminal.nodes import code_of, run_nodes
from pipeline.terminal.supervision import supervised

def nodes():
    logging.info("Component %s is running.", "ExampleGen")
    Path("begun").touch()
    try:
        time.sleep(60)
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__} [while running 'ReadDigits']") from None

log = Path("run.log")
log.touch()
sys.exit(supervised(lambda: code_of(lambda: run_nodes(nodes, log, False)), log))
"""


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_an_interrupt_is_one_whatever_others_make_of_it(
    tmp_path: Path, number: int, word: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal and a container's end do
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == (
        f"error: ExampleGen: {word}; the same command goes on from what is done"
    )
    assert "RuntimeError" in (tmp_path / "run.log").read_text()
