"""What a run shows on the terminal, and what goes to its log file."""

import io
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.terminal import console as console_module
from pipeline.terminal.console import Console

RUNNING = "Component %s is running."
CACHED = "A cached execution %d is used."
FINISHED = "Component %s is finished."


class Terminal:
    """A console that writes into memory, with a clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.stream = io.StringIO()
        self.console = Console(self.stream)
        monkeypatch.setattr(console_module.time, "monotonic", lambda: self.now)

    def log(self, message: str, *args: Any, logger: str = "absl") -> None:
        record = logging.LogRecord(logger, logging.INFO, "file.py", 1, message, args, None)
        self.console.handle(record)

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(monkeypatch)


def test_a_node_has_a_line_with_its_time(terminal: Terminal) -> None:
    terminal.log(RUNNING, "Transform")
    assert terminal.text == "Transform           "
    terminal.now += 83.26
    terminal.log(FINISHED, "Transform")
    assert terminal.text == "Transform             83.3 s\n"


def test_a_node_that_is_answered_from_the_cache(terminal: Terminal) -> None:
    terminal.log(RUNNING, "SchemaGen")
    terminal.log(CACHED, 12)
    terminal.log(FINISHED, "SchemaGen")
    assert terminal.text == "SchemaGen             cached\n"


def test_only_that_node_was_cached(terminal: Terminal) -> None:
    terminal.log(RUNNING, "SchemaGen")
    terminal.log(CACHED, 12)
    terminal.log(FINISHED, "SchemaGen")
    terminal.log(RUNNING, "Pusher")
    terminal.now += 0.04
    terminal.log(FINISHED, "Pusher")
    assert terminal.text.splitlines() == [
        "SchemaGen             cached",
        "Pusher                 0.0 s",
    ]


def test_own_messages_are_indented_below_their_node(terminal: Terminal) -> None:
    terminal.log("checking data", logger="tfx_distill.run")
    terminal.log(RUNNING, "Distiller")
    terminal.log("epoch %d/%d", 1, 2, logger="tfx_distill.training")
    terminal.log("epoch %d/%d", 2, 2, logger="tfx_distill.training")
    terminal.now += 5
    terminal.log(FINISHED, "Distiller")
    assert terminal.text.splitlines() == [
        "    checking data",
        "Distiller           ",
        "    epoch 1/2",
        "    epoch 2/2",
        "Distiller              5.0 s",
    ]


def test_what_others_say_is_not_shown(terminal: Terminal) -> None:
    terminal.log("Component Transform is running.")
    terminal.log("MetadataStore with DB connection initialized")
    terminal.log("Component %s is very tired.", "Transform", logger="tensorflow")
    assert terminal.text == ""


def test_the_running_node_is_known(terminal: Terminal) -> None:
    assert terminal.console.node == ""
    terminal.log(RUNNING, "Transform")
    terminal.log("half done", logger="tfx_distill.transform")
    assert terminal.console.node == "Transform"
    terminal.log(FINISHED, "Transform")
    assert terminal.console.node == ""


def test_closing_ends_an_open_line(terminal: Terminal) -> None:
    terminal.log(RUNNING, "Transform")
    terminal.console.close()
    assert terminal.text == "Transform           \n"


# A run that is noisy in every way: Python, descriptors, child processes, warnings, other loggers.
NOISY = """
import logging, os, subprocess, sys, warnings
from pathlib import Path
from pipeline.terminal.console import run_console

log_file, debug, fail = Path(sys.argv[1]), sys.argv[2] == "debug", sys.argv[3] == "fail"
print("stdout before", flush=True)
try:
    with run_console(log_file, debug):
        logging.getLogger("absl").info("Component %s is running.", "Transform")
        print("print within")
        os.write(1, b"native stdout\\n")
        os.write(2, b"native stderr\\n")
        subprocess.run("echo child stdout; echo child stderr >&2", shell=True)
        warnings.warn("a warning")
        logging.getLogger("tensorflow").info("chatter")
        logging.getLogger("tfx_distill.training").info("epoch %d", 1)
        if fail:
            raise ValueError("broken")
        logging.getLogger("absl").info("Component %s is finished.", "Transform")
except ValueError:
    pass
assert not logging.getLogger().handlers
print("stdout after", flush=True)
os.write(2, b"stderr after\\n")
subprocess.run("echo child after", shell=True)
"""
WITHIN = ["print within", "native stdout", "native stderr", "child stdout", "child stderr"]


def noisy(log_file: Path, *, debug: bool = False, fail: bool = False) -> Any:
    arguments = [str(log_file), "debug" if debug else "", "fail" if fail else ""]
    done = subprocess.run(
        [sys.executable, "-c", NOISY, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_terminal_gets_the_nodes_and_the_file_the_rest(tmp_path: Path) -> None:
    log_file = tmp_path / "run.log"
    done = noisy(log_file)
    assert done.stdout.splitlines() == ["stdout before", "stdout after", "child after"]
    assert done.stderr.splitlines() == [
        "Transform           ",
        "    epoch 1",
        "Transform              0.0 s",
        "stderr after",
    ]
    text = log_file.read_text()
    for line in WITHIN:
        assert f"{line}\n" in text
    assert " INFO absl: Component Transform is running.\n" in text
    assert " INFO tensorflow: chatter\n" in text
    assert " INFO tfx_distill.training: epoch 1\n" in text
    assert "UserWarning: a warning" in text
    for line in ("stdout before", "stdout after", "stderr after", "child after"):
        assert line not in text


def test_descriptors_are_given_back_after_a_failure(tmp_path: Path) -> None:
    done = noisy(tmp_path / "run.log", fail=True)
    assert done.stdout.splitlines() == ["stdout before", "stdout after", "child after"]
    assert done.stderr.splitlines() == ["Transform           ", "    epoch 1", "stderr after"]


def test_the_log_file_is_appended_to(tmp_path: Path) -> None:
    log_file = tmp_path / "run.log"
    log_file.write_text("an earlier run\n")
    noisy(log_file)
    assert log_file.read_text().startswith("an earlier run\n")


def test_debugging_hides_nothing(tmp_path: Path) -> None:
    log_file = tmp_path / "run.log"
    done = noisy(log_file, debug=True)
    assert {"print within", "native stdout", "child stdout"} <= set(done.stdout.splitlines())
    shown = done.stderr.splitlines()
    assert {"native stderr", "child stderr", "chatter", "    epoch 1"} <= set(shown)
    assert " INFO tensorflow: chatter\n" in log_file.read_text()
