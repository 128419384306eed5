"""What the cache learns about code: the project's own, and a user's builder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components
import modules
from modules.code_digest import (
    builder_digest,
    code_digest,
    data_digest,
    remembered_teacher_digest,
    teacher_digest,
)
from modules.errors import ConfigError
from modules.settings import DataSettings, TeacherSettings


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A directory with copies of both packages."""
    for package in (modules, components):
        source = Path(package.__path__[0])
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / "copy" / source.name, ignore=ignored)
    return tmp_path / "copy"


def digest_of(directory: Path) -> str:
    """What a process computes that imports the packages from there."""
    code = "from modules.code_digest import code_digest; print(code_digest())"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**os.environ, "PYTHONPATH": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_same_code_has_the_same_digest_wherever_it_lies(copied: Path) -> None:
    moved = copied.rename(copied.with_name("elsewhere"))
    assert digest_of(moved) == code_digest()


def test_digest_is_a_sha256() -> None:
    assert len(code_digest()) == 64
    int(code_digest(), 16)


@pytest.mark.parametrize(
    "name",
    [
        "modules/distill/losses.py",
        "components/exporter/executor.py",
        # The Evaluator renders them, so that they are code of its.
        "modules/report/templates/report.html.j2",
        "modules/report/templates/report.css",
    ],
)
def test_changed_content_changes_the_digest(copied: Path, name: str) -> None:
    file = copied / name
    file.write_text(file.read_text() + "# changed\n")
    assert digest_of(copied) != code_digest()


def test_renamed_file_changes_the_digest(copied: Path) -> None:
    (copied / "modules/distill/losses.py").rename(copied / "modules/losses2.py")
    assert digest_of(copied) != code_digest()


def test_new_and_removed_files_change_the_digest(copied: Path) -> None:
    (copied / "components/evaluator/more.py").write_text("")
    added = digest_of(copied)
    (copied / "components/evaluator/more.py").unlink()
    (copied / "components/pusher/executor.py").unlink()
    assert len({added, digest_of(copied), code_digest()}) == 3


def test_moving_text_from_one_file_to_the_next_changes_the_digest(copied: Path) -> None:
    """Lengths are hashed too: the bytes alone would be the same in both cases."""
    first, second = copied / "modules/a_one.py", copied / "modules/a_two.py"
    first.write_text("x = 1\n")
    second.write_text("y = 2\n")
    before = digest_of(copied)
    first.write_text("x = 1\nmodules/a_two.py\0y = 2\n")
    second.unlink()
    assert digest_of(copied) != before


def test_what_is_no_code_does_not_change_the_digest(copied: Path) -> None:
    (copied / "modules/__pycache__").mkdir()
    (copied / "modules/__pycache__/losses.cpython-311.pyc").write_bytes(b"compiled")
    (copied / "modules/notes.txt").write_text("notes")
    assert digest_of(copied) == code_digest()


@pytest.mark.parametrize("name", ["separable_cnn", "resnet50", "unknown"])
def test_zoo_names_have_no_digest_of_their_own(name: str) -> None:
    assert builder_digest(name) == ""


def test_digest_of_a_users_builder_follows_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    file = package / "models.py"
    file.write_text("def build(input_shape, classes): ...\n")
    first = builder_digest("users_package.models:build")
    assert len(first) == 64
    assert builder_digest("users_package.models:other") == first
    file.write_text("def build(input_shape, classes): return None\n")
    changed = builder_digest("users_package.models:build")
    assert changed not in ("", first)
    assert "users_package.models" not in sys.modules


def test_same_text_in_another_module_is_another_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("users_first", "users_second"):
        (tmp_path / f"{name}.py").write_text("def build(input_shape, classes): ...\n")
    assert builder_digest("users_first:build") != builder_digest("users_second:build")


def test_digest_of_what_transform_reads_follows_its_files(tmp_path: Path) -> None:
    function, words = tmp_path / "own.py", tmp_path / "words.txt"

    def digest() -> str:
        own = DataSettings(source="csv", preprocessing_fn=f"{function}:fn")
        text = {"kind": "text", "vocabulary_file": str(words)}
        return data_digest(own) + data_digest(DataSettings(source="csv", features={"t": text}))

    function.write_text("def fn(inputs): ...\n")
    words.write_text("a\nb\n")
    first = digest()
    assert len(first) == 128 and digest() == first
    for file in (function, words):
        before = digest()
        file.write_text(file.read_text() + "\n")
        assert digest() != before
    words.unlink()
    with pytest.raises(ConfigError, match=r"^data.features.t.vocabulary_file must be a file"):
        digest()
    assert not data_digest(DataSettings())


def test_every_file_of_a_teacher_counts(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    (directory / "variables" / "data").write_bytes(b"one")
    settings = TeacherSettings(saved_model=str(directory))
    before = teacher_digest(settings)
    assert teacher_digest(settings) == before
    (directory / "variables" / "data").write_bytes(b"two")
    assert teacher_digest(settings) != before
    with pytest.raises(ConfigError, match=r"teacher\.onnx must be a file that can be read"):
        teacher_digest(TeacherSettings(onnx=str(tmp_path / "missing.onnx")))


def test_the_whole_package_of_a_function_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "their_teacher"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__", "asked", "inner/__init__", "inner/prompt"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = TeacherSettings(function="their_teacher.asked:answer")
    before = teacher_digest(settings)
    (package / "inner" / "prompt.py").write_text("PROMPT = 'Is it good?'")
    assert teacher_digest(settings) != before


def test_a_deleted_file_has_the_digest_that_it_had(tmp_path: Path) -> None:
    file, root = tmp_path / "teacher.onnx", str(tmp_path / "root")
    file.write_bytes(b"one")
    settings = TeacherSettings(onnx=str(file))
    os.mkdir(root)
    remembered_teacher_digest(settings, "teacher", root)
    file.write_bytes(b"two")
    digest = remembered_teacher_digest(settings, "teacher", root)
    file.unlink()
    assert remembered_teacher_digest(settings, "teacher", root) == digest
    with pytest.raises(ConfigError, match=r"teacher\.onnx must be a file"):
        remembered_teacher_digest(settings, "teacher", str(tmp_path))
