"""Files on this machine and in an object store, through the same functions."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from object_store import ObjectStore

from modules import files
from modules.files import LocalCopies

CONTENT = {"report.json": b"{}", "deep/er/model.tflite": bytes(range(256)) * 9000, "empty": b""}


@pytest.fixture(params=["local", "file", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory with nothing in it, on each kind of file system."""
    ObjectStore.reset()
    below = {"local": tmp_path, "file": tmp_path.as_uri(), "bucket": "bucket://root/below"}
    return f"{below[request.param]}/there"


@pytest.fixture
def url() -> str:
    ObjectStore.reset()
    return "bucket://root/there"


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """A local directory with `CONTENT`."""
    for name, content in CONTENT.items():
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return str(tmp_path / "tree")


def read(directory: str) -> dict[str, bytes]:
    names = files.file_names(directory)
    return {name: files.read_bytes(f"{directory}/{name}") for name in names}


def test_schemes() -> None:
    assert [files.is_url(path) for path in ("s3://b/m", "file:///m", "/m", "C:m")] == [
        *(True, True, False, False)
    ]
    assert [files.local_path(path) for path in ("s3://b/m", "file:///m", "/m", "m")] == [
        *(None, "/m", "/m", "m")
    ]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_tree_is_copied_listed_and_removed(root: str, slash: str, tree: str) -> None:
    files.copy_tree(tree, root + slash)
    assert files.entries(root + slash) == ["deep", "empty", "report.json"]
    assert files.file_names(root + slash) == sorted(CONTENT)
    assert read(root) == CONTENT
    assert files.exists(root) and files.is_dir(root + slash)
    assert files.exists(f"{root}/empty") and not files.is_dir(f"{root}/empty")
    files.remove(f"{root}/report.json")
    assert files.entries(root) == ["deep", "empty"]
    files.remove_tree(root + slash)
    files.remove_tree(root + slash)  # nothing is left to remove
    assert not files.exists(root)


def test_what_is_not_there(root: str) -> None:
    assert files.entries(root) == files.file_names(root) == []
    assert not files.exists(root) and not files.is_dir(root)
    files.copy_tree(root, f"{root}-copy")
    assert not files.exists(f"{root}-copy")
    for read_file in (files.read_bytes, files.sha256):
        with pytest.raises(FileNotFoundError, match=root.removeprefix("file://")):
            read_file(f"{root}/none")


def test_hashes_are_those_of_the_content(root: str, tree: str) -> None:
    name = "deep/er/model.tflite"
    digest = hashlib.sha256(CONTENT[name]).hexdigest()
    assert files.copy(f"{tree}/{name}", f"{root}/{name}") == digest
    assert files.sha256(f"{root}/{name}") == digest
    assert files.copy(f"{root}/{name}", f"{root}/again") == digest
    files.write_bytes(f"{root}/again", b"other")
    assert files.sha256(f"{root}/again") == hashlib.sha256(b"other").hexdigest()


def test_a_link_to_a_directory_is_followed(tree: str, tmp_path: Path) -> None:
    """Data are often linked into a folder."""
    os.symlink(tree, tmp_path / "linked")
    (tmp_path / "around").mkdir()
    os.symlink(tree, tmp_path / "around" / "linked")
    assert files.file_names(str(tmp_path / "linked")) == sorted(CONTENT)
    assert files.file_names(str(tmp_path / "around")) == [
        f"linked/{name}" for name in sorted(CONTENT)
    ]


def test_a_relative_path_is_one_of_the_current_directory(
    tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(tree).parent)
    assert read("tree") == CONTENT
    assert files.entries(".") == ["tree"]
    monkeypatch.chdir(tree)
    assert read(".") == CONTENT


def test_a_copy_that_fails_leaves_nothing_at_a_url(url: str, tree: str) -> None:
    def gone() -> None:
        raise OSError("gone away")

    ObjectStore.before_change = staticmethod(gone)
    with pytest.raises(OSError, match="gone away"):
        files.copy(f"{tree}/report.json", f"{url}/report.json")
    ObjectStore.calm()
    with pytest.raises(FileNotFoundError):
        files.copy(f"{tree}/none", f"{url}/report.json")
    assert not files.exists(url)


def test_one_upload_does_not_disturb_another(url: str) -> None:
    """As those of two threads meet; they share fsspec's file system."""

    def meanwhile() -> None:
        ObjectStore.calm()
        files.write_bytes(f"{url}/other", b"other")

    ObjectStore.before_change = staticmethod(meanwhile)
    files.write_bytes(f"{url}/one", b"one")
    files.write_bytes(f"{url}/next", b"next")
    assert read(url) == {"one": b"one", "other": b"other", "next": b"next"}


def test_local_paths_are_used_as_they_are(tmp_path: Path) -> None:
    with LocalCopies() as copies:
        for path in (str(tmp_path), tmp_path.as_uri()):
            assert copies.to_read(path) == copies.to_write(path) == str(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_url_is_read_from_a_copy_that_goes_away(url: str, slash: str, tree: str) -> None:
    files.copy_tree(tree, url)
    with LocalCopies() as copies:
        directory = copies.to_read(url + slash)
        assert not files.is_url(directory)
        assert read(directory) == CONTENT
        file = copies.to_read(f"{url}/deep/er/model.tflite")
        assert Path(file).name == "model.tflite"
        assert Path(file).read_bytes() == CONTENT["deep/er/model.tflite"]
    assert not Path(directory).exists() and not Path(file).exists()


def test_what_is_written_is_at_the_url_in_the_end(url: str, tree: str) -> None:
    with LocalCopies() as copies:
        directory = copies.to_write(url)
        files.copy_tree(tree, directory)
        assert not files.exists(url)
    assert read(url) == CONTENT
    assert not Path(directory).exists()


def test_after_an_error_nothing_is_at_the_url(url: str, tree: str) -> None:
    def fail() -> None:
        with LocalCopies() as copies:
            files.copy_tree(tree, copies.to_write(url))
            raise ValueError("half of it")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert not files.exists(url)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for read in (files.read_bytes, files.sha256):
            with pytest.raises(OSError, match="it is not a regular file"):
                read(str(tmp_path / name))
