"""modules.teachers.asking, raw_features, function: what is asked, how often, and after a kill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from checkout import ROOT
from tensorflow_metadata.proto.v0 import schema_pb2
from transforming import serialize

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.errors import ConfigError, DataError, ModelError
from modules.settings import CategoryFeature, NumericFeature, TeacherSettings, TextFeature
from modules.teachers.answer_store import AnswerStore
from modules.teachers.asking import Collection, Journal
from modules.teachers.function import FunctionTeacher
from modules.teachers.labels import Conversion, label_map
from modules.teachers.raw_features import RawReader

COUNT = 23
OUTPUT = OutputSpec(task="classification", size=3, classes=("a", "b", "c"))
SPEC = DataSpec(
    inputs=(
        InputSpec(name="photo", kind="image", feature="photo", shape=(2, 2, 1), dtype="uint8"),
    ),
    output=OUTPUT,
    features={
        "size": NumericFeature(),
        "note": TextFeature(),
        "tags": CategoryFeature(max_values=3),
    },
)
PARSING: dict[str, Any] = {
    "size": tf.io.VarLenFeature(tf.float32),
    "count": tf.io.FixedLenFeature([1], tf.int64),
    "pair": tf.io.FixedLenFeature([2], tf.float32),
    "note": tf.io.VarLenFeature(tf.string),
    "tags": tf.io.VarLenFeature(tf.string),
    "photo": tf.io.FixedLenFeature([1], tf.string),
    "label": tf.io.VarLenFeature(tf.int64),
    "example_id": tf.io.FixedLenFeature([1], tf.string),
}
# Asked in a process of its own, which the third call kills.
KILLED = """
import sys
sys.path[:0] = [{helpers!r}, {here!r}, {root!r}]
import test_asking
test_asking.ask(*map(test_asking.Path, {paths!r}))
"""
ORACLE = """
import os, pathlib
import numpy as np

HERE = pathlib.Path(__file__).parent

def answer(features):
    with open(HERE / "asked.txt", "a") as file:
        file.write("".join(f"{each}\\n" for each in features["count"]))
    if (HERE / "deadly").exists() and len((HERE / "asked.txt").read_text().split()) > 10:
        os._exit(9)
    return np.stack([features["count"], -features["count"], features["count"] * 0.5], axis=1)
