"""The first reading: rows that cannot be used, and names that are not in the data."""

import numpy as np
import pytest
import tensorflow as tf

from modules.data.raw_examples import Reader
from modules.data.scan import Scan, check_scan, image_features, image_sizes, scan_row
from modules.data.sources.protocol import Row
from modules.data.splits import Splitter
from modules.data.values import features_of
from modules.errors import DataError
from modules.settings import DataSettings

PNG = tf.io.encode_png(np.zeros((2, 2, 1), np.uint8)).numpy()


def scan(rows, label="y", task=None, parts=("all",), **settings):
    """Scan rows, each by itself, as Beam might, and check them."""
    given = DataSettings(**({"source": "csv", "path": "x.csv"} | settings))
    reader = Reader(given, None, label, given.source == "examples", task, Splitter(given))
    found = Scan()
    for index, row in enumerate(rows):
        one = Scan()
        row = Row(f"x.csv:{index}", features_of(row)) if isinstance(row, dict) else row
        scan_row(one, reader, row, parts[index % len(parts)])
        found += one
    check_scan(found, given, label)
    return found


GOOD = [{"x": index, "y": "ab"[index % 2], "when": f"2024-01-0{index + 1}"} for index in range(8)]


def test_good_rows_are_counted():
    found = scan([*GOOD, {"x": 9}])
    assert found.examples.total() == 9
    assert found.examples["unlabeled"] == 1
    assert found.features == {("x", "int64"): 9, ("y", "bytes"): 8, ("when", "bytes"): 8}
    assert found.labels.names == {"a", "b"}
    assert {name: end.train + end.eval for name, end in found.ends.items()} == {"a": 4, "b": 4}
    assert not found.own_splits


def test_images_are_known_by_their_bytes():
    found = scan([row | {"picture": PNG} for row in GOOD])
    assert image_features(found) == ["picture"]
    assert image_sizes(found) == {"picture": (2, 1)}


@pytest.mark.parametrize(
    ("sides", "side"),
    [
        ([(28, 28)] * 5, 28),
        ([(50, 70), (60, 55), (64, 64)], 55),
        ([(300, 200)] * 3, 192),
        ([(3000, 2000)] * 2, 224),
    ],
)
def test_images_get_a_size_that_is_usual_for_them(sides, side):
    images = [np.zeros((*each, 3), np.uint8) for each in sides]
    images[-1][0, 0, 0] = 1  # A single red pixel.
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    found = scan([{"y": "ab"[at % 2], "photo": image} for at, image in enumerate(encoded)])
    assert image_sizes(found) == {"photo": (side, 3)}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"y": float("nan")}, {}, "x.csv:0: the label 'y' must be a number, got nan"),
        ({"w": 0.0}, {"weight": "w"}, "data.weight: 'w' must be a number above 0, got 0"),
        ({"w": -1.0}, {"weight": "w"}, "data.weight: 'w' must be a number above 0, got -1"),
        ({"w": None}, {"weight": "w"}, "data.weight: 'w' must be a number above 0, got nothing"),
        ({"key": None}, {"id": "key"}, "data.id: 'key' must have a value in every example"),
        ({"key": None}, {"group": "key"}, "data.group: 'key' must have a value in every"),
        (
            {"when": "soon"},
            {"time": "when", "eval_from": "2024-01-05"},
            "data.time: 'when' must be a date such as 2024-03-31, a time or a number, got 'soon'",
        ),
        ({"picture": PNG[:-9]}, {}, "x.csv:0: the image cannot be decoded (Invalid PNG"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(change, settings, message):
    rows = [row | {"w": 1.0, "key": "k"} for row in GOOD]
    if "y" in change:
        rows = [row | {"y": 0.5} for row in rows]
    rows[0] = rows[0] | change
    with pytest.raises(DataError) as caught:
        scan(rows, **settings)
    assert str(caught.value).startswith("1 example(s) cannot be used; fix or remove them: x.csv:0")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_all_problems_are_counted_and_five_are_named():
    bad = [Row(f"x.csv:{index}", problem="broken") for index in range(7)]
    with pytest.raises(DataError) as caught:
        scan([*GOOD, *bad])
    assert str(caught.value) == (
        "7 example(s) cannot be used; fix or remove them: x.csv:0: broken; x.csv:1: broken; "
        "x.csv:2: broken; x.csv:3: broken; x.csv:4: broken; and 2 more"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "z"}, "data.label: there is no feature 'z'; there are when, x, y"),
        (
            {"id": "xx"},
            "data.id: there is no feature 'xx'; did you mean 'x'?; there are when, x, y",
        ),
        ({"group": "camera"}, "data.group: there is no feature 'camera'"),
        ({"weight": "w"}, "data.weight: there is no feature 'w'"),
        ({"time": "hour", "eval_from": "2"}, "data.time: there is no feature 'hour'"),
        (
            {"rename": {"a": "wen"}},
            "data.rename.a: there is no feature 'wen'; did you mean 'when'?",
        ),
        ({"rename": {"x": "when"}}, "data.rename.x: there is a feature of this name already"),
    ],
)
def test_names_that_are_not_in_the_data(settings, message):
    with pytest.raises(DataError) as caught:
        scan(
            GOOD, settings.get("label", "y"), **{k: v for k, v in settings.items() if k != "label"}
        )
    assert str(caught.value).startswith(message)


def test_all_wrong_names_are_named_at_once():
    with pytest.raises(DataError, match=r"^data\.id: .*; data\.weight: "):
        scan(GOOD, id="a", weight="b")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "data.path: 'x.csv' has no examples; add some or fix it"),
        ([{"x": 1, "y": 1}, {"x": "1", "y": 2}], "the feature 'x' must be of one type, but has 1"),
        ([{"x": 1, "y": 1}, {"x": 1.5, "y": 2}], "of float, 1 of int64; fix the files"),
        ([{"x": 1, "y": []}], "data.label: no example has a value of 'y'; name another feature"),
        (
            [row | {"example_id": "1"} for row in GOOD],
            "the feature 'example_id' has a name that the pipeline needs; choose another with",
        ),
        (
            [row | {"picture": PNG} for row in GOOD * 2] + [{"picture": "x", "y": "a"}],
            "the feature 'picture' is an image in 16 examples, but not in 1",
        ),
    ],
)
def test_data_that_are_not_fit(rows, message):
    with pytest.raises(DataError) as caught:
        scan(rows)
    assert message in str(caught.value)


def test_names_of_ours_are_replaced_in_our_own_artifacts():
    scan(
        [row | {"example_id": "1", "class_name": "z"} for row in GOOD], source="examples", path="x"
    )


def test_own_splits_are_kept():
    found = scan(GOOD, parts=("train", "eval", "eval", "eval"))
    assert found.own_splits
    assert found.examples == {"train": 2, "eval": 6}
