"""Runs in a process of their own: how they end, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkout import ROOT

from pipeline.terminal import supervision
from pipeline.terminal.supervision import running_node
from pipeline.terminal.temporary import private_directory

# `work` is one of these; whatever it leaves in the temporary directory must not stay.
PROGRAM = """
import os, signal, sys, tempfile, time
from pathlib import Path
from pipeline.terminal.exits import explain
from pipeline.terminal.supervision import exit_code, supervised

def work():
    try:
        print("working", os.getpid(), tempfile.mkdtemp(), flush=True)
        {body}
    except KeyboardInterrupt as error:
        return explain("stopped", exit_code(error))

log = Path(sys.argv[1], "run.log")
log.touch()
sys.exit(supervised(work, log))
"""
# Longer than any test waits for; in steps, as a signal is noticed between two of Python's.
WAIT = "[time.sleep(0.05) for _ in range(400)]"
LOG = 'Path(sys.argv[1], "run.log").write_text("Component {} is {}.")'


def start(directory: Path, body: str) -> subprocess.Popen[str]:
    """A process that supervises `body`; returns when the work has begun."""
    (directory / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=environment(directory),
    )


def environment(directory: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(directory / "temporary")}


@contextmanager
def private_directory_in(temporary: Path) -> Iterator[Path]:
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        with private_directory() as directory:
            yield Path(directory)
    finally:
        tempfile.tempdir = before


def ended(process: subprocess.Popen[str], directory: Path) -> tuple[int, str]:
    """Exit code and errors; nothing may be left in the temporary directory."""
    _, errors = process.communicate(timeout=60)
    assert list((directory / "temporary").iterdir()) == []
    return process.returncode, errors


def begun(process: subprocess.Popen[str]) -> int:
    """The process id of the work, once it has begun."""
    assert process.stdout is not None
    return int(process.stdout.readline().split()[1])


@pytest.mark.parametrize("code", [0, 3])
def test_the_code_of_the_work_is_the_code_of_the_command(tmp_path: Path, code: int) -> None:
    assert ended(start(tmp_path, f"return {code}"), tmp_path) == (code, "")


@pytest.mark.parametrize(
    ("number", "name", "advice"),
    [
        (signal.SIGSEGV, "SIGSEGV (Segmentation fault)", "TF_ENABLE_ONEDNN_OPTS=0"),
        (signal.SIGABRT, "SIGABRT (Aborted)", "another batch size"),
        (signal.SIGKILL, "SIGKILL (Killed)", "when memory is short"),
    ],
)
def test_a_process_that_a_signal_ends_is_one_line(
    tmp_path: Path, number: int, name: str, advice: str
) -> None:
    body = f"{LOG.format('Distiller', 'running')}; os.kill(os.getpid(), {int(number)})"
    code, errors = ended(start(tmp_path, body), tmp_path)
    assert code == 128 + number
    (line,) = errors.splitlines()
    assert line.startswith(f"error: Distiller: the process was ended by {name}, ")
    assert advice in line
    assert f"the last messages are in {tmp_path / 'run.log'}" in line


def test_a_disk_that_was_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "run.log"
    assert supervision._full(log) == ""
    monkeypatch.setattr(supervision, "_LITTLE_BYTES", 1 << 60)
    line = supervision._full(log)
    assert line.startswith("; no space left: ") and f" MB are free at {tmp_path} (disk /" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_work_may_end_by_itself_when_it_is_asked_to(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "time.sleep(60)")
    begun(process)
    os.kill(process.pid, number)
    assert ended(process, tmp_path) == (128 + number, "error: stopped\n")


def test_ctrl_c_comes_once_although_the_terminal_sends_it_to_both(tmp_path: Path) -> None:
    trying = "try: print('in it', os.getpid(), flush=True); time.sleep(60)"
    once = "except KeyboardInterrupt: print('again', 0, flush=True); time.sleep(1)"
    process = start(tmp_path, f'exec("""{trying}\\n{once}"""); return 7')
    work = begun(process)
    assert process.stdout is not None and process.stdout.readline().startswith("in it")
    os.kill(work, signal.SIGINT)
    assert process.stdout.readline() == "again 0\n"
    os.kill(process.pid, signal.SIGINT)
    assert ended(process, tmp_path) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_not_lost_in_a_finalizer(tmp_path: Path, number: int) -> None:
    """Python ignores what a finalizer raises, and what a callback of the garbage collector does."""
    finalizer = f"def __del__(self): signal.raise_signal({int(number)}); time.sleep(0)"
    process = start(
        tmp_path, f'exec("""class Last:\\n  {finalizer}""", globals()); Last(); ' + WAIT
    )
    begun(process)
    assert ended(process, tmp_path) == (128 + number, "error: stopped\n")


def test_what_a_killed_command_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = start(tmp_path, "time.sleep(60)")
    work = begun(killed)
    other = subprocess.Popen(
        killed.args, stdout=subprocess.PIPE, text=True, env=environment(tmp_path)
    )
    begun(other)
    temporary = tmp_path / "temporary"
    assert len(list(temporary.iterdir())) == 2
    killed.kill()
    killed.wait()
    wait_for_the_end(work)
    assert len(list(temporary.iterdir())) == 2
    # The last one: the other command still has its directory, and keeps it.
    with private_directory_in(temporary) as third:
        assert len(list(temporary.iterdir())) == 2 and third in temporary.iterdir()
    other.terminate()
    assert ended(other, tmp_path)[0] == 128 + signal.SIGTERM


def test_what_the_work_did_not_expect_is_not_lost(tmp_path: Path) -> None:
    code, errors = ended(start(tmp_path, "raise RuntimeError('odd')"), tmp_path)
    assert code == 1
    assert errors.splitlines()[-1] == "error: RuntimeError: odd"
    assert "Traceback" in errors


def test_the_work_ends_with_its_supervisor(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(60)")
    work = begun(process)
    process.kill()
    process.wait()
    wait_for_the_end(work)


def wait_for_the_end(process: int) -> None:
    """Of a process that is no child of this one."""
    end = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, and nobody has asked how it ended
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize(
    ("log", "node"),
    [
        ("", ""),
        ("Component A is running.\nComponent A is finished.\n", ""),
        ("Component A is finished.\nComponent B-2 is running.\nmore\n", "B-2"),
    ],
)
def test_the_running_node_is_in_the_log(tmp_path: Path, log: str, node: str) -> None:
    file = tmp_path / "run.log"
    earlier = "Component Old is running.\n"
    file.write_text(earlier + log)
    assert running_node(file, len(earlier)) == node