"""


def row(index: int) -> dict[str, Any]:
    found = {
        "example_id": f"{index:064x}".encode(),
        "count": index,
        "pair": [1.0 * index, 2.0],
        "note": f"no {index} Größe",
        "photo": b"\x89PNG",
        "tags": ["red", "green"][: index % 3],
        "label": index % 3,
    }
    return found if index % 2 else {**found, "size": 0.5}


def write(path: Path, indices: range | list[int]) -> str:
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for index in indices:
            given = {name: value for name, value in row(index).items() if value != []}
            writer.write(serialize(given))
    return str(path)


def reader() -> RawReader:
    return RawReader(PARSING, schema_pb2.Schema(), SPEC)


def conversion() -> Conversion:
    return Conversion(OUTPUT, label_map((), OUTPUT), "logits")


def ask(directory: Path, data: Path, **settings: Any) -> tuple[AnswerStore, Collection]:
    """Asks the oracle that lies in `directory`, as the component does."""
    store_dir = directory / f"store{time.monotonic_ns()}"
    store_dir.mkdir()
    sys.path.insert(0, str(directory))
    sys.modules.pop("oracle", None)
    try:
        teacher = FunctionTeacher(
            TeacherSettings(function="oracle:answer", **{"retries": 0, **settings}), "teacher"
        )
    finally:
        sys.path.remove(str(directory))
    store = AnswerStore(str(store_dir))
    collection = Collection(store, reader(), conversion())
    splits = {each.name: [str(each)] for each in sorted(data.iterdir())}
    collection.ask(teacher, splits, Journal(str(directory / "journal")), 4)
    collection.require(splits, "teacher.function")
    return store, collection


@pytest.fixture
def oracle(tmp_path: Path) -> Path:
    directory = tmp_path / "own"
    directory.mkdir()
    (directory / "oracle.py").write_text(ORACLE)
    data = tmp_path / "data"
    data.mkdir()
    write(data / "train", range(15))
    # Two examples have the ids of others.
    write(data / "eval", [*range(15, COUNT), 3, 16])
    return directory


def asked(oracle: Path) -> list[int]:
    return [int(line) for line in (oracle / "asked.txt").read_text().split()]


def test_every_example_is_asked_once(oracle: Path) -> None:
    store, collection = ask(oracle, oracle.parent / "data")
    assert sorted(asked(oracle)) == list(range(COUNT)) and collection.asked == COUNT
    ids = [row(index)["example_id"] for index in (7, 3, 7, 20)]
    assert store.logits(ids).tolist() == [[at, -at, at / 2] for at in (7, 3, 7, 20)]
    with pytest.raises(DataError, match="lack example 0000"):
        store.logits([row(99)["example_id"]])


def test_a_kill_loses_no_answer_but_those_in_flight(oracle: Path) -> None:
    data = oracle.parent / "data"
    (oracle / "deadly").touch()
    code = KILLED.format(
        helpers=str(ROOT / "tests" / "helpers"),
        here=str(Path(__file__).parent),
        root=str(ROOT),
        paths=[str(oracle), str(data)],
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 9, ended.stderr
    *first, lost = np.array(asked(oracle)).reshape(3, 4).tolist()
    assert len(np.unique([*first, lost])) == 12
    (oracle / "deadly").unlink()
    store, collection = ask(oracle, data)
    assert collection.known == 8 and collection.asked == COUNT - 8
    # Only the batch in flight, to which nobody had an answer yet.
    times = {index: asked(oracle).count(index) for index in range(COUNT)}
    assert times == {index: 2 if index in lost else 1 for index in range(COUNT)}
    assert store.logits([row(5)["example_id"]]).tolist() == [[5, -5, 2.5]]
    # Nor are more data a reason to ask again.
    write(data / "unlabeled", [3, COUNT, 20])
    ask(oracle, data)
    assert asked(oracle)[-1] == COUNT and len(asked(oracle)) == COUNT + 5


def test_half_a_journal_file_is_no_answer(oracle: Path) -> None:
    data = oracle.parent / "data"
    ask(oracle, data)
    journal = oracle / "journal"
    kept = sorted(journal.iterdir())
    assert len(kept) == 6
    (journal / "00000006.npz.part").write_bytes(kept[0].read_bytes()[:100])
    ask(oracle, data)
    assert len(asked(oracle)) == COUNT


def test_raw_features_are_arrays_without_the_label(tmp_path: Path) -> None:
    path = write(tmp_path / "train", range(3))
    found = reader()
    ids, examples = zip(*found.examples([path]), strict=True)
    assert list(ids) == [row(index)["example_id"] for index in range(3)]
    arrays = found.arrays(examples)
    assert found.names == sorted(arrays) == ["count", "note", "pair", "photo", "size", "tags"]
    assert arrays["count"].dtype == np.int64 and arrays["count"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(arrays["size"], [0.5, np.nan, 0.5])
    assert arrays["pair"].tolist() == [[0, 2], [1, 2], [2, 2]]
    assert arrays["note"].tolist() == ["no 0 Größe", "no 1 Größe", "no 2 Größe"]
    assert arrays["photo"].tolist() == [b"\x89PNG"] * 3
    assert arrays["tags"].tolist() == [[], ["red"], ["red", "green"]]


def test_a_call_that_fails_is_tried_again(oracle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    (oracle / "oracle.py").write_text(
        "calls = []\n\ndef answer(features):\n    calls.append(1)\n"
        "    if len(calls) % 3:\n        raise TimeoutError('busy')\n"
        "    return [[1, 2, 3]] * len(features['count'])\n"
    )
    ask(oracle, oracle.parent / "data", retries=2)
    assert len(slept) == 12 and slept[:2] == [0.5, 1.0]  # six batches
    (oracle / "journal" / "00000000.npz").unlink()
    with pytest.raises(ModelError, match=r"failed on a batch of 4 examples: TimeoutError: busy \("):
        ask(oracle, oracle.parent / "data", retries=1)


def test_calls_keep_their_distance(oracle: Path) -> None:
    begun = time.monotonic()
    ask(oracle, oracle.parent / "data", calls_per_minute=600)
    assert time.monotonic() - begun >= 0.5  # six calls, five intervals of 0.1 s


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def answer(features):\n    return [1, 2]\n", "one row for each of 4 examples, got"),
        ("def answer(features):\n    return ['a'] * 4\n", "must answer an array of numbers"),
    ],
)
def test_wrong_answers_are_one_line(oracle: Path, code: str, message: str) -> None:
    (oracle / "oracle.py").write_text(code)
    with pytest.raises(DataError, match=message):
        ask(oracle, oracle.parent / "data")


@pytest.mark.parametrize("name", ["nowhere:answer", "oracle:answr"])
def test_a_function_that_is_not_there_is_one_line(oracle: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"teacher\.function must be package\.module:function"):
        FunctionTeacher(TeacherSettings(function=name), "teacher")
