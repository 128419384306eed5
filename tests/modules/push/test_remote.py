"""Pushing to URLs: to a store in memory that fails at will."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from fsspec.registry import _registry
from object_store import ObjectStore, downloaded
from pushes import VOCABULARY, make_candidate, names, push_all, served, versions

from modules import files
from modules.errors import UserError
from modules.push import publish
from modules.push.verify import verify

URL = "bucket://models/digits"
MOST_STEPS = 200


class Died(BaseException):
    """Nothing may catch it, and nothing works after it: what a kill is to a remote store."""


@pytest.fixture(autouse=True)
def _empty_store() -> None:
    ObjectStore.reset()


def fail_at(step: int, error: BaseException) -> None:
    """Makes the step-th change of the store fail; after a death, everything does."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step or (steps > step and isinstance(error, Died)):
            raise error

    ObjectStore.before_change = staticmethod(count)


def objects() -> set[str]:
    return {path.removeprefix("/models/digits/") for path in ObjectStore.store}


def write(name: str, content: bytes = b"") -> None:
    files.write_bytes(f"{URL}/{name}", content)


@pytest.fixture
def store(tmp_path: Path):
    """A function that copies what is at the destination, to look at it."""
    return lambda: downloaded(URL, tmp_path / "store")


def assert_whole(store: Path) -> None:
    """Every version, which is what has a manifest, is whole and verifies."""
    for file in store.glob("tflite/*/manifest.json"):
        assert verify(f"{URL}/tflite/{file.parent.name}").problems == ()
    for file in store.glob("saved_model/*/saved_model.pb"):
        assert {path.name for path in file.parent.iterdir()} == {
            *("saved_model.pb", "assets", "assets.extra", "variables")
        }


def test_a_push_to_a_url(tmp_path: Path, store) -> None:
    candidate = make_candidate(tmp_path / "work", "a", ("int8", "float16"))
    pushed = publish.push(candidate, f"{URL}/", now=lambda: 7)
    assert (pushed.version, pushed.copied) == (7, True)
    assert pushed.saved_model_dir == f"{URL}/saved_model/7"
    assert pushed.tflite_dir == f"{URL}/tflite/7"
    assert names(store() / "tflite/7") == [
        *(".push.json", "manifest.json", "model.tflite", "model_float16.tflite"),
        VOCABULARY,
    ]
    assert served(store()) == "a"
    assert not publish.push(candidate, URL).copied
    found = verify(URL)
    assert (found.version, found.files, found.problems) == (7, 8, ())
    assert found.saved_model_dir == pushed.saved_model_dir
    assert publish.last_pushed(URL) == {
        "version": 7,
        "student": candidate.report["student"],
        "variants": candidate.report["variants"],
    }
    files.remove(f"{URL}/saved_model/7/assets/v.txt")
    assert verify(f"{URL}/saved_model/7").problems == (
        f"{URL}/saved_model/7/assets/v.txt is missing.",
    )


def test_a_candidate_at_a_url(tmp_path: Path, store) -> None:
    local = make_candidate(tmp_path / "work", "a")
    files.copy_tree(str(tmp_path / "work"), "bucket://root/run")
    candidate = publish.Candidate(
        "bucket://root/run/saved_model/", "bucket://root/run/export", local.report, "digits"
    )
    publish.push(candidate, URL)
    assert served(store()) == "a"
    publish.push(candidate, str(tmp_path / "pushed"))
    assert served(tmp_path / "pushed") == "a"


def test_what_a_reader_waits_for_is_written_last(tmp_path: Path) -> None:
    seen: list[set[str]] = []
    ObjectStore.before_change = staticmethod(lambda: seen.append(objects()))
    (version,) = push_all(tmp_path / "work", URL, "a")
    written = [now - before for before, now in pairwise(seen)]
    assert written[0] == {f"tflite/{version}/.push.json"}
    assert written[-1] == {f"saved_model/{version}/saved_model.pb"}
    assert objects() - seen[-1] == {f"tflite/{version}/manifest.json"}


def test_roll_back_and_keep(tmp_path: Path, store) -> None:
    pushed = push_all(tmp_path / "work", URL, "abcd")
    assert publish.rollback(URL).to == pushed[2]
    assert publish.rollback(URL).to == pushed[1]
    assert served(store()) == "b"
    with pytest.raises(UserError, match=rf"remove {URL}/rolled_back/[0-9a-f]+\.json to allow it"):
        push_all(tmp_path / "work", URL, "d")
    (newest,) = push_all(tmp_path / "work", URL, "e", keep=2)
    assert len(versions(store() / "tflite")) == len(versions(store() / "saved_model")) == 2
    assert max(versions(store() / "tflite")) == newest
    assert_whole(store())
    publish.rollback(URL)
    assert served(store()) == "b"


