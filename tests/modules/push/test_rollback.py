"""Rolling back, what is kept for it, and verifying what is there."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pushes import (
    FILES,
    assert_all_whole,
    make_candidate,
    make_schema_1,
    manifest,
    names,
    push_all,
    served,
    token_of,
    versions,
)

from modules.errors import ConfigError, UserError
from modules.push import publish
from modules.push.verify import verify


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "pushed"


def tokens(destination: Path) -> dict[int, str]:
    """The token of every version."""
    root = destination / "saved_model"
    return {version: token_of(root / str(version)) for version in sorted(versions(root))}


def test_rollback_publishes_the_former_content_once_more(tmp_path: Path, destination: Path) -> None:
    first, second = push_all(tmp_path, destination, "ab", now=lambda: 7)
    back = publish.rollback(str(destination), now=lambda: 100)
    assert back == publish.RolledBack(version=100, to=first, from_version=second)
    assert tokens(destination) == {7: "a", 8: "b", 100: "a"}
    assert_all_whole(destination)
    former, found = manifest(destination, first), manifest(destination, 100)
    assert found["rollback"] == {"to": first, "from": second}
    changed = {"version", "created", "rollback", "saved_model"}
    assert {key for key in found if found[key] != former[key]} == changed
    assert found["saved_model"]["files"] == former["saved_model"]["files"]
    last = publish.last_pushed(str(destination))
    assert last is not None and last["version"] == 100
    assert verify(str(destination)).problems == ()


def test_each_further_rollback_goes_one_further_back(tmp_path: Path, destination: Path) -> None:
    pushed = push_all(tmp_path, destination, "abcd")
    backs = [publish.rollback(str(destination)) for _ in range(3)]
    assert [back.to for back in backs] == pushed[2::-1]
    assert [back.from_version for back in backs] == [pushed[3], *(b.version for b in backs[:2])]
    assert "".join(tokens(destination).values()) == "abcdcba"
    with pytest.raises(UserError, match=r"no version to roll back to: .* a rollback to \d+, the"):
        publish.rollback(str(destination))
    assert "".join(tokens(destination).values()) == "abcdcba"


def test_rollback_after_a_new_push_goes_to_what_was_served_before_it(
    tmp_path: Path, destination: Path
) -> None:
    push_all(tmp_path, destination, "abc")
    publish.rollback(str(destination))
    publish.rollback(str(destination))
    push_all(tmp_path, destination, "d")
    assert served(destination) == "d"
    publish.rollback(str(destination))
    assert served(destination) == "a"


def test_rollback_passes_over_what_was_rolled_back_before(
    tmp_path: Path, destination: Path
) -> None:
    push_all(tmp_path, destination, "ab")
    back = publish.rollback(str(destination))
    # b's mark is lifted, and it comes again; so does a student after it.
    shutil.rmtree(destination / "rolled_back")
    push_all(tmp_path, destination, "bab")
    assert served(destination) == "b"
    publish.rollback(str(destination))
    assert served(destination) == "a"
    with pytest.raises(UserError, match="no version to roll back to"):
        publish.rollback(str(destination))
    assert back.version in versions(destination / "tflite")


@pytest.mark.parametrize("pushed", ["", "a", "aa"])
def test_nothing_to_roll_back_to(tmp_path: Path, destination: Path, pushed: str) -> None:
    push_all(tmp_path, destination, pushed)
    with pytest.raises(UserError, match=r"does not exist; give|no version to roll back to"):
        publish.rollback(str(destination))
    assert not (destination / "rolled_back").exists()
    assert destination.exists() == bool(pushed)


def test_a_damaged_version_is_not_rolled_back_to(tmp_path: Path, destination: Path) -> None:
    former, _ = push_all(tmp_path, destination, "ab")
    (destination / "saved_model" / str(former) / "assets/v.txt").write_text("other")
    with pytest.raises(UserError, match=rf"version {former}, .* damaged: .*v\.txt has sha256"):
        publish.rollback(str(destination))
    assert served(destination) == "b"
    assert push_all(tmp_path, destination, "b") == [max(versions(destination / "tflite"))]


def test_what_was_rolled_back_is_not_pushed_again_until_allowed(
    tmp_path: Path, destination: Path
) -> None:
    push_all(tmp_path, destination, "ab")
    publish.rollback(str(destination))
    for _ in range(2):
        with pytest.raises(UserError, match="this student was rolled back") as error:
            push_all(tmp_path, destination, "b")
    assert served(destination) == "a"
    assert "\n" not in str(error.value)
    push_all(tmp_path, destination, "c")  # another student passes
    with pytest.raises(UserError, match="this student was rolled back"):
        push_all(tmp_path, destination, "b")
    (mark,) = (destination / "rolled_back").iterdir()
    assert f"remove {mark} to allow it" in str(error.value)
    mark.unlink()
    push_all(tmp_path, destination, "b")
    assert served(destination) == "b"


def test_old_versions_go_in_both_formats(tmp_path: Path, destination: Path) -> None:
    pushed = push_all(tmp_path, destination, "abcde")
    (destination / "saved_model" / "notes").mkdir()
    foreign = destination / "saved_model" / "5"  # another tool's version has no manifest
    foreign.mkdir()
    pushed += push_all(tmp_path, destination, "f", keep=3)
    assert versions(destination / "tflite") == set(pushed[-3:])
    assert versions(destination / "saved_model") == {5, *pushed[-3:]}
    assert names(destination / "tflite") == [str(version) for version in pushed[-3:]]
    assert (destination / "saved_model" / "notes").is_dir()
    # What is there already also tidies up, and nothing more than asked.
    assert push_all(tmp_path, destination, "f", keep=2) == [pushed[-1]]
    assert versions(destination / "tflite") == set(pushed[-2:])
    foreign.rmdir()
    assert_all_whole(destination)


def test_what_a_rollback_needs_is_kept(tmp_path: Path, destination: Path) -> None:
    pushed = push_all(tmp_path, destination, "abcd")
    publish.rollback(str(destination))
    publish.rollback(str(destination))  # b is served; a is the next to go to
    push_all(tmp_path, destination, "b", keep=2)
    assert pushed[0] in versions(destination / "tflite")
    assert not set(pushed[1:]) & versions(destination / "tflite")
    publish.rollback(str(destination))
    assert served(destination) == "a"
    assert_all_whole(destination)


def test_numbers_rise_although_old_versions_are_removed(tmp_path: Path, destination: Path) -> None:
    pushed = push_all(tmp_path, destination, "abcdef", keep=2, now=lambda: 7)
    assert pushed == [7, 8, 9, 10, 11, 12]


def test_an_intact_version_has_no_problems(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a", ("int8", "float16"))
    old = publish.push(candidate, str(destination))
    newest = publish.push(make_candidate(tmp_path, "b"), str(destination))
    expected = [
        (destination, newest.version, 7),
        (f"{destination}/", newest.version, 7),
        (old.tflite_dir, old.version, 8),
        (old.saved_model_dir, old.version, 8),
    ]
    for path, version, files in expected:
        found = verify(str(path))
        assert (found.version, found.files, found.problems) == (version, files, ())
        assert found.saved_model_dir == str(destination / "saved_model" / str(version))
        assert found.tflite_dir == str(destination / "tflite" / str(version))


def test_relative_paths_are_verified(
    tmp_path: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (version,) = push_all(tmp_path, destination, "a")
    for directory, path in (
        (destination, "."),
        (destination, f"tflite/{version}"),
        (tmp_path, "pushed"),
    ):
        monkeypatch.chdir(directory)
        assert (verify(path).version, verify(path).problems) == (version, ())


EVERY_FILE = (
    *(f"saved_model/7/{name}" for name in FILES),
    "tflite/7/model.tflite",
    "tflite/7/model_float16.tflite",
)


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("kind", ["tflite", "saved_model", ""])
def test_every_damage_is_told(tmp_path: Path, destination: Path, name: str, kind: str) -> None:
    candidate = make_candidate(tmp_path, "a", ("int8", "float16"))
    publish.push(candidate, str(destination), now=lambda: 7)
    path = str(destination / kind / "7" if kind else destination)
    file = destination / name
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"!")
    (changed,) = verify(path).problems
    assert changed.startswith(f"{file} has sha256 ") and changed.endswith(".")
    file.unlink()
    assert verify(path).problems == (f"{file} is missing.",)
    file.write_bytes(good)
    assert verify(path).problems == ()
    extra = file.with_name("extra")
    extra.touch()
    assert verify(path).problems == (f"{extra} is not in the manifest.",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"manifest\.json is missing"),
        (b"{", r"is not a manifest \(Invalid JSON"),
        (b"{}", r"is not a manifest \(variant: must be set"),
        ({"version": 8}, "is that of version 8"),
        ({"file": "../../x"}, "must stay inside its version"),
    ],
)
def test_a_manifest_that_is_none_is_told(
    tmp_path: Path, destination: Path, content: Any, complaint: str
) -> None:
    push_all(tmp_path, destination, "a", now=lambda: 7)
    file = destination / "tflite/7/manifest.json"
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text()), **content}).encode()
    file.unlink() if content is None else file.write_bytes(content)
    (problem,) = verify(str(destination)).problems
    assert "\n" not in problem
    assert re.search(complaint, problem)


def test_a_newer_savedmodel_without_manifest_is_told(tmp_path: Path, destination: Path) -> None:
    """TF Serving serves the highest number, whoever has put it there."""
    push_all(tmp_path, destination, "a", now=lambda: 7)
    (destination / "saved_model" / "8").mkdir()
    found = verify(str(destination))
    assert found.problems == (f"{destination}/tflite/8/manifest.json is missing.",)


def test_schema_1_is_verified(tmp_path: Path, destination: Path) -> None:
    push_all(tmp_path, destination, "a", now=lambda: 7)
    make_schema_1(destination, 7)
    assert verify(str(destination)).problems == ()
    (destination / "tflite/7/model.tflite").write_bytes(b"")
    assert len(verify(str(destination)).problems) == 1


def test_what_is_no_destination_is_not_verified(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "tflite" / "7"):
        with pytest.raises(UserError, match=f"^{path} must be a destination of pushes or a"):
            verify(str(path))
    with pytest.raises(ConfigError, match="must be a directory or a URL"):
        verify("")


def test_pipeline_name_is_no_content(tmp_path: Path, destination: Path) -> None:
    candidate = make_candidate(tmp_path, "a")
    publish.push(candidate, str(destination))
    renamed = dataclasses.replace(candidate, pipeline="other")
    assert not publish.push(renamed, str(destination)).copied
