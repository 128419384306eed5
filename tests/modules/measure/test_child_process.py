"""Tests of modules.measure.child_process with real processes that do well, fail, hang and die."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from checkout import ROOT

import modules
from modules.measure.child_process import Child, ChildError

DOUBLES = """
parent = Parent(sys.argv[1])
task, arrays = parent.task()
print("not for the parent")
word = parent.wait_for_turn()
parent.answer({"sum": task["number"] + word["more"]}, {"twice": 2 * arrays["values"]})
"""


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Makes a module for a child; afterwards nothing of the child may be left."""
    folder, temporary = tmp_path / "modules_of_the_test", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    pid_file = folder / "pid"

    def write(body: str) -> ModuleType:
        head = f"import os, sys, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        text = f"{head}from modules.measure.child_process import Parent\n{body}"
        (folder / "child_of_the_test.py").write_text(text)
        return ModuleType("child_of_the_test")

    yield write
    assert list(temporary.iterdir()) == []
    if pid_file.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)


def test_question_and_answer(write_module) -> None:
    values = np.arange(6).reshape(2, 3)
    with Child(write_module(DOUBLES), {"number": 40}, {"values": values}, 60) as child:
        child.wait_until_ready()
        found, arrays = child.answer({"more": 2})
    assert found == {"sum": 42}
    np.testing.assert_array_equal(arrays["twice"], 2 * values)


def test_a_child_needs_no_more_than_numpy(write_module) -> None:
    body = "Parent(sys.argv[1]).answer({'modules': sorted(sys.modules)}, {})"
    with Child(write_module(body), {}, {}, 60) as child:
        found, _ = child.answer()
    heavy = {"tensorflow", "keras", "scipy", "pydantic", "sklearn"}
    assert "numpy" in found["modules"] and not heavy & set(found["modules"])


@pytest.mark.thorough
def test_waiting_for_the_turn_takes_nothing_from_its_time(write_module) -> None:
    body = "parent = Parent(sys.argv[1]); parent.wait_for_turn(); time.sleep(1); "
    with Child(write_module(body + "parent.answer({}, {})"), {}, {}, 4) as child:
        child.wait_until_ready()
        time.sleep(4)
        assert child.answer() == ({}, {})


def test_a_child_finds_the_project_wherever_the_parent_is(
    write_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = write_module(
        "import modules; Parent(sys.argv[1]).answer({'at': modules.__file__}, {})"
    )
    monkeypatch.chdir(tmp_path)
    with Child(worker, {}, {}, 60) as child:
        found, _ = child.answer()
    assert found["at"] == modules.__file__


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("Parent(sys.argv[1]).fail('the file is\\nno model')", "the file is no model"),
        ("os.kill(os.getpid(), 9)", r"killed by signal 9 \(Killed\)"),
        ("sys.exit(4)", "ended with exit code 4"),
        ("pass", "ended with exit code 0"),
        ("raise OSError('disk full')", "ended with exit code 1: OSError: disk full"),
    ],
)
@pytest.mark.parametrize("ready_first", [True, False])
def test_a_lost_child_says_why(write_module, body: str, reason: str, ready_first: bool) -> None:
    body = f"Parent(sys.argv[1]).note('model.tflite'); {body}"
    with (
        Child(write_module(body), {}, {}, 60) as child,
        pytest.raises(ChildError, match=f"^model.tflite: {reason}$") as caught,
    ):
        child.wait_until_ready() if ready_first else child.answer()
    assert caught.value.subject == "model.tflite"


@pytest.mark.parametrize("method", ["wait_until_ready", "answer"])
def test_a_hanging_child_is_ended_with_its_own_children(write_module, method: str) -> None:
    body = "import subprocess; subprocess.Popen(['sleep', '1000']); time.sleep(1000)"
    with (
        Child(write_module(body), {}, {}, 1) as child,
        pytest.raises(ChildError, match=r"^did not answer within 1 s$"),
    ):
        getattr(child, method)()


def test_an_interrupted_parent_leaves_no_child(write_module) -> None:
    body = "parent = Parent(sys.argv[1]); parent.wait_for_turn(); time.sleep(1000)"
    child = Child(write_module(body), {}, {}, 60)

    def interrupted() -> None:
        with child:
            child.wait_until_ready()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_child_whose_parent_is_gone_ends(write_module, tmp_path: Path) -> None:
    body = "Parent(sys.argv[1]).wait_for_turn()"
    with Child(write_module(body), {}, {}, 60) as child:
        child.wait_until_ready()
        child._process.stdin.close()  # as the end of the parent does
        assert child._process.wait(60) == 1


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import os, sys, time\n"
        "from modules.measure.child_process import Parent\n"
        "parent = Parent(sys.argv[1])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "parent.wait_for_turn()\n"
        "while True:\n"
        "    pass\n"
    )
    program = (
        "from types import ModuleType\n"
        "from modules.measure.child_process import Child\n"
        "with Child(ModuleType('busy'), {}, {}, 60) as child:\n"
        "    child.wait_until_ready()\n"
        "    print('ready', flush=True)\n"
        "    child.answer()\n"
    )
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
        child = int((tmp_path / "pid").read_text())
        parent.kill()
    end = time.monotonic() + 10
    while time.monotonic() < end and is_alive(child):
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(process: int) -> bool:
    """Not so a zombie, which nobody has asked how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
