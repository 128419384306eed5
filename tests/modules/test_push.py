"""Pushing: versions, idempotence, and that nobody ever sees half a version.

Run as a program, this file is a pusher: DESTINATION WORK_DIR TOKEN COUNT [KILL_AT_STEP].
"""

import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modules import push
from modules.errors import ConfigError, ModelError, UserError

FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data", "assets/v.txt")
ROOT = Path(push.__file__).parents[1]
TENSOR = {"name": "x", "shape": [1, 8, 8, 1], "dtype": "int8"}


def content(token: str, name: str) -> bytes:
    return f"{token}|{name};".encode() * 2000


def make_candidate(work_dir: Path, token: str, **metrics: Any) -> push.Candidate:
    """A model of which every file tells its token; the same token gives the same content."""
    for name in FILES:
        file = work_dir / "saved_model" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(token, name))
    tflite_dir = work_dir / "student" / "int8"
    tflite_dir.mkdir(parents=True, exist_ok=True)
    (tflite_dir / "model.tflite").write_bytes(content(token, "model.tflite"))
    sha256 = hashlib.sha256(content(token, "model.tflite")).hexdigest()
    spec = {
        "input": {**TENSOR, "quantization": {"scale": 0.1, "zero_point": -3}},
        "output": {**TENSOR, "name": "y", "quantization": None},
        "labels": ["zéro", "one"],
        "sha256": sha256,
        "size_bytes": len(content(token, "model.tflite")),
    }
    (tflite_dir / "spec.json").write_text(json.dumps(spec))
    measured = {"accuracy": 0.9, "sha256": sha256, **metrics}
    return push.Candidate(work_dir / "saved_model", tflite_dir, "int8", measured)


def edit_spec(candidate: push.Candidate, **changes: Any) -> None:
    """Changes keys of spec.json; None removes one."""
    file = candidate.tflite_dir / "spec.json"
    spec = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def versions(directory: Path) -> set[int]:
    return {int(name) for name in names(directory) if not name.startswith(".")}


def assert_saved_model_whole(version_dir: Path) -> str:
    token = (version_dir / "saved_model.pb").read_bytes().split(b"|")[0].decode()
    for name in FILES:
        assert (version_dir / name).read_bytes() == content(token, name), version_dir / name
    return token


def assert_all_whole(destination: Path, known: set[Path] | None = None) -> None:
    """Opens every version that a reader can see; those already in `known` are passed over."""
    known = set() if known is None else known
    # TFLite first: a SavedModel that its manifest names must be there by now.
    for kind in ("tflite", "saved_model"):
        root = destination / kind
        for version_dir in {root / str(v) for v in versions(root)} - known:
            if kind == "saved_model":
                assert_saved_model_whole(version_dir)
            else:
                assert names(version_dir) == ["manifest.json", "model.tflite"]
                manifest = json.loads((version_dir / "manifest.json").read_text())
                assert manifest["version"] == int(version_dir.name)
                token = assert_saved_model_whole(version_dir / manifest["saved_model"]["path"])
                tflite = (version_dir / "model.tflite").read_bytes()
                assert tflite == content(token, "model.tflite")
            known.add(version_dir)


