"""AnswerCollector and TeacherImporter: wiring, cache keys, and what is asked again."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.types import standard_artifacts
from transforming import serialize, transform

import components
from components import artifacts
from components.answer_collector import AnswerCollector, Executor
from components.brought_teachers import BroughtTeacher
from components.teacher_importer import TeacherImporter
from components.teachers import teacher_channels
from modules.data.spec import Dataset, OutputSpec
from modules.errors import DataError, ModelError
from modules.settings import DataSettings, NumericFeature, TeacherSettings
from modules.teachers.answer_store import AnswerStore

COUNT = 100
OUTPUT = OutputSpec(task="binary", size=2, classes=("no", "yes"))
SPLITS = {
    split: [index for index in range(COUNT) if index % 10 in digits]
    for split, digits in {"train": (0, 1, 2, 5, 6, 7), "eval": (3, 4), "unlabeled": (8, 9)}.items()
}
ORACLE = """
import pathlib

def answer(features):
    with open(pathlib.Path(__file__).with_name("asked.txt"), "a") as file:
        file.write("".join(f"{each}\\n" for each in features["name"]))
    assert "label" not in features
    return features["size"] / 100
"""


def identity(index: int) -> bytes:
    return f"{index:064x}".encode()


def make(kind: type, teacher: TeacherSettings, **replaced: Any) -> Any:
    inputs = {
        "transform_graph": types.Channel(type=standard_artifacts.TransformGraph),
        "transformed_examples": types.Channel(type=standard_artifacts.Examples),
    }
    if kind is AnswerCollector:
        inputs["examples"] = types.Channel(type=standard_artifacts.Examples)
    given = {"key": "teacher", "digest": "12", "code_digest": "ab", **replaced}
    return kind(**inputs, teacher=BroughtTeacher(teacher, **given))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw examples in three splits, and their transform graph."""
    root = tmp_path_factory.mktemp("data")
    rows = [
        {
            "size": float(index),
            "name": f"n{index}",
            "label": int(index >= COUNT // 2),
            "example_id": identity(index),
        }
        for index in range(COUNT)
    ]
    settings = DataSettings(source="csv", label="label", features={"size": NumericFeature()})
    made = transform(rows, settings, Dataset(output=OUTPUT), root)
    shutil.move(Path(made.pattern).parent, root / "transformed" / "Split-train")
    for split, indices in SPLITS.items():
        directory = root / "raw" / f"Split-{split}"
        directory.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(directory / "part.gz"), "GZIP") as writer:
            for index in indices:
                hidden = {"label"} if split == "unlabeled" else set()
                row = {name: value for name, value in rows[index].items() if name not in hidden}
                writer.write(serialize(row))
    return root


def run(data: Path, node: Path, execution: int, teacher: TeacherSettings) -> AnswerStore:
    """One execution of the node, as TFX lays its outputs out."""
    examples, graph = standard_artifacts.Examples(), standard_artifacts.TransformGraph()
    examples.uri, graph.uri = str(data / "raw"), str(data / "graph")
    examples.split_names = json.dumps(list(SPLITS))
    transformed = standard_artifacts.Examples()
    transformed.uri, transformed.split_names = str(data / "transformed"), json.dumps(["train"])
    made = artifacts.TeacherAnswers()
    made.uri = str(node / "answers" / str(execution))
    Path(made.uri).mkdir(parents=True)
    component = make(AnswerCollector, teacher, code_digest=str(execution))
    Executor().Do(
        {
            "examples": [examples],
            "transformed_examples": [transformed],
            "transform_graph": [graph],
        },
        {"answers": [made]},
        component.exec_properties,
    )
    return AnswerStore(made.uri)


def test_another_execution_asks_nothing_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after a change of our own code nor of how the answers are to be understood.

    Nor when the teacher was first refused, because its classes are the other way round.
    """
    (tmp_path / "the_oracle.py").write_text(ORACLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "the_oracle", raising=False)
    teacher = {"function": "the_oracle:answer", "returns": "probabilities"}
    first = run(data, tmp_path, 1, TeacherSettings(**teacher))
    ids = [identity(index) for index in range(1, COUNT)]
    odds = np.log(np.arange(1, COUNT) / np.arange(99, 100 - COUNT, -1))
    found = first.logits(ids)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], odds, rtol=1e-5)
    assert first.description()["returned"] == "probabilities"
    turned = {**teacher, "labels": ["yes", "no"], "batch_size": 7}
    weak = (
        r"^teacher is weak: accuracy 0\.0\d* on 100 training examples, where the most .* has 0\.5"
    )
    with pytest.raises(ModelError, match=weak + r".*; check teacher\.labels"):
        run(data, tmp_path, 2, TeacherSettings(**turned))
    second = run(data, tmp_path, 3, TeacherSettings(**turned, allow_weak=True))
    np.testing.assert_array_equal(second.logits(ids), found[:, ::-1])
    asked = (tmp_path / "asked.txt").read_text().split()
    assert sorted(asked) == sorted(f"n{index}" for index in range(COUNT))


def test_missing_answers_are_counted_by_split(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    ids = [identity(index) for index in range(3, COUNT - 2)]
    np.savez(path, example_id=np.array(ids), logits=np.zeros((len(ids), 2)))
    with pytest.raises(DataError, match=r"lacks 3 of train, 2 of unlabeled, such as 0{64}; add"):
        run(data, tmp_path, 1, TeacherSettings(answers=str(path)))


def test_components_have_their_channels_and_keys() -> None:
    function = TeacherSettings(function="a.b:c", retries=1, weight=3)
    collector = make(AnswerCollector, function)
    assert {name: channel.type for name, channel in collector.outputs.items()} == {
        "answers": artifacts.TeacherAnswers
    }
    # The weight is the Distiller's.
    assert json.loads(collector.exec_properties["teacher"]) == {"function": "a.b:c", "retries": 1}
    importer = make(TeacherImporter, TeacherSettings(keras_file="t.keras"))
    assert importer.outputs["model"].type is standard_artifacts.Model
    for kind, teacher in ((AnswerCollector, function), (TeacherImporter, function)):
        changed = make(kind, teacher, digest="13").exec_properties
        assert changed != make(kind, teacher).exec_properties


def test_models_and_answers_keep_their_order() -> None:
    model = types.Channel(type=standard_artifacts.Model)
    answers = types.Channel(type=artifacts.TeacherAnswers)
    assert teacher_channels([answers, model, answers]) == {
        "answers": answers,
        "teachers_2": model,
        "answers_3": answers,
    }
    assert components.TeacherAnswers is artifacts.TeacherAnswers
