"""What `tfx-distill init` makes of names, headers and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import Dataset, DataSpec, InputSpec, OutputSpec
from modules.errors import ConfigError, DataError
from modules.measure.intervals import paired_difference
from modules.models.zoo import AT_ONCE, check_model
from modules.settings import ModelSettings, NumericFeature
from pipeline.proposal import (
    propose_augmentation,
    propose_data,
    propose_features,
    propose_gate,
    propose_models,
    propose_validation,
)


def csv(path: Path, header: str) -> Path:
    path.write_text(f"{header}\n" + "1,2,3\n" * 3)
    return path


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("a,Target,b", "Target"),
        ("label,y,b", "label"),  # the surest name, wherever it is
        ("a,b,price", "price"),  # the last one
        ("image/encoded,image/class/label,z", "image/class/label"),
    ],
)
def test_the_label_is_guessed_and_said(tmp_path: Path, header: str, label: str) -> None:
    proposal = propose_data(str(csv(tmp_path / "My Data.csv", header)), None)
    assert proposal.name == "my-data"
    assert proposal.data["source"] == "csv" and proposal.data["label"] == label
    (note,) = proposal.notes
    assert repr(label) in note


def test_a_named_label_is_taken(tmp_path: Path) -> None:
    path = str(csv(tmp_path / "d.csv", "a,b,c"))
    assert propose_data(path, "a").data["label"] == "a" and not propose_data(path, "a").notes
    with pytest.raises(ConfigError, match=r"--label: there is no 'd'.*there are a, b, c"):
        propose_data(path, "d")


def test_a_folder_of_images_needs_no_more(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.PNG").write_bytes(b"")
    assert propose_data(str(tmp_path), None).data == {
        "source": "image_folder",
        "path": str(tmp_path),
    }


@pytest.mark.parametrize("name", ["x.parquet", "x.tfrecord"])
def test_a_broken_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01broken" * 50)
    with pytest.raises(DataError, match=rf"{name}: must be a \w+ file.*fix or remove it") as caught:
        propose_data(str(tmp_path / name), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "has none of them"),
        (["a.csv", "b.parquet"], "has csv, parquet"),
        (["notes.docx"], "has none of them"),
    ],
)
def test_a_directory_without_data(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=words):
        propose_data(str(tmp_path), None)


@pytest.mark.parametrize("name", ["notes.docx", "missing.csv"])
def test_a_file_that_is_no_data(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(ConfigError, match=r"PATH must be"):
        propose_data(str(tmp_path / name), None)


def spec(*kinds: str, task: Any = "classification", shape: Any = (32, 32, 3)) -> DataSpec:
    shapes: dict[str, Any] = {"image": shape, "text": (16,), "numeric": (), "category": ()}
    dtypes: dict[str, Any] = {"image": "uint8", "numeric": "float32"}
    inputs = tuple(
        InputSpec(
            name=f"{kind}{index}",
            kind=kind,
            feature=f"{kind}{index}",
            shape=shapes[kind],
            dtype=dtypes.get(kind, "int32"),
            vocabulary_size=None if kind in dtypes else 50,
        )
        for index, kind in enumerate(kinds)
    )
    size = 1 if task == "regression" else 3
    return DataSpec(inputs=inputs, output=OutputSpec(task=task, size=size))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [["image"], ["text"], ["numeric", "category"], ["numeric"], ["image", "text"], ["text"] * 2],
    ids="-".join,
)
def test_the_proposed_models_can_be_built_and_the_student_is_smaller(kinds: list[str]) -> None:
    from modules.models.zoo import build_model

    found = spec(*kinds)
    models = propose_models(found, Dataset(output=found.output, examples={"train": 500}))
    built = {}
    for role, section in models.items():
        settings = ModelSettings.model_validate(section)
        check_model(settings, role)
        built[role] = build_model(settings, found.by_name, found.output).count_params()
    assert built["student"] < built["teacher"] / 1.5


@pytest.mark.parametrize(
    ("kinds", "task", "count", "model"),
    [
        (["numeric", "category"], "binary", 1999, "random_forest"),
        (["numeric", "category"], "binary", 2000, "resnet_tabular"),
        (["numeric", "category"], "regression", 100, "resnet_tabular"),
        (["text"], "classification", 499, "text_linear"),
        (["text"], "classification", 500, "text_cnn"),
        (["text"], "regression", 100, "text_cnn"),
        (["numeric", "text"], "classification", 100, "mixture"),
    ],
)
def test_few_rows_are_taught_by_what_is_fitted_at_once(
    kinds: list[str], task: str, count: int, model: str
) -> None:
    found = spec(*kinds, task=task)
    models = propose_models(found, Dataset(output=found.output, examples={"train": count}))
    assert models["teacher"]["model"] == model
    assert ("train" in models["teacher"]) == (model not in AT_ONCE)


def test_few_labels_make_many_epochs_of_the_teacher_alone() -> None:
    """Of a hundred labels an epoch has four steps; the unlabeled are shown to the student."""
    found = spec("image", shape=(28, 28, 1))
    examples = {"train": 100, "unlabeled": 3900}
    models = propose_models(found, Dataset(output=found.output, examples=examples))
    teacher, student = (models[role]["train"] for role in ("teacher", "student"))
    assert (teacher["epochs"], teacher["batch_size"]) == (300, 32)
    assert (student["epochs"], student["batch_size"]) == (64, 64)
    assert (teacher["patience"], teacher["learning_rate"]) == (100, 0.003)


@pytest.mark.parametrize(
    ("count", "parameters", "weight_decay"),
    [(499, {"blocks": 1, "dropout": 0.5}, 0.3), (500, {"blocks": 2}, None)],
)
def test_an_image_teacher_of_few_labels_is_kept_from_learning_them_by_heart(
    count: int, parameters: dict[str, Any], weight_decay: float | None
) -> None:
    found = spec("image")
    teacher = propose_models(found, Dataset(output=found.output, examples={"train": count}))[
        "teacher"
    ]
    assert teacher["parameters"] == {"widths": [32, 64, 128]} | parameters
    assert teacher["train"].get("weight_decay") == weight_decay


@pytest.mark.parametrize(
    ("kind", "task", "count", "models"),
    [
        ("image", "classification", 499, ["resnet_small", "resnet_small", "image_linear"]),
        ("image", "multilabel", 100, ["resnet_small", "resnet_small", "image_linear"]),
        ("image", "classification", 500, []),
        ("image", "regression", 100, []),
        ("text", "classification", 100, []),
    ],
)
def test_few_images_have_several_teachers(
    kind: str, task: str, count: int, models: list[str]
) -> None:
    found = spec(kind, task=task)
    proposed = propose_models(found, Dataset(output=found.output, examples={"train": count}))
    more = proposed.get("more_teachers", [])
    assert [each["model"] for each in more] == models
    assert all(each == proposed["teacher"] for each in more[:-1])
    # As much as the three networks together.
    assert [each["weight"] for each in more[-1:]] == [3.0] * bool(models)


@pytest.mark.parametrize(
    ("count", "data"),
    [(80, {"validation_fraction": 0.2}), (499, {"validation_fraction": 0.2}), (500, {})],
)
def test_of_few_labels_enough_are_held_out_to_choose_by(count: int, data: dict[str, float]) -> None:
    dataset = Dataset(output=spec("numeric").output, examples={"train": count})
    assert propose_validation(dataset) == data


@pytest.mark.parametrize(("count", "epochs"), [(15_000, 30), (150_000, 10), (1_000_000, 3)])
def test_many_examples_make_few_epochs(count: int, epochs: int) -> None:
    found = spec("numeric")
    models = propose_models(found, Dataset(output=found.output, examples={"train": count}))
    assert {each["train"]["epochs"] for each in models.values()} == {epochs}


@pytest.mark.parametrize(
    ("least", "median", "most", "scale"),
    [
        (0, 25, 250, "log"),
        (0, 26, 250, "standard"),
        (0, 0, 10, "log"),  # counts, most of them 0
        (0, 0.01, 0.9, "standard"),  # log(1 + x) is x
        (-1, 25, 250, "standard"),
    ],
)
def test_what_spans_orders_of_magnitude_is_taken_by_its_logarithm(
    least: float, median: float, most: float, scale: str
) -> None:
    output = OutputSpec(task="binary", size=1)
    found = DataSpec(inputs=(), output=output, features={"paid": NumericFeature()})
    quantiles = (least, median, most)
    statistics = FeatureStatistics(
        "paid", "float", 80, minimum=least, maximum=most, quantiles=quantiles
    )
    assert propose_features(found, {"paid": statistics}) == {"paid": NumericFeature(scale=scale)}


@pytest.mark.parametrize("side", [8, 28, 96, 224])
def test_the_last_stage_of_an_image_student_sees_it_all(side: int) -> None:
    found = spec("image", shape=(side, side, 3))
    student = propose_models(found, Dataset(output=found.output))["student"]
    halvings = len(student["parameters"]["filters"]) - 1 + (side >= 64)
    assert 2 <= side / 2**halvings <= 6


@pytest.mark.parametrize(
    ("kinds", "side", "count", "augment"),
    [
        (["image"], 28, 74, {"pad_crop": 3}),
        (["image", "numeric"], 8, 74, {"pad_crop": 1}),
        (["image"], 28, 2000, {}),
        (["numeric"], 28, 74, {}),
    ],
)
def test_a_few_images_are_shifted(
    kinds: list[str], side: int, count: int, augment: dict[str, int]
) -> None:
    found = spec(*kinds, shape=(side, side + 4, 1))
    dataset = Dataset(output=found.output, examples={"train": count})
    assert propose_augmentation(found, dataset) == augment


def test_limits_can_be_decided_by_the_examples() -> None:
    def drop(count: int, task: str = "classification") -> Any:
        found = spec("numeric", task=task)
        return propose_gate(found, Dataset(output=found.output, examples={"eval": count}))

    drops = [drop(count)["max_accuracy_drop"] for count in (20, 100, 1000, 100_000)]
    assert drops == sorted(drops, reverse=True)
    # A paired change on so many examples is uncertain by about 0.33 / sqrt(n).
    assert all(
        each > 0.33 / np.sqrt(count)
        for each, count in zip(drops, (20, 100, 1000, 100_000), strict=True)
    )
    assert drops[-1] <= 0.015
    # Of few examples one may be answered better than by the teacher, and another one worse.
    for count in (1, 2, 5, 13, 26):
        before, after = np.ones(count), np.ones(count)
        before[0] = after[-1] = 0
        _, bound = paired_difference(before, after, 0.95)
        assert bound <= drop(count)["max_accuracy_drop"] <= 1
    assert "max_rmse_increase" in drop(100, "regression")


@pytest.mark.parametrize(
    ("counts", "limit"),
    [
        ({"a": 6, "b": 16, "c": 14}, 0.45),
        ({"a": 50, "b": 50}, 0.5),
        # Here a good model of the rare class may have no higher accuracy.
        ({"a": 51, "b": 49}, None),
        ({}, None),
    ],
)
def test_a_student_must_be_better_than_always_the_same_answer(
    counts: dict[str, int], limit: float | None
) -> None:
    found = spec("numeric")
    examples = {"eval": max(sum(counts.values()), 1)}
    dataset = Dataset(output=found.output, examples=examples, class_counts={"eval": counts})
    assert propose_gate(found, dataset).get("min_accuracy") == limit


@pytest.mark.parametrize(
    ("kinds", "count", "limited"),
    [
        (["image"], 80, True),
        (["text", "numeric"], 80, True),
        (["numeric"], 5000, False),
        (["text"], 5000, True),
        (["text"], 80, False),  # its teacher is a linear one
    ],
)
def test_times_of_small_models_are_too_short_for_a_limit(
    kinds: list[str], count: int, limited: bool
) -> None:
    found = spec(*kinds)
    examples = {"train": count, "eval": 500}
    gate = propose_gate(found, Dataset(output=found.output, examples=examples))
    assert ("min_speedup" in gate) == limited
