"""A pusher that is killed at any point leaves whole versions, and the next one succeeds."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from push_killer import start
from pushes import KINDS, assert_all_whole, make_candidate, names, push_all, served, versions

from modules.errors import UserError
from modules.push import publish
from modules.push.verify import verify

MOST_STEPS = 200


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed_at_every_step(tmp_path: Path, before: str, action: str) -> Iterator[Path]:
    """The destination that was pushed to before, after each possible death of the action.

    While the action runs, a reader looks at it.
    """
    template = tmp_path / "template"
    push_all(tmp_path / "work", template, before)
    for step in range(1, MOST_STEPS):
        destination = tmp_path / str(step)
        if before:
            shutil.copytree(template, destination)
        process = start(action, tmp_path / "work", destination, step)
        while process.is_alive():
            assert_all_whole(destination)
        process.join()
        assert_all_whole(destination)
        if process.exitcode == 0:
            return
        assert process.exitcode == -signal.SIGKILL
        yield destination
    raise AssertionError("the action never came to its end")


def assert_tidy(destination: Path) -> None:
    """No version lacks a format, nothing half done is left, and the newest verifies."""
    assert_all_whole(destination)
    assert names(destination / "saved_model") == names(destination / "tflite")
    found = [name for kind in (*KINDS, "rolled_back") for name in names(destination / kind)]
    assert not [name for name in found if name.startswith(".")]
    assert verify(str(destination)).problems == ()


def half_done(destination: Path) -> bool:
    """Whether a version is seen in one format and not in the other."""
    return versions(destination / "saved_model") != versions(destination / "tflite")


@pytest.mark.parametrize("before", ["", "abc"])
@pytest.mark.thorough
def test_killed_push(tmp_path: Path, before: str) -> None:
    steps = halves = 0
    for destination in killed_at_every_step(tmp_path, before, "push_d"):
        steps += 1
        halves += half_done(destination)
        seen = versions(destination / "saved_model")
        served_before = served(destination) if seen else ""
        # The same run again, as a schedule would; then a run with another student.
        again = publish.push(make_candidate(tmp_path / "next", "d"), str(destination), keep=2)
        assert again.copied == (served_before != "d")
        assert_tidy(destination)
        other = publish.push(make_candidate(tmp_path / "next", "e"), str(destination), keep=2)
        assert other.version > again.version >= max(seen, default=0)
        assert_tidy(destination)
        assert len(versions(destination / "tflite")) == 2
        shutil.rmtree(destination)
    # With three versions before, two of them are removed after the push.
    assert steps > (40 if before else 15)
    assert halves == (3 if before else 1)  # a kill between two renames


@pytest.mark.thorough
def test_killed_rollback(tmp_path: Path) -> None:
    outcomes = set()
    for destination in killed_at_every_step(tmp_path, "ab", "rollback"):
        now_served = served(destination)
        outcomes.add(now_served)
        candidate = make_candidate(tmp_path / "next", "b")
        if now_served == "b":  # it has not gone back: nothing has changed
            assert not publish.push(candidate, str(destination)).copied
            publish.rollback(str(destination))
        with pytest.raises(UserError, match="this student was rolled back"):
            publish.push(candidate, str(destination))
        assert served(destination) == "a"
        assert_tidy(destination)
        push_all(tmp_path / "next", destination, "c")
        assert served(destination) == "c"
        assert_tidy(destination)
        shutil.rmtree(destination)
    assert outcomes == {"a", "b"}