@pytest.mark.parametrize("error", [Died(), RuntimeError("gone\naway")])
@pytest.mark.parametrize("action", ["push", "rollback"])
def test_failure_at_every_change(tmp_path: Path, store, error: BaseException, action: str) -> None:
    push_all(tmp_path / "work", URL, "abc")
    template = dict(ObjectStore.store)
    leftovers = 0
    for step in range(1, MOST_STEPS):
        ObjectStore.reset()
        ObjectStore.store.update(template)
        fail_at(step, error)
        try:
            if action == "push":
                push_all(tmp_path / "work", URL, "d", keep=2)
            else:
                publish.rollback(URL)
        except Died:
            told = "gone away); fix"
        except UserError as raised:
            told = str(raised)
        else:
            break
        assert "gone away); fix" in told
        ObjectStore.calm()
        left = store()
        assert_whole(left)
        seen = versions(left / "saved_model") | versions(left / "tflite")
        leftovers += len(seen) > len(list(left.glob("tflite/*/manifest.json")))
        (version,) = push_all(tmp_path / "work", URL, "e", keep=2)
        assert version > max(seen)
        after = store()
        assert versions(after / "saved_model") == versions(after / "tflite")
        # A rollback, begun or done, needs one more than the newest two.
        assert len(versions(after / "tflite")) == 2 or action == "rollback"
        assert served(after) == "e"
        assert_whole(after)
    assert step > (20 if action == "push" else 8)
    assert leftovers > 5


def test_half_a_manifest_is_no_version(tmp_path: Path, store) -> None:
    """Not every file system writes a file as a whole or not at all."""
    first, second = push_all(tmp_path / "work", URL, "ab")
    name = f"tflite/{second}/manifest.json"
    write(name, files.read_bytes(f"{URL}/{name}")[:100])
    last = publish.last_pushed(URL)
    assert last is not None and last["version"] == first
    (third,) = push_all(tmp_path / "work", URL, "b")
    assert third > second
    assert versions(store() / "tflite") == versions(store() / "saved_model") == {first, third}


def test_what_is_not_ours_is_left_alone(tmp_path: Path, store) -> None:
    for name in ("saved_model/5/saved_model.pb", "tflite/6/model.tflite", "tflite/notes"):
        write(name)
    pushed = push_all(tmp_path / "work", URL, "abc", keep=2, now=lambda: 1)
    assert pushed == [7, 8, 9]
    assert versions(store() / "saved_model") == {5, 8, 9}
    assert versions(store() / "tflite") == {6, 8, 9}
    assert (store() / "tflite/notes").exists()


def test_two_pushers_on_one_number(tmp_path: Path, store) -> None:
    other = make_candidate(tmp_path / "other", "b")
    steps = 0

    def meanwhile() -> None:
        nonlocal steps
        steps += 1
        if steps == 2:  # the other one has looked before the first one's claim was there
            del ObjectStore.store["/models/digits/tflite/7/.push.json"]
            publish.push(other, URL, now=lambda: 7)

    ObjectStore.before_change = staticmethod(meanwhile)
    # The first one has one object on its way, and makes no other.
    with pytest.raises(UserError, match=r"another pusher is writing .*tflite/7"):
        push_all(tmp_path / "work", URL, "a", now=lambda: 7)
    assert push_all(tmp_path / "work", URL, "a", now=lambda: 7) == [8]
    assert served(store()) == "a"
    assert verify(f"{URL}/tflite/8").problems == ()


def test_a_copy_that_is_cut_short_is_found_out(tmp_path: Path) -> None:
    ObjectStore.transmitted = staticmethod(
        lambda path, content: content[: len(content) // 2] if "index" in path else content
    )
    with pytest.raises(UserError, match=r"not contain what was written: .*variables\.index has"):
        push_all(tmp_path / "work", URL, "a")
    assert not [name for name in objects() if name.endswith(("saved_model.pb", "manifest.json"))]


def test_a_file_url_is_a_local_destination(tmp_path: Path) -> None:
    destination = tmp_path / "pushed"
    pushed = push_all(tmp_path / "work", destination.as_uri(), "abc", keep=2)
    assert verify(destination.as_uri()).problems == ()
    assert publish.rollback(destination.as_uri()).to == pushed[1]
    assert served(destination) == "b"
    assert {pushed[1], pushed[2]} < versions(destination / "tflite")
    assert ".push.lock" in names(destination)
    assert verify(str(destination)).problems == ()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/models", r"^gs://\S+ needs a package that is not installed: .* gcsfs "),
        ("s3://bucket/models", r"^s3://\S+ needs a package that is not installed: .* s3fs "),
        ("tape://host/models", r"must be a local path or a URL that fsspec knows.*: tape$"),
    ],
)
def test_a_scheme_without_a_file_system_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    for scheme, package in (("gs", "gcsfs"), ("s3", "s3fs")):
        monkeypatch.delitem(_registry, scheme, raising=False)
        monkeypatch.setitem(sys.modules, package, None)
    for use in (publish.last_pushed, publish.rollback, verify):
        with pytest.raises(UserError, match=message):
            use(url)
