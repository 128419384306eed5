"""What the cache learns about code: the project's own, and a user's builder."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components
import modules
from modules.code_digest import builder_digest, code_digest


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


def write_all(directory: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("first_layers.py", True),
        ("first_pack/deep.py", True),
        ("first_pack/__init__.py", True),
        ("first_later.py", True),
        ("first_unused.py", False),
    ],
)
def test_what_a_builder_imports_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, counts: bool
) -> None:
    """The helpers beside a builder's one file, whoever imports them, but nothing else there."""
    write_all(
        tmp_path,
        {
            "first_models.py": "import numpy as np, json\nfrom first_layers import block\n",
            "first_layers.py": "def block():\n    import first_pack.deep\n",
            "first_pack/deep.py": "from . import wide\n",
            "first_pack/__init__.py": "import first_later, first_models\n",
            "first_pack/wide.py": "",
            "first_later.py": "this is no Python\n",
            "first_unused.py": "",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = builder_digest("first_models:build")
    assert builder_digest("first_models:build") == before
    file = tmp_path / changed
    file.write_text(file.read_text() + "\n# changed\n")
    assert (builder_digest("first_models:build") != before) == counts


def test_the_rest_of_a_builder_s_package_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(
        tmp_path,
        dict.fromkeys(("whole/__init__.py", "whole/models.py", "whole/inner/parts.py"), ""),
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = builder_digest("whole.models:build")
    (tmp_path / "whole/inner/parts.py").write_text("WIDTH = 8\n")
    assert builder_digest("whole.models:build") != before


def test_what_is_installed_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "import keras, os, tensorflow\nfrom modules import models\n"
    write_all(tmp_path, {"user_models.py": text})
    monkeypatch.syspath_prepend(tmp_path)
    added: list[str] = []
    monkeypatch.setattr("modules.code_digest._add", lambda digest, name, path: added.append(name))
    builder_digest("user_models:build")
    assert set(added) == {"user_models"}


@pytest.mark.parametrize(
    "package",
    ["keras", "tensorflow", "tfx", "ai-edge-litert", "tensorflow-transform", "scikit-learn"],
)
def test_another_release_has_another_digest(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    before, version = code_digest(), importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: "0" if name == package else version(name)
    )
    assert code_digest() != before