def start_pusher(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "not yet" / "pushed"


def test_layout_and_manifest(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a")
    pushed = push.push(candidate, str(destination), now=lambda: 1_700_000_000.9)
    assert pushed.version == 1_700_000_000
    assert pushed.copied
    assert pushed.saved_model_dir == destination / "saved_model" / "1700000000"
    assert pushed.tflite_dir == destination / "tflite" / "1700000000"
    assert names(destination) == [".push.lock", "saved_model", "tflite"]
    assert names(destination / "saved_model") == names(destination / "tflite") == ["1700000000"]
    assert_all_whole(destination)
    spec = json.loads((candidate.tflite_dir / "spec.json").read_text())
    assert json.loads((pushed.tflite_dir / "manifest.json").read_text()) == {
        "schema_version": 1,
        "version": 1_700_000_000,
        "created": "2023-11-14T22:13:20+00:00",
        "variant": "int8",
        "file": "model.tflite",
        "sha256": spec["sha256"],
        "size_bytes": spec["size_bytes"],
        "input": {**TENSOR, "quantization": {"scale": 0.1, "zero_point": -3}},
        "output": {**TENSOR, "name": "y", "quantization": None, "meaning": "logits"},
        "labels": ["zéro", "one"],
        "metrics": {"accuracy": 0.9, "sha256": spec["sha256"]},
        "saved_model": {
            "path": "../../saved_model/1700000000",
            "files": {name: hashlib.sha256(content("a", name)).hexdigest() for name in FILES},
        },
    }


def test_a_server_of_another_user_can_read(tmp_path: Path, destination: Path) -> None:
    umask = os.umask(0o022)
    try:
        pushed = push.push(make_candidate(tmp_path, "a"), str(destination))
    finally:
        os.umask(umask)
    for root in (pushed.saved_model_dir, pushed.tflite_dir):
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in (root, *root.rglob("*")))


def test_versions_increase_whatever_the_clock_does(tmp_path: Path, destination: Path) -> None:
    clock = iter([1000.0, 1000.0, 400.0, 1001.0, 5000.0])
    candidates = (make_candidate(tmp_path, token) for token in "abcde")
    pushed = [push.push(c, str(destination), now=clock.__next__).version for c in candidates]
    assert pushed == [1000, 1001, 1002, 1003, 5000]
    assert versions(destination / "saved_model") == versions(destination / "tflite") == set(pushed)


def test_same_content_is_not_pushed_again(tmp_path: Path, destination: Path) -> None:
    first = push.push(make_candidate(tmp_path, "a"), str(destination))
    again = push.push(make_candidate(tmp_path / "b", "a", latency=2.0), str(destination))
    assert (again.version, again.copied) == (first.version, False)
    assert again.saved_model_dir == first.saved_model_dir
    assert names(destination / "saved_model") == [str(first.version)]


def test_content_of_an_older_version_is_pushed_again(tmp_path: Path, destination: Path) -> None:
    """Going back to a former model must reach the readers, who take the newest version."""
    pushed = [push.push(make_candidate(tmp_path, t), str(destination)).version for t in "aba"]
    assert pushed == sorted(set(pushed))


def test_another_saved_model_or_label_is_new_content(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a")
    first = push.push(candidate, str(destination))
    (candidate.saved_model_dir / "extra.txt").write_text("new")
    with_extra = push.push(candidate, str(destination))
    (candidate.saved_model_dir / "extra.txt").unlink()
    without = push.push(candidate, str(destination))
    edit_spec(candidate, labels=["a", "b"])
    relabelled = push.push(candidate, str(destination))
    assert first.version < with_extra.version < without.version < relabelled.version


@pytest.mark.parametrize(
    "damaged",
    ["saved_model/7/variables/variables.data", "tflite/7/model.tflite", "tflite/7/manifest.json"],
)
@pytest.mark.parametrize("remove", [True, False])
def test_damaged_newest_version_is_replaced_by_a_new_one(
    tmp_path: Path, destination: Path, damaged: str, remove: bool
) -> None:
    candidate = make_candidate(tmp_path, "a")
    push.push(candidate, str(destination), now=lambda: 7)
    file = destination / damaged
    file.unlink() if remove else file.write_bytes(file.read_bytes()[:-1])
    assert push.push(candidate, str(destination), now=lambda: 7).version == 8
    shutil.rmtree(destination / "saved_model" / "7")
    shutil.rmtree(destination / "tflite" / "7")
    assert_all_whole(destination)


@pytest.mark.parametrize("orphan", ["saved_model", "tflite"])
def test_number_of_an_orphan_is_not_reused(tmp_path: Path, destination: Path, orphan: str) -> None:
    candidate = make_candidate(tmp_path, "a")
    push.push(candidate, str(destination), now=lambda: 7)
    other = {"saved_model": "tflite", "tflite": "saved_model"}[orphan]
    shutil.rmtree(destination / other / "7")
    pushed = push.push(candidate, str(destination), now=lambda: 7)
    assert (pushed.version, pushed.copied) == (8, True)
    assert versions(destination / orphan) == {7, 8}
    assert push.push(candidate, str(destination)).version == 8


def test_leftovers_of_a_killed_pusher_go(tmp_path: Path, destination: Path) -> None:
    for kind in ("saved_model", "tflite"):
        (destination / kind / ".staging-7" / "variables").mkdir(parents=True)
        (destination / kind / "notes").mkdir()
    assert push.push(make_candidate(tmp_path, "a"), str(destination), now=lambda: 7).version == 7
    assert names(destination / "saved_model") == names(destination / "tflite") == ["7", "notes"]


@pytest.mark.parametrize("source", ["report", "spec.json"])
def test_only_the_measured_file_ships(tmp_path: Path, destination: Path, source: str) -> None:
    other = {"sha256": "0" * 64}
    candidate = make_candidate(tmp_path, "a", **(other if source == "report" else {}))
    if source == "spec.json":
        edit_spec(candidate, **other)
    with pytest.raises(ModelError, match=f"sha256 is 0{{64}} in the {source} and [0-9a-f]{{64}}"):
        push.push(candidate, str(destination))
    assert not destination.exists()


def test_file_that_changes_while_copied_is_refused(
    tmp_path: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile

    def changed(source: Path, copy: Path) -> None:
        copyfile(source, copy)
        if copy.name == "model.tflite":
            copy.write_bytes(b"other")

    monkeypatch.setattr(shutil, "copyfile", changed)
    with pytest.raises(ModelError, match=r"model\.tflite changed"):
        push.push(make_candidate(tmp_path, "a"), str(destination))
    assert names(destination / "saved_model") == names(destination / "tflite") == []


@pytest.mark.parametrize("lost", ["spec.json", "model.tflite", "saved_model.pb", "labels"])
def test_incomplete_export_is_refused(tmp_path: Path, destination: Path, lost: str) -> None:
    candidate = make_candidate(tmp_path, "a")
    if lost == "labels":
        edit_spec(candidate, labels=None)
    else:
        next(tmp_path.rglob(lost)).unlink()
    with pytest.raises(ModelError, match=f"is incomplete .*{lost}"):
        push.push(candidate, str(destination))
    assert not destination.exists()


@pytest.mark.parametrize("url", ["gs://bucket/models", "s3://bucket", "file:///srv/models", ""])
def test_destination_must_be_local(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="must be a local directory"):
        push.push(make_candidate(tmp_path, "a"), url)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/pushed"])
def test_unusable_destination_is_one_clear_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"destination .* must be a writable") as error:
        push.push(make_candidate(tmp_path, "a"), str(tmp_path / place))
    assert "\n" not in str(error.value)


def test_waiting_for_the_lock_ends_with_its_name(tmp_path: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    candidate = make_candidate(tmp_path, "a")
    with (destination / ".push.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another pusher has held .*/\.push\.lock for over 0"):
            push.push(candidate, str(destination), lock_timeout_s=0.1)
    assert push.push(candidate, str(destination), lock_timeout_s=0.1).copied


def test_reader_never_sees_half_a_version(tmp_path: Path, destination: Path) -> None:
    known: set[Path] = set()
    looks_with_some = 0
    pusher = start_pusher(destination, tmp_path, "r", 15)
    while pusher.poll() is None:
        assert_all_whole(destination, known)
        looks_with_some += 0 < len(known) < 30
    assert pusher.returncode == 0
    assert_all_whole(destination, known)
    assert len(known) == 30
    assert looks_with_some > 3, "the reader hardly ran beside the pusher"


def test_two_pushers_never_collide(tmp_path: Path, destination: Path) -> None:
    pushers = [start_pusher(destination, tmp_path / token, token, 8) for token in ("x", "y")]
    printed = [int(line) for pusher in pushers for line in pusher.communicate()[0].split()]
    assert [pusher.returncode for pusher in pushers] == [0, 0]
    assert len(set(printed)) == 16
    assert versions(destination / "saved_model") == versions(destination / "tflite") == set(printed)
    assert_all_whole(destination)


def assert_survived(destination: Path, work_dir: Path, token: str) -> None:
    """What a killed pusher left is whole, and the next push succeeds and cleans up."""
    assert_all_whole(destination)
    seen = versions(destination / "saved_model") | versions(destination / "tflite")
    pushed = push.push(make_candidate(work_dir, token), str(destination), lock_timeout_s=1)
    assert pushed.version > max(seen, default=0)
    assert_all_whole(destination)
    for kind in ("saved_model", "tflite"):
        assert not [name for name in names(destination / kind) if name.startswith(".")]


def test_killed_at_random_moments(tmp_path: Path, destination: Path) -> None:
    delays = random.Random(0)
    for attempt in range(8):
        pusher = start_pusher(destination, tmp_path / "work", f"k{attempt}", 1000)
        assert pusher.stdout is not None
        pusher.stdout.readline()  # it is at work
        time.sleep(delays.uniform(0, 0.04))
        pusher.kill()
        pusher.communicate()
        assert pusher.returncode == -signal.SIGKILL
        assert_survived(destination, tmp_path / "next", f"after{attempt}")


def test_killed_before_every_write_that_counts(tmp_path: Path, destination: Path) -> None:
    """Every flush and every rename in turn is the one that a pusher does not live to make."""
    for step in range(1, 40):
        pusher = start_pusher(destination, tmp_path / "work", f"s{step}", 1, step)
        pusher.communicate()
        assert_survived(destination, tmp_path / "next", f"after{step}")
        if pusher.returncode == 0:
            break
        assert pusher.returncode == -signal.SIGKILL
    assert 10 < step < 39
    orphans = versions(destination / "saved_model") - versions(destination / "tflite")
    assert orphans, "no kill fell between the two renames"


def _kill_at(step: int) -> None:
    steps = 0

    def counted(function: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return wrapper

    os.fsync = counted(os.fsync)
    os.rename = counted(os.rename)  # Path.rename calls it


def _main(destination: str, work_dir: str, token: str, count: str, kill_at: str = "0") -> None:
    _kill_at(int(kill_at))
    for i in range(int(count)):
        print(push.push(make_candidate(Path(work_dir), f"{token}{i}"), destination).version)
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
