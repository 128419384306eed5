"""Every feature kind through real statistics and a real Transform, held to NumPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from transforming import Transformed, transform

from modules.data.examples import ExampleData
from modules.data.features.vocabularies import vocabularies
from modules.data.spec import Dataset, OutputSpec, read_spec
from modules.settings import DataSettings

COUNT = 60
COLORS = ["red", "green", "red", "blue", "red", "green"]
TEXTS = ["A cat, a dog!", "the DOG (sat)", "a cat", "", "l'été à Zürich", "cat cat cat cat"]
DATASET = Dataset(
    output=OutputSpec(task="binary", size=2, classes=("no", "yes")),
    class_counts={"train": {"no": 40, "yes": 20}},
)


def row(index: int) -> dict[str, Any]:
    age = None if index % 10 == 3 else float(index)
    return {
        "age": age,
        "income": float(math.expm1(index / 10)),
        "rank": float(index**2),
        "size": index % 7,
        "pair": [float(index), float(-index)],
        "color": None if index == 5 else COLORS[index % 6],
        "tags": [f"t{index % 3}", f"t{index % 5}"][: 1 + index % 2],
        "words": TEXTS[index % 6],
        "letters": TEXTS[index % 6],
        "label": int(index % 3 == 0),
        "class_name": ["no", "yes"][index % 3 == 0],
        "example_id": f"{index:064d}",
    }


SETTINGS = DataSettings(
    source="csv",
    label="label",
    features={
        "age": {"kind": "numeric"},
        "income": {"kind": "numeric", "scale": "log"},
        "rank": {"kind": "numeric", "scale": "quantile"},
        "size": {"kind": "numeric", "scale": "none"},
        "pair": {"kind": "numeric"},
        "color": {"kind": "category", "min_count": 11, "oov_buckets": 2},
        "tags": {"kind": "category", "max_values": 2},
        "words": {"kind": "text", "length": 4},
        "letters": {"kind": "text", "tokens": "characters", "length": 20, "vocabulary": 5},
    },
    class_weights="auto",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: Any) -> Transformed:
    rows = [row(index) for index in range(COUNT)]
    return transform(rows, SETTINGS, DATASET, tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def batch(made: Transformed) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs and labels in the order of the rows."""
    ((inputs, labels, ids),) = ExampleData([made.pattern], made.spec, SETTINGS).everything(1000)
    order = np.argsort(ids.numpy())
    return {name: values.numpy()[order] for name, values in inputs.items()}, labels.numpy()[order]


def test_the_specification_is_written_beside_the_graph(made: Transformed) -> None:
    assert read_spec(made.graph_dir) == made.spec
    shapes = {each.name: (each.shape, each.dtype) for each in made.spec.inputs}
    assert shapes == {
        "age": ((), "float32"),
        "age_missing": ((), "float32"),
        "income": ((), "float32"),
        "rank": ((), "float32"),
        "size": ((), "float32"),
        "pair": ((2,), "float32"),
        "color": ((), "int32"),
        "tags": ((2,), "int32"),
        "words": ((4,), "int32"),
        "letters": ((20,), "int32"),
    }


def test_batches_are_what_the_specification_says(made: Transformed, batch: Any) -> None:
    inputs, labels = batch
    assert list(inputs) == [each.name for each in made.spec.inputs]
    for each in made.spec.inputs:
        assert inputs[each.name].shape == (COUNT, *each.shape), each.name
        assert inputs[each.name].dtype == each.dtype, each.name
    np.testing.assert_array_equal(labels, [int(index % 3 == 0) for index in range(COUNT)])


def test_a_missing_number_is_the_mean_and_says_so(made: Transformed, batch: Any) -> None:
    ages = np.array([index for index in range(COUNT) if index % 10 != 3], float)
    missing = np.arange(COUNT) % 10 == 3
    spec = made.spec.by_name["age"]
    assert (spec.mean, spec.deviation) == pytest.approx((ages.mean(), ages.std()))
    expected = np.where(missing, ages.mean(), np.arange(COUNT))
    np.testing.assert_allclose(batch[0]["age"], expected, rtol=1e-6)
    np.testing.assert_array_equal(batch[0]["age_missing"], missing)


def test_a_logarithm_is_scaled_by_its_own_moments(made: Transformed, batch: Any) -> None:
    logs = np.arange(COUNT) / 10
    np.testing.assert_allclose(batch[0]["income"], logs, atol=1e-5)
    spec = made.spec.by_name["income"]
    # From a hundred quantiles of sixty numbers.
    assert (spec.mean, spec.deviation) == pytest.approx((logs.mean(), logs.std()), abs=0.1)


