"""What the cache learns of the user's files: a teacher's, the data's, those in parameters."""

import os
from pathlib import Path

import pytest

from modules.errors import ConfigError
from modules.input_digest import Memory, data_digest, model_digest, teacher_digest
from modules.settings import DataSettings, ModelSettings, TeacherSettings


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


def test_answers_from_a_file_count(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("id,logit_a\n1,0.5\n")
    settings = TeacherSettings(answers=str(file))
    before = teacher_digest(settings)
    file.write_text("id,logit_a\n1,0.6\n")
    assert teacher_digest(settings) != before


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
    Memory(root).teacher_digest(settings, "teacher")
    file.write_bytes(b"two")
    digest = Memory(root).teacher_digest(settings, "teacher")
    file.unlink()
    assert Memory(root).teacher_digest(settings, "teacher") == digest
    with pytest.raises(ConfigError, match=r"teacher\.onnx must be a file"):
        Memory(str(tmp_path)).teacher_digest(settings, "teacher")


def test_files_in_parameters_count(tmp_path: Path) -> None:
    """Whatever the parameter is called, and however deep it is."""
    weights, preset = tmp_path / "backbone.weights.h5", tmp_path / "preset"
    preset.mkdir()
    (preset / "config.json").write_text("{}")
    weights.write_bytes(b"one")
    parameters = {"weights": str(weights), "parts": [{"preset": str(preset)}], "kind": "small"}
    settings = ModelSettings(model="resnet50", parameters=parameters)
    seen = {model_digest(settings), model_digest(ModelSettings(model="resnet50"))}
    weights.write_bytes(b"two")
    seen.add(model_digest(settings))
    (preset / "config.json").write_text("{ }")
    seen.add(model_digest(settings))
    assert len(seen) == 4


def test_a_run_goes_on_without_the_file_that_it_has_read(tmp_path: Path) -> None:
    weights, root = tmp_path / "w.weights.h5", tmp_path / "root"
    root.mkdir()
    weights.write_bytes(b"one")
    settings = ModelSettings(model="resnet50", parameters={"weights": str(weights), "a": "small"})
    before = model_digest(settings, Memory(str(root)))
    assert Memory(str(root)).without_lost(settings) == settings
    weights.unlink()
    memory = Memory(str(root))
    assert model_digest(settings, memory) == before
    assert memory.without_lost(settings).parameters == {"a": "small"}
    # One that was never there is missed at once.
    assert Memory(str(tmp_path)).without_lost(settings) == settings
    assert model_digest(settings, Memory(str(tmp_path))) != before
