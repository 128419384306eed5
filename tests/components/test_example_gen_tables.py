"""ExampleGen on real CSV, Parquet and TFRecord files, and on another pipeline's artifact."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from generated import Generated, generate

from components.example_gen.executor import Executor
from modules.data.splits import in_eval_split
from modules.settings import DataSettings

RANDOM = np.random.default_rng(0)
ROWS = 60
TABLE = pd.DataFrame(
    {
        "number": RANDOM.normal(size=ROWS).round(3),
        "count": RANDOM.integers(0, 5, ROWS),
        "color": RANDOM.choice(["red", "green", ""], ROWS),
        "key": [f"k{index}" for index in range(ROWS)],
        "site": [f"s{index % 12}" for index in range(ROWS)],
        "day": pd.date_range("2024-01-01", periods=ROWS).astype(str),
        "weight": RANDOM.uniform(0.5, 2, ROWS).round(2),
        "species": RANDOM.choice(["ant", "bee", "cat"], ROWS),
    }
)


@pytest.fixture(scope="module")
def gen(
    beam_executor: Callable[[type], Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Generated]:
    executor = beam_executor(Executor)

    def run(directory: Path, task: Any = None, **settings: Any) -> Generated:
        given = {"path": str(directory), "source": "csv", "label": "species"} | settings
        properties = given.pop("properties", {})
        found = DataSettings(**given)
        artifact = tmp_path_factory.mktemp("artifact")
        return generate(found, artifact, executor, task, **properties)

    return run


def write_csv(directory: Path, table: pd.DataFrame = TABLE, name: str = "data.csv") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    table.to_csv(directory / name, index=False)
    return directory


def write_tfrecord(file: Path, rows: list[dict[str, tf.train.Feature]]) -> None:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for row in rows:
            example = tf.train.Example(features=tf.train.Features(feature=row))
            writer.write(example.SerializeToString())


def feature(*values: Any) -> tf.train.Feature:
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def by_key(generated: Generated) -> dict[str, dict[str, Any]]:
    return {example["key"][0]: example for split in generated.splits.values() for example in split}


@pytest.fixture(scope="module")
def from_csv(tmp_path_factory: pytest.TempPathFactory, gen: Any) -> Generated:
    directory = tmp_path_factory.mktemp("csv")
    write_csv(directory, TABLE[:20], "a.csv")
    write_csv(directory, TABLE[20:], "b.csv")
    return gen(directory, weight="weight")


def test_every_row_is_an_example(from_csv: Generated) -> None:
    found = by_key(from_csv)
    assert len(found) == ROWS
    for row in TABLE.to_dict("records"):
        example = found[row["key"]]
        assert example["number"] == pytest.approx([row["number"]])
        assert example["count"] == [row["count"]]
        # An empty cell is a missing value.
        assert example.get("color", [""]) == [row["color"]]
        assert example["class_name"] == [row["species"]]
        assert example["label"] == [["ant", "bee", "cat"].index(row["species"])]
        assert example["example_weight"] == example["weight"] == pytest.approx([row["weight"]])
        assert "species" not in example


def test_the_artifact_describes_itself(from_csv: Generated) -> None:
    dataset = from_csv.dataset
    assert (dataset.output.task, dataset.output.size) == ("classification", 3)
    assert dataset.output.classes == ("ant", "bee", "cat")
    assert dataset.weighted
    assert dataset.kinds == {}
    assert json.loads(from_csv.artifact.split_names) == ["train", "eval"]
    for split in ("train", "eval"):
        assert dataset.examples[split] == len(from_csv.splits[split])
        counts = Counter(from_csv.values(split, "class_name"))
        assert dataset.class_counts[split] == counts
    assert sorted(path.name for path in Path(from_csv.artifact.uri).iterdir()) == [
        "Split-eval",
        "Split-train",
        "dataset.json",
    ]


def test_the_split_is_a_hash_of_the_content(from_csv: Generated) -> None:
    for split, examples in from_csv.splits.items():
        for example in examples:
            (identity,) = example["example_id"]
            assert in_eval_split(identity.encode(), DataSettings()) == (split == "eval")
    assert len(set(from_csv.all("example_id"))) == ROWS


def test_parquet_keeps_zeros_and_types(tmp_path: Path, gen: Any) -> None:
    table = pd.DataFrame(
        {
            "key": [f"k{index}" for index in range(10)],
            "zero": 0,
            "real": [0.0, None] * 5,
            "yes": [True, False] * 5,
            "text": ["", "é"] * 5,
            "raw": [b"\xff\x00"] * 10,
            "many": [[1, 2], []] * 5,
            "day": pd.Timestamp("2024-05-01 12:00"),
            "y": [0, 1] * 5,
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    found = by_key(gen(tmp_path / "t.parquet", source="parquet", label="y"))
    example = found["k0"]
    assert {name: example[name] for name in ("zero", "real", "yes", "text", "many", "label")} == {
        "zero": [0],
        "real": [0.0],
        "yes": [1],
        "text": [""],
        "many": [1, 2],
        "label": [0],
    }
    assert example["day"] == ["2024-05-01T12:00:00"]
    assert found["k1"]["many"] == [] and "real" not in found["k1"]
    assert found["k1"]["text"] == ["é"] and found["k1"]["raw"] == [b"\xff\x00"]