def test_a_quantile_is_the_position_among_the_boundaries(made: Transformed, batch: Any) -> None:
    boundaries = made.spec.by_name["rank"].boundaries
    assert len(boundaries) > 30 and list(boundaries) == sorted(set(boundaries))
    values = np.arange(COUNT) ** 2
    expected = np.interp(values, boundaries, np.linspace(0, 1, len(boundaries)))
    np.testing.assert_allclose(batch[0]["rank"], expected, atol=1e-6)


def test_numbers_as_they_are(made: Transformed, batch: Any) -> None:
    np.testing.assert_array_equal(batch[0]["size"], np.arange(COUNT) % 7)
    assert (made.spec.by_name["size"].mean, made.spec.by_name["size"].deviation) == (0, 1)
    np.testing.assert_array_equal(batch[0]["pair"][:, 1], -np.arange(COUNT, dtype=float))


def test_ids_of_a_category(made: Transformed, batch: Any) -> None:
    """30 red, 20 green, 10 blue less the missing one: blue is below the minimum count."""
    assert made.spec.by_name["color"].vocabulary_size == 1 + 2 + 2
    ids = batch[0]["color"]
    blue = int(tf.strings.to_hash_bucket_fast("blue", 2)) + 1
    known = {"red": 3, "green": 4, "blue": blue}
    expected = [0 if index == 5 else known[COLORS[index % 6]] for index in range(COUNT)]
    np.testing.assert_array_equal(ids, expected)


def test_several_values_are_padded_with_zero(made: Transformed, batch: Any) -> None:
    words = _vocabularies(made)["tags"]
    for index, ids in enumerate(batch[0]["tags"]):
        expected = [2 + words.index(tag) for tag in row(index)["tags"]]
        assert ids.tolist() == [*expected, 0][:2]


def test_words_are_lower_case_letters_and_digits(made: Transformed, batch: Any) -> None:
    words = _vocabularies(made)["words"]
    assert words[0] == "cat"  # the most frequent

    def ids(*tokens: str) -> list[int]:
        return ([2 + words.index(token) for token in tokens] + [0] * 4)[:4]

    expected = [
        ids("a", "cat", "a", "dog"),
        ids("the", "dog", "sat"),
        ids("a", "cat"),
        ids(),
        ids("l", "été", "à", "zürich"),
        ids("cat", "cat", "cat", "cat"),
    ]
    assert batch[0]["words"][:6].tolist() == expected


def test_characters_beyond_the_vocabulary_are_unknown(made: Transformed, batch: Any) -> None:
    letters = _vocabularies(made)["letters"]
    assert len(letters) == 5 and {"a", "c", "t"} <= set(letters)
    text = TEXTS[4]
    expected = [2 + letters.index(c) if c in letters else 1 for c in text][:20]
    assert batch[0]["letters"][4].tolist() == expected + [0] * (20 - len(expected))


def test_weights_of_classes_are_inverse_to_their_frequency(made: Transformed) -> None:
    assert made.spec.class_weights == pytest.approx((60 / 80, 60 / 40))
    data = ExampleData([made.pattern], made.spec, SETTINGS)
    (_, y, weights), *_ = data.validation(1000)
    np.testing.assert_allclose(weights, np.take([0.75, 1.5], y["label"]))


def test_a_users_function_is_held_to_its_schema(tmp_path: Path) -> None:
    """A file beside nothing of ours; what it returns is what the models take."""
    file = tmp_path / "own.py"
    file.write_text(
        "import tensorflow as tf\n"
        "def fn(inputs):\n"
        "    size = tf.cast(inputs['size'], tf.float32)\n"
        "    return {'both': tf.concat([size, 2 * size], 1), 'whole': inputs['size'][:, 0]}\n"
    )
    settings = DataSettings(source="csv", label="label", preprocessing_fn=f"{file}:fn")
    rows = [
        {key: row(index)[key] for key in ("size", "label", "example_id")} for index in range(20)
    ]
    made = transform(rows, settings, DATASET, tmp_path / "out")
    assert {each.name: (each.kind, each.shape, each.dtype) for each in made.spec.inputs} == {
        "both": ("tensor", (2,), "float32"),
        "whole": ("tensor", (), "int32"),
    }
    ((inputs, _, ids),) = ExampleData([made.pattern], made.spec, settings).everything(100)
    order = np.argsort(ids.numpy())
    sizes = np.arange(20) % 7
    np.testing.assert_array_equal(inputs["both"].numpy()[order], np.stack([sizes, 2 * sizes], 1))
    np.testing.assert_array_equal(inputs["whole"].numpy()[order], sizes)


def _vocabularies(made: Transformed) -> dict[str, list[str]]:
    return vocabularies(made.spec, tft.TFTransformOutput(made.graph_dir))
