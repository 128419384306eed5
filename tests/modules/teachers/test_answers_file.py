"""modules.teachers.answers_file: every format and column, from real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from scipy.special import softmax
from transforming import serialize

from modules.data.spec import OutputSpec
from modules.data.splits import example_id
from modules.errors import DataError
from modules.teachers.answer_store import AnswerStore
from modules.teachers.answers_file import read_answers
from modules.teachers.labels import Conversion, label_map

OUTPUT = OutputSpec(task="classification", size=4, classes=("a", "b", "c", "d"))
LOGITS = np.array([[1.0, 2, 3, 4], [0, -1, 5, 2], [2, 2, 1, 7]])
NAMES = ["first", "second", "third"]
IDS = [example_id(name.encode()) for name in NAMES]


def write(path: Path, columns: dict[str, Any]) -> str:
    if path.suffix == ".npz":
        np.savez(path, **{name: np.array(values) for name, values in columns.items()})
    elif path.suffix == ".parquet":
        pq.write_table(
            pa.table({name: list(map(_plain, of)) for name, of in columns.items()}), path
        )
    else:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for values in zip(*columns.values(), strict=True):
                pairs = zip(columns, map(_plain, values), strict=True)
                writer.write(serialize(dict(pairs)))
    return str(path)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def read(path: str, directory: Path, labels: Any = (), output: OutputSpec = OUTPUT) -> Any:
    directory.mkdir(exist_ok=True)
    store = AnswerStore(str(directory))
    column = read_answers(path, store, Conversion(output, label_map(labels, output), "logits"))
    return column, store.logits(IDS)


@pytest.mark.parametrize("suffix", ["npz", "parquet", "tfrecord"])
def test_logits_by_id_and_by_example_id(suffix: str, tmp_path: Path) -> None:
    for column, ids in (("id", NAMES), ("example_id", IDS)):
        path = write(tmp_path / f"{column}.{suffix}", {column: ids, "logits": LOGITS})
        found, logits = read(path, tmp_path / column)
        assert found == "logits"
        np.testing.assert_allclose(logits, LOGITS)


def test_probabilities_become_logits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"id": NAMES, "probabilities": softmax(LOGITS, 1)})
    found, logits = read(path, tmp_path / "store")
    assert found == "probabilities"
    np.testing.assert_allclose(softmax(logits, 1), softmax(LOGITS, 1), rtol=1e-5)


def test_values_of_a_regression(tmp_path: Path) -> None:
    price = OutputSpec(task="regression", size=1)
    path = write(tmp_path / "a.npz", {"id": NAMES, "values": np.array([1.5, 2, -3])})
    assert read(path, tmp_path / "store", output=price)[1].tolist() == [[1.5], [2], [-3]]


@pytest.mark.parametrize("column", ["probabilities", "logits"])
def test_the_largest_few_share_the_rest(column: str, tmp_path: Path) -> None:
    shares = softmax(LOGITS, 1)
    kept = np.argsort(-shares, 1)[:, :2]
    largest = np.take_along_axis(shares, kept, 1)
    given = largest if column == "probabilities" else np.log(largest)
    path = write(tmp_path / "a.parquet", {"id": NAMES, column: given, "classes": kept})
    _, logits = read(path, tmp_path / "store")
    found = softmax(logits, 1)
    np.testing.assert_allclose(np.take_along_axis(found, kept, 1), largest, rtol=1e-5)
    others = np.argsort(-shares, 1)[:, 2:]
    rest = (1 - largest.sum(1, keepdims=True)) / 2
    expected = np.repeat(rest, 2, 1)
    np.testing.assert_allclose(np.take_along_axis(found, others, 1), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("a.csv", {}, "must end with .parquet, .npz or .tfrecord"),
        ("a.npz", {"id": NAMES}, "must have one of the columns logits, probabilities, values"),
        ("a.npz", {"logits": LOGITS}, "must have one of the columns example_id, id"),
        ("a.npz", {"example_id": NAMES, "logits": LOGITS}, "must have 64 hexadecimal digits"),
        (
            "a.npz",
            {"id": NAMES, "logits": LOGITS[:, :3]},
            "answer 4 numbers to each example, got 3",
        ),
        ("a.npz", {"id": NAMES, "logits": LOGITS[:, :2], "classes": [[0, 9]] * 3}, "from 0 to 3"),
        ("a.npz", {"id": NAMES, "logits": LOGITS[:, :2], "classes": [[0, 1]] * 3}, "log-prob"),
        ("a.npz", {"id": NAMES, "logits": softmax(LOGITS, 1)}, "all of its answers are prob"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(
    name: str, columns: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if columns:
        write(path, columns)
    with pytest.raises(DataError, match=message):
        read(str(path), tmp_path / "store")
    with pytest.raises(DataError, match=r"cannot be read: .*missing\.npz"):
        read(str(tmp_path / "missing.npz"), tmp_path / "store")
