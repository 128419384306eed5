"""Pushing: versions, manifest, idempotence, readers and pushers side by side.

Run as a program, this file is a pusher: DESTINATION WORK_DIR TOKEN COUNT.
"""

import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from pushes import (
    FILES,
    TENSOR,
    VOCABULARY,
    assert_all_whole,
    content,
    digest,
    make_candidate,
    make_schema_1,
    manifest,
    names,
    push_all,
    versions,
)

from modules.errors import ConfigError, ModelError, UserError
from modules.files import sha256
from modules.push import publish


def edit_spec(candidate: publish.Candidate, **changes: Any) -> None:
    """Changes keys of spec.json; None removes one."""
    file = Path(candidate.export_dir, "student", "int8", "spec.json")
    spec = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))


def start_pusher(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "not yet" / "pushed"


def test_layout_and_manifest(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a")
    pushed = publish.push(candidate, str(destination), now=lambda: 1_700_000_000.9)
    assert pushed.version == 1_700_000_000
    assert pushed.copied
    assert pushed.saved_model_dir == str(destination / "saved_model" / "1700000000")
    assert pushed.tflite_dir == str(destination / "tflite" / "1700000000")
    assert names(destination) == [".push.lock", "saved_model", "tflite"]
    assert names(destination / "saved_model") == names(destination / "tflite") == ["1700000000"]
    assert_all_whole(destination)
    tensors = {
        "inputs": [{**TENSOR, "quantization": {"scale": 0.1, "zero_point": -3}}],
        "output": {**TENSOR, "name": "y", "quantization": None},
    }
    measured = {"accuracy": 0.9, "sha256": digest("a", "int8")}
    assert manifest(destination, pushed.version) == {
        "schema_version": 3,
        "version": 1_700_000_000,
        "created": "2023-11-14T22:13:20+00:00",
        "pipeline": "digits-nightly",
        "variant": "int8",
        "file": "model.tflite",
        "sha256": digest("a", "int8"),
        "size_bytes": len(content("a", "int8")),
        **tensors,
        "metrics": measured,
        "task": "binary",
        "labels": ["zéro", "one"],
        "preprocessing": {
            "spec": {},
            "raw": {},
            "vocabularies": {"city": {"file": VOCABULARY, "sha256": digest("a", VOCABULARY)}},
        },
        "more": [],
        "saved_model": {
            "path": "../../saved_model/1700000000",
            "files": {name: digest("a", name) for name in FILES},
        },
        "report": {
            "student": {"accuracy": 0.95},
            "variants": {
                "int8": measured,
                "float32": {"accuracy": 0.94, "sha256": "0" * 64},
            },
            "comparison": {"agreement": 0.97},
        },
        "rollback": None,
    }


def test_several_variants_lie_side_by_side(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a", ("float16", "int8", "dynamic_range"))
    pushed = publish.push(candidate, str(destination))
    assert names(Path(pushed.tflite_dir)) == [
        "manifest.json",
        "model.tflite",
        "model_dynamic_range.tflite",
        "model_int8.tflite",
        VOCABULARY,
    ]
    assert_all_whole(destination)
    found = manifest(destination, pushed.version)
    assert (found["variant"], found["file"]) == ("float16", "model.tflite")
    assert [entry["variant"] for entry in found["more"]] == ["int8", "dynamic_range"]
    for entry in found["more"]:
        assert set(entry) == {
            *("variant", "file", "sha256", "size_bytes", "inputs", "output", "metrics"),
        }
        assert entry["sha256"] == entry["metrics"]["sha256"] == digest("a", entry["variant"])
        assert entry["size_bytes"] == len(content("a", entry["variant"]))


def test_another_choice_of_variants_is_new_content(tmp_path: Path, destination: Path) -> None:
    variants = [("int8",), ("int8", "float16"), ("float16", "int8"), ("float16", "int8")]
    pushed = [publish.push(make_candidate(tmp_path, "a", v), str(destination)) for v in variants]
    assert [one.copied for one in pushed] == [True, True, True, False]


@pytest.mark.parametrize(
    ("gate", "complaint"),
    [
        ({"tflite": []}, "at least one variant that ships"),
        ({}, "KeyError: 'tflite'"),
        ({"tflite": ["float16"]}, "KeyError: 'float16'"),
        (None, "TypeError"),
    ],
)
def test_report_must_choose_what_was_measured(
    tmp_path: Path, destination: Path, gate: Any, complaint: str
) -> None:
    candidate = make_candidate(tmp_path, "a")
    candidate = dataclasses.replace(candidate, report={**candidate.report, "gate": gate})
    with pytest.raises(UserError, match=rf"report\.json must name in gate\.tflite .*{complaint}"):
        publish.push(candidate, str(destination))
    assert not destination.exists()


def test_last_pushed_is_what_was_judged(tmp_path: Path, destination: Path) -> None:
    assert publish.last_pushed(str(destination)) is None
    assert not destination.exists()
    for accuracy in (0.5, 0.75):
        candidate = make_candidate(tmp_path, str(accuracy), accuracy=accuracy)
        version = publish.push(candidate, str(destination)).version
    found = publish.last_pushed(str(destination))
    assert found is not None
    assert found == {
        "version": version,
        "student": candidate.report["student"],
        "variants": candidate.report["variants"],
    }
    assert found["variants"]["int8"]["accuracy"] == 0.75
    (destination / "tflite" / str(version) / "manifest.json").unlink()
    older = publish.last_pushed(str(destination))
    assert older is not None and older["variants"]["int8"]["accuracy"] == 0.5


def test_manifest_of_schema_1_is_understood(tmp_path: Path, destination: Path) -> None:
    version = publish.push(make_candidate(tmp_path, "a"), str(destination)).version
    make_schema_1(destination, version)
    assert publish.last_pushed(str(destination)) == {
        "version": version,
        "student": None,
        "variants": {"int8": {"accuracy": 0.9, "sha256": digest("a", "int8")}},
    }
    # What it lacks, the same student brings: other content.
    assert publish.push(make_candidate(tmp_path, "a"), str(destination)).copied
    again = publish.rollback(str(destination))
    assert again.to == version
    found = manifest(destination, again.version)
    assert [each["shape"] for each in found["inputs"]] == [TENSOR["shape"]]
    assert (found["task"], found["preprocessing"]) == ("classification", None)
    assert_all_whole(destination)


def test_a_server_of_another_user_can_read(tmp_path: Path, destination: Path) -> None:
    umask = os.umask(0o022)
    try:
        pushed = publish.push(make_candidate(tmp_path, "a"), str(destination))
    finally:
        os.umask(umask)
    for root in (Path(pushed.saved_model_dir), Path(pushed.tflite_dir)):
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in (root, *root.rglob("*")))


def test_versions_increase_whatever_the_clock_does(tmp_path: Path, destination: Path) -> None:
    clock = iter([1000.0, 1000.0, 400.0, 1001.0, 5000.0])
    candidates = (make_candidate(tmp_path, token) for token in "abcde")
    pushed = [publish.push(c, str(destination), now=clock.__next__).version for c in candidates]
    assert pushed == [1000, 1001, 1002, 1003, 5000]
    assert versions(destination / "saved_model") == versions(destination / "tflite") == set(pushed)


def test_same_content_is_not_pushed_again(tmp_path: Path, destination: Path) -> None:
    first = publish.push(make_candidate(tmp_path, "a"), str(destination))
    again = publish.push(make_candidate(tmp_path / "b", "a", latency=2.0), str(destination))
    assert (again.version, again.copied) == (first.version, False)
    assert again.saved_model_dir == first.saved_model_dir
    assert names(destination / "saved_model") == [str(first.version)]


def test_content_of_an_older_version_is_pushed_again(tmp_path: Path, destination: Path) -> None:
    """Going back to a former model must reach the readers, who take the newest version."""
    pushed = push_all(tmp_path, destination, "aba")
    assert pushed == sorted(set(pushed))


def test_another_saved_model_or_label_is_new_content(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a")
    first = publish.push(candidate, str(destination))
    extra = Path(candidate.saved_model_dir, "extra.txt")
    extra.write_text("new")
    measured = candidate.report["saved_model"] | {"extra.txt": sha256(str(extra))}
    other = dataclasses.replace(candidate, report={**candidate.report, "saved_model": measured})
    with_extra = publish.push(other, str(destination))
    extra.unlink()
    without = publish.push(candidate, str(destination))
    edit_spec(candidate, labels=["a", "b"])
    relabeled = publish.push(candidate, str(destination))
    assert first.version < with_extra.version < without.version < relabeled.version


@pytest.mark.parametrize(
    "damaged",
    ["saved_model/7/variables/variables.data", "tflite/7/model.tflite", "tflite/7/manifest.json"],
)
@pytest.mark.parametrize("remove", [True, False])
def test_damaged_newest_version_is_replaced_by_a_new_one(
    tmp_path: Path, destination: Path, damaged: str, remove: bool
) -> None:
    candidate = make_candidate(tmp_path, "a")
    publish.push(candidate, str(destination), now=lambda: 7)
    file = destination / damaged
    file.unlink() if remove else file.write_bytes(file.read_bytes()[:-1])
    assert publish.push(candidate, str(destination), now=lambda: 7).version == 8
    shutil.rmtree(destination / "saved_model" / "7")
    shutil.rmtree(destination / "tflite" / "7")
    assert_all_whole(destination)


@pytest.mark.parametrize("orphan", ["saved_model", "tflite"])
def test_number_of_an_orphan_is_not_reused(tmp_path: Path, destination: Path, orphan: str) -> None:
    candidate = make_candidate(tmp_path, "a")
    publish.push(candidate, str(destination), now=lambda: 7)
    other = {"saved_model": "tflite", "tflite": "saved_model"}[orphan]
    shutil.rmtree(destination / other / "7")
    pushed = publish.push(candidate, str(destination), now=lambda: 7)
    assert (pushed.version, pushed.copied) == (8, True)
    assert versions(destination / orphan) == {7, 8}
    assert publish.push(candidate, str(destination)).version == 8


def test_leftovers_of_a_killed_pusher_go(tmp_path: Path, destination: Path) -> None:
    for kind in ("saved_model", "tflite"):
        (destination / kind / ".staging-7" / "variables").mkdir(parents=True)
        (destination / kind / "notes").mkdir()
    assert publish.push(make_candidate(tmp_path, "a"), str(destination), now=lambda: 7).version == 7
    assert names(destination / "saved_model") == names(destination / "tflite") == ["7", "notes"]


@pytest.mark.parametrize("source", ["report", "spec.json"])
def test_only_the_measured_file_ships(tmp_path: Path, destination: Path, source: str) -> None:
    other = {"sha256": "0" * 64}
    candidate = make_candidate(tmp_path, "a", **(other if source == "report" else {}))
    if source == "spec.json":
        edit_spec(candidate, **other)
    with pytest.raises(ModelError, match=f"sha256 is 0{{64}} in the {source} and [0-9a-f]{{64}}"):
        publish.push(candidate, str(destination))
    assert not destination.exists()


@pytest.mark.parametrize("damage", ["changed", "one more", "one less", "not measured"])
def test_only_the_measured_saved_model_ships(
    tmp_path: Path, destination: Path, damage: str
) -> None:
    candidate = make_candidate(tmp_path, "a")
    weights = Path(candidate.saved_model_dir, "variables", "variables.data")
    if damage == "changed":
        weights.write_bytes(b"other")
    elif damage == "one more":
        weights = weights.with_name("other.data")
        weights.touch()
    elif damage == "one less":
        weights.unlink()
    else:
        report = {name: each for name, each in candidate.report.items() if name != "saved_model"}
        candidate = dataclasses.replace(candidate, report=report)
        weights = Path(candidate.saved_model_dir, "assets", "v.txt")
    name = weights.relative_to(candidate.saved_model_dir)
    with pytest.raises(ModelError, match=f"that was measured, but the sha256 of {name} is .* in"):
        publish.push(candidate, str(destination))
    assert not destination.exists()


def test_file_that_changes_while_copied_is_refused(
    tmp_path: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = make_candidate(tmp_path, "a")
    mkdir = os.mkdir

    def change_it(path: str, *arguments: Any) -> None:
        Path(candidate.export_dir, "student", "int8", "model.tflite").write_bytes(b"other")
        mkdir(path, *arguments)

    monkeypatch.setattr(os, "mkdir", change_it)
    with pytest.raises(ModelError, match=r"model\.tflite changed"):
        publish.push(candidate, str(destination))
    assert names(destination / "saved_model") == names(destination / "tflite") == []


@pytest.mark.parametrize("lost", ["spec.json", "model.tflite", "saved_model.pb", "labels"])
def test_incomplete_export_is_refused(tmp_path: Path, destination: Path, lost: str) -> None:
    candidate = make_candidate(tmp_path, "a")
    if lost == "labels":
        edit_spec(candidate, labels=None)
    else:
        next(tmp_path.rglob(lost)).unlink()
    with pytest.raises(ModelError, match=f"is incomplete .*{lost}"):
        publish.push(candidate, str(destination))
    assert not destination.exists()


@pytest.mark.parametrize("destination", ["", "  "])
def test_destination_must_be_named(tmp_path: Path, destination: str) -> None:
    with pytest.raises(ConfigError, match="must be a directory or a URL"):
        publish.push(make_candidate(tmp_path, "a"), destination)


def test_fewer_than_two_are_never_kept(tmp_path: Path, destination: Path) -> None:
    with pytest.raises(ConfigError, match=r"push\.keep must be 2 or more, got 1"):
        publish.push(make_candidate(tmp_path, "a"), str(destination), keep=1)
    assert not destination.exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/pushed"])
def test_unusable_destination_is_one_clear_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^push destination .* cannot be used \(") as error:
        publish.push(make_candidate(tmp_path, "a"), str(tmp_path / place))
    assert "\n" not in str(error.value)


def test_waiting_for_the_lock_ends_with_its_name(tmp_path: Path, destination: Path) -> None:
    destination.mkdir(parents=True)
    candidate = make_candidate(tmp_path, "a")
    with (destination / ".push.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"another pusher has held .*/\.push\.lock for over 0"):
            publish.push(candidate, str(destination), lock_timeout_s=0.1)
    assert publish.push(candidate, str(destination), lock_timeout_s=0.1).copied


@pytest.mark.slow
def test_reader_never_sees_half_a_version(tmp_path: Path, destination: Path) -> None:
    looks, seen = 0, set()
    pusher = start_pusher(destination, tmp_path, "r", 15)
    while pusher.poll() is None:
        assert_all_whole(destination)
        now_seen = versions(destination / "tflite")
        # Once there are two, there are always two: the newest is never lost to tidying.
        assert len(now_seen) >= min(2, len(seen))
        looks += bool(now_seen - seen)
        seen |= now_seen
    assert pusher.returncode == 0
    assert_all_whole(destination)
    assert len(versions(destination / "tflite")) == len(versions(destination / "saved_model")) == 3
    assert looks > 3, "the reader hardly ran beside the pusher"


@pytest.mark.slow
def test_two_pushers_never_collide(tmp_path: Path, destination: Path) -> None:
    pushers = [start_pusher(destination, tmp_path / token, token, 5) for token in ("x", "y")]
    printed = [int(line) for pusher in pushers for line in pusher.communicate()[0].split()]
    assert [pusher.returncode for pusher in pushers] == [0, 0]
    assert len(set(printed)) == 10
    kept = set(sorted(printed)[-3:])
    assert versions(destination / "saved_model") == versions(destination / "tflite") == kept
    assert_all_whole(destination)


def _main(destination: str, work_dir: str, token: str, count: str) -> None:
    for i in range(int(count)):
        candidate = make_candidate(Path(work_dir), f"{token}{i}")
        print(publish.push(candidate, destination, keep=3).version)
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
