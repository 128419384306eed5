"""ExampleGen on real CSV, Parquet and TFRecord files, and on another pipeline's artifact."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from generated import Generated, generate
from tfx.components.example_gen import driver
from tfx.orchestration import data_types

from components.example_gen.component import example_gen
from components.example_gen.executor import Executor
from modules.data.splits import example_id, in_eval_split
from modules.errors import DataError
from modules.settings import CategoryFeature, DataSettings

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


def test_names_of_tfds_are_mapped(tmp_path: Path, gen: Any) -> None:
    pixels = np.arange(12 * 30, dtype=np.uint8).reshape(30, 2, 2, 3)
    pngs = [tf.io.encode_png(image).numpy() for image in pixels]
    rows = [
        {"image/encoded": feature(png), "image/class/label": feature(index % 3)}
        for index, png in enumerate(pngs)
    ]
    write_tfrecord(tmp_path / "x-train.tfrecord-00000-of-00001", rows)
    generated = gen(
        tmp_path,
        source="tfrecord",
        label="label",
        rename={"image": "image/encoded", "label": "image/class/label"},
        classes=("a", "b", "c"),
    )
    images = dict(zip(generated.all("image"), generated.all("class_name"), strict=True))
    assert images == {png: "abc"[index % 3] for index, png in enumerate(pngs)}
    assert generated.dataset.kinds == {"image": "image"}
    assert set(generated.splits["train"][0]) == {"image", "label", "class_name", "example_id"}


def test_images_in_tables_are_read_as_a_viewer_shows_them(tmp_path: Path, gen: Any) -> None:
    clear = tf.io.encode_png(np.zeros((2, 2, 4), np.uint8)).numpy()
    rows = [
        {"image": feature(clear), "name": feature(b"%d" % i), "label": feature(i % 2)}
        for i in range(20)
    ]
    write_tfrecord(tmp_path / "x.tfrecord", rows)
    generated = gen(tmp_path, source="tfrecord", label="label")
    pixels = tf.io.decode_image(generated.splits["train"][0]["image"][0]).numpy()
    assert pixels.shape == (2, 2, 3) and pixels.min() == 255


def test_the_artifact_of_another_pipeline_keeps_its_splits(from_csv: Generated, gen: Any) -> None:
    again = gen(Path(from_csv.artifact.uri), source="examples", label=None)
    for split in ("train", "eval"):
        first, second = (
            by_key(Generated(None, {split: each.splits[split]})) for each in (from_csv, again)
        )
        assert first.keys() == second.keys()
        for key in first:
            names = {"example_id", "example_weight"}
            assert {n: v for n, v in first[key].items() if n not in names} == {
                n: v for n, v in second[key].items() if n not in names
            }
    assert again.dataset.output == from_csv.dataset.output


def test_other_splits_are_split_anew(tmp_path: Path, from_csv: Generated, gen: Any) -> None:
    for split, name in (("train", "part1"), ("eval", "part2")):
        Path(from_csv.artifact.uri, f"Split-{split}").rename(tmp_path / f"Split-{name}")
    try:
        again = gen(tmp_path, source="examples", label=None, split_seed=1)
    finally:
        for split, name in (("train", "part1"), ("eval", "part2")):
            (tmp_path / f"Split-{name}").rename(Path(from_csv.artifact.uri, f"Split-{split}"))
    assert list(again.splits) == ["train", "eval"]
    assert by_key(again).keys() == by_key(from_csv).keys()
    assert set(again.values("eval", "key")) != set(from_csv.values("eval", "key"))


def test_groups_stay_together(tmp_path: Path, gen: Any) -> None:
    generated = gen(write_csv(tmp_path), group="site", eval_fraction=0.4)
    train, test = (set(generated.values(split, "site")) for split in ("train", "eval"))
    assert train and test and not train & test
    settings = DataSettings(eval_fraction=0.4)
    assert test == {
        f"s{index}" for index in range(12) if in_eval_split(example_id(b"s%d" % index), settings)
    }


def test_the_last_days_are_judged_on(tmp_path: Path, gen: Any) -> None:
    generated = gen(write_csv(tmp_path), time="day", eval_from="2024-02-01")
    assert max(generated.values("train", "day")) == "2024-01-31"
    assert min(generated.values("eval", "day")) == "2024-02-01"
    assert len(generated.all("day")) == ROWS


def test_own_splits_and_an_id(tmp_path: Path, gen: Any) -> None:
    write_csv(tmp_path, TABLE[:40], "train-1.csv")
    write_csv(tmp_path, TABLE[40:], "test.csv")
    write_csv(tmp_path, TABLE[:5].drop(columns="species").assign(number=7.5), "pool.csv")
    splits = {"train": "train-*.csv", "eval": "test.csv", "unlabeled": "pool.csv"}
    generated = gen(tmp_path, splits=splits, id="key")
    assert sorted(generated.values("train", "key")) == sorted(TABLE["key"][:40])
    assert sorted(generated.values("eval", "key")) == sorted(TABLE["key"][40:])
    assert sorted(generated.values("unlabeled", "key")) == sorted(TABLE["key"][:5])
    (unlabeled, *_) = generated.splits["unlabeled"]
    assert not {"label", "class_name", "species"} & set(unlabeled)
    identity = unlabeled["example_id"][0].encode()
    assert identity == example_id(unlabeled["key"][0].encode())
    assert json.loads(generated.artifact.split_names) == ["train", "eval", "unlabeled"]


def test_rows_without_label_and_more_files_are_unlabeled(tmp_path: Path, gen: Any) -> None:
    table = TABLE.assign(species=TABLE["species"].where(TABLE.index >= 6, None))
    write_csv(tmp_path / "data", table)
    # A label that is there is not looked at.
    write_csv(tmp_path / "pool", TABLE.assign(key="p" + TABLE["key"]))
    generated = gen(tmp_path / "data", unlabeled=str(tmp_path / "pool"))
    expected = {f"k{index}" for index in range(6)} | {f"pk{index}" for index in range(ROWS)}
    assert set(generated.values("unlabeled", "key")) == expected
    assert set(generated.values("unlabeled", "label")) == {None}
    assert generated.dataset.examples["unlabeled"] == ROWS + 6


def test_unlabeled_copies_of_what_is_judged_on_are_left_out(tmp_path: Path, gen: Any) -> None:
    write_csv(tmp_path / "data")
    write_csv(tmp_path / "pool", TABLE.drop(columns="species"))
    generated = gen(tmp_path / "data", unlabeled=str(tmp_path / "pool"))
    assert set(generated.values("unlabeled", "key")) == set(generated.values("train", "key"))


@pytest.mark.parametrize(
    ("task", "label", "outcome"),
    [
        (None, "number", "regression"),
        ("regression", "count", "regression"),
        (None, "count", "classification"),
    ],
)
def test_numbers_to_predict(tmp_path: Path, gen: Any, task: Any, label: str, outcome: str) -> None:
    generated = gen(write_csv(tmp_path), task, label=label)
    output = generated.dataset.output
    assert output.task == outcome
    if outcome == "regression":
        found = generated.values("train", "label")
        assert all(isinstance(value, float) for value in found)
        assert output.mean == pytest.approx(np.mean(found), rel=1e-5)
        assert output.deviation == pytest.approx(np.std(found), rel=1e-5)
        assert (
            generated.dataset.class_counts == {} and "class_name" not in generated.splits["eval"][0]
        )


def test_several_labels(tmp_path: Path, gen: Any) -> None:
    labels = ["a|b", "b", "c|a", "c"] * 15
    generated = gen(write_csv(tmp_path, TABLE.assign(species=labels)), "multilabel")
    assert generated.dataset.output.classes == ("a", "b", "c")
    for example in by_key(generated).values():
        names = labels[int(example["key"][0][1:])].split("|")
        assert example["class_name"] == sorted(names)
        assert example["label"] == [int(name in names) for name in "abc"]


def test_rare_classes_are_on_both_sides(tmp_path: Path, gen: Any) -> None:
    rare = TABLE.assign(species=["owl"] * 2 + ["elk"] * 3 + ["ant", "bee"] * 27 + ["ant"])
    counts = gen(write_csv(tmp_path, rare), eval_fraction=0.1).dataset.class_counts
    assert all(counts[split][name] for split in counts for name in ("ant", "bee", "elk", "owl"))


def test_the_newest_span_is_read(tmp_path: Path, gen: Any) -> None:
    for span, rows in ((1, TABLE[:30]), (2, TABLE[30:])):
        write_csv(tmp_path / f"day-{span}", rows)
    settings = DataSettings(source="csv", path=f"{tmp_path}/day-{{SPAN}}/*.csv", label="species")
    component = example_gen(settings, "digest")
    pipeline = data_types.PipelineInfo("", "")
    resolved = driver.FileBasedDriver(None).resolve_exec_properties(
        dict(component.exec_properties), pipeline, data_types.ComponentInfo("", "", pipeline)
    )
    generated = gen(tmp_path, path=settings.path, properties=resolved)
    assert set(by_key(generated)) == set(TABLE["key"][30:])
    assert resolved["span"] == 2


# What the first reading finds in single rows is in tests/modules/data/test_scan.py.
BAD = {
    "wrong label": (
        {"label": "specis"},
        TABLE,
        "data.label: there is no feature 'specis'; did you mean 'species'?",
    ),
    "NaN label": (
        {"label": "number"},
        TABLE.assign(number=["nan", *TABLE["number"][1:]]),
        "1 example(s) cannot be used; fix or remove them: {path}/data.csv:2: the label 'number' "
        "must be a number, got nan",
    ),
    "mixed types": (
        {},
        TABLE.assign(number=["?", *TABLE["number"][1:]]),
        "'number' has 59 numbers and 1 texts such as '?'; fix these cells or empty them",
    ),
    "two labels": (
        {},
        pd.concat([TABLE, TABLE[:1].assign(species="zebra"), TABLE[1:2]]),
        "1 example(s) have equal content but different labels: {path}/data.csv:2 is",
    ),
    "on both sides": (
        {"splits": {"train": "data.csv", "eval": "data.csv"}},
        TABLE,
        "60 example(s) have equal content but are in train and in eval: {path}/data.csv:",
    ),
    "one of a class": (
        {},
        TABLE.assign(species=["owl", "elk", *TABLE["species"][2:]]),
        "but these have too few: 'elk' (1 example(s)), 'owl' (1 example(s))",
    ),
    "only in eval": (
        {"time": "day", "eval_from": "2024-02-01"},
        TABLE.assign(species=["ant", "bee"] * 29 + ["owl", "elk"]),
        "the following classes have no example in the train split: 'elk' (1 in eval), "
        "'owl' (1 in eval)",
    ),
}


@pytest.mark.parametrize(("settings", "table", "message"), BAD.values(), ids=list(BAD))
def test_bad_input_is_named_in_one_line(
    tmp_path: Path, gen: Any, settings: dict[str, Any], table: pd.DataFrame, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        gen(write_csv(tmp_path, table), **settings)
    assert message.format(path=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_says_that_equal_rows_are_different(tmp_path: Path, gen: Any) -> None:
    table = pd.concat([TABLE.assign(key="same"), TABLE[:1].assign(key="same", species="bee")])
    table["row"] = range(ROWS + 1)
    generated = gen(write_csv(tmp_path, table), id="row")
    assert len(generated.all("key")) == ROWS + 1
    same = [
        split
        for split in generated.splits
        for value in generated.values(split, "number")
        if math.isclose(value, TABLE["number"][0], rel_tol=1e-5)
    ]
    assert len(same) == 2 and len(set(same)) == 1


def test_a_category_may_look_like_numbers(tmp_path: Path, gen: Any) -> None:
    table = TABLE.assign(number=["?", *map(str, range(1, ROWS))])
    generated = gen(write_csv(tmp_path, table), features={"number": CategoryFeature()})
    assert {"?", "1"} < set(generated.all("number"))
