"""Parquet and TFRecord files that are broken or odd; rows of BigQuery without BigQuery."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from beam_rows import rows_of

from modules.data.sources.parquet import ParquetFiles
from modules.data.values import content, features_of, parse, serialize
from modules.errors import DataError
from modules.settings import DataSettings


def test_broken_parquet_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no such thing")
    settings = DataSettings(source="parquet", path=str(tmp_path))
    message = rf"{tmp_path}/x\.parquet: must be a Parquet file \(.*\); fix or remove it"
    with pytest.raises(DataError, match=message):
        ParquetFiles.look(settings)
    (row,) = rows_of(settings)
    assert row.problem.startswith("must be a Parquet file")


def test_columns_that_examples_cannot_hold_are_problems(tmp_path):
    table = pd.DataFrame({"good": [1], "nested": [{"x": 1}]})
    table.to_parquet(tmp_path / "x.parquet")
    settings = DataSettings(source="parquet", path=str(tmp_path), label="good")
    assert ParquetFiles.look(settings) == ("good", "nested")
    with pytest.raises(DataError, match="there is no feature 'god'; did you mean 'good'"):
        ParquetFiles.look(settings.model_copy(update={"label": "god"}))
    (row,) = rows_of(settings)
    assert row.name == f"{tmp_path}/x.parquet, row 0"
    assert "the feature 'nested' must be a number, a text" in row.problem


def test_records_that_are_no_examples_are_problems(tmp_path):
    good = serialize({"x": (1,)})
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for record in (good, b"\xff\xff\xff", b""):
            writer.write(record)
    found = rows_of(DataSettings(source="tfrecord", path=str(tmp_path)))
    assert [row.problem for row in found] == [
        "",
        "a record of 3 bytes is no tf.train.Example",
        "a record of 0 bytes has no features",
    ]
    assert found[0].features == {"x": (1,)}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, [0]),
        (False, [0]),
        (0.0, [0.0]),
        ("", [b""]),
        (b"\xff", [b"\xff"]),
        (decimal.Decimal("1.5"), [1.5]),
        (datetime.date(2024, 5, 1), [b"2024-05-01"]),
        (np.float32(2), [2.0]),
        (np.array([1, 2]), [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([], []),
    ],
)
def test_values_of_tables(value, written):
    features = features_of({"x": value})
    assert features == {"x": tuple(written)}
    assert [type(each) for each in features["x"]] == [type(each) for each in written]
    assert parse(serialize(features)) == {name: items for name, items in features.items() if items}


def test_missing_values_have_no_feature():
    assert features_of({"x": None}) == {}


@pytest.mark.parametrize("value", [{"a": 1}, [1, "x"], [None], 2**63, object()])
def test_values_that_examples_cannot_hold(value):
    with pytest.raises(DataError, match="the feature 'x' must "):
        features_of({"x": value})


def test_the_content_of_equal_features_is_equal_whatever_their_order_and_identity():
    name = "".join(["x", "y"])
    first = {"xy": (1.5, 2.0), "a": (b"t",), "n": (3,)}
    second = {"n": (3,), "a": (bytes([116]),), name: (1.5, 2.0)}
    assert content(first) == content(second)
    assert content(first | {"w": (1,)}, {"w"}) == content(first)
    different = [{"x": (1,)}, {"x": (1.0,)}, {"x": (b"1",)}, {"x": (1, 1)}, {"x": ()}, {"y": (1,)}]
    assert len({content(each) for each in different}) == len(different)


def test_ids_are_the_same_with_every_version_of_python():
    """Else an upgrade would split the examples anew."""
    features = {"x": (1.5, float("inf")), "n": (3, -(2**40)), "t": ("é".encode(), b"")}
    assert content(features).hex() == (
        "5b03000000280200000075010000006e280200000069030000006cfdffffff0000000000042802000000"
        "75010000007428020000007302000000c3a973000000002802000000750100000078280200000067000000000000f83f67000000000000f07f"
    )


def test_parquet_columns_of_all_types_are_values_as_examples_hold_them(tmp_path):
    table = pd.DataFrame(
        {
            "double": [0.1, None],
            "short": pd.array([1, None], "Int8"),
            "long": pd.array([2**64 - 1, 2], "uint64"),
            "word": pd.Categorical(["é", "b"]),
        }
    )
    table.drop(columns="long").to_parquet(tmp_path / "x.parquet")
    settings = DataSettings(source="parquet", path=str(tmp_path))
    first, second = rows_of(settings)
    assert first.features == {
        "double": (float(np.float32(0.1)),),
        "short": (1,),
        "word": ("é".encode(),),
    }
    assert second.features == {"word": (b"b",)}
    table.to_parquet(tmp_path / "x.parquet")
    problem, second = rows_of(settings)
    assert problem.problem.startswith("the feature 'long' must fit into 64 bits")
    assert second.features == {"long": (2,), "word": (b"b",)}
