"""ExampleGen: the real executor on the digits and on small folders of real images."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits
from tfx.components.example_gen import driver
from tfx.components.example_gen.component import FileBasedExampleGen, QueryBasedExampleGen
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.example_gen.component import example_gen
from components.example_gen.executor import (
    Executor,
    pack_settings,
    unpack_parts,
    unpack_settings,
)
from modules.data.sources.protocol import Part
from modules.data.spec import read_dataset
from modules.data.splits import example_id, in_eval_split, label_position
from modules.errors import DataError
from modules.settings import CategoryFeature, DataSettings, NumericFeature, TextFeature

PIXELS = np.random.default_rng(0)


def png(height: int = 6, width: int = 6, channels: int = 3) -> bytes:
    """A PNG like no other."""
    shape = (height, width, channels)
    return tf.io.encode_png(PIXELS.integers(0, 256, shape, dtype=np.uint8)).numpy()


def jpeg(height: int, width: int, channels: int = 3) -> bytes:
    shape = (height, width, channels)
    return tf.io.encode_jpeg(PIXELS.integers(0, 256, shape, dtype=np.uint8)).numpy()


def images_of(split: str, count: int, settings: DataSettings) -> list[bytes]:
    """PNGs that all fall into one split."""
    found: list[bytes] = []
    while len(found) < count:
        image = png()
        if in_eval_split(example_id(image), settings) == (split == "eval"):
            found.append(image)
    return found


def folder(root: Path, **classes: list[bytes]) -> DataSettings:
    """Settings of an image folder with these files; `a=[...]` become a/0.png, a/1.png, ..."""
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for index, image in enumerate(images):
            (root / name / f"{index}.png").write_bytes(image)
    return DataSettings(source="image_folder", path=str(root), eval_fraction=0.5)


@pytest.fixture(scope="module")
def generate(
    beam_executor: Callable[[type], Any], artifact: Callable[..., Any]
) -> Callable[[DataSettings, Path], Any]:
    """A function that runs the component's executor on the component's properties."""

    def run(settings: DataSettings, directory: Path) -> Any:
        examples = artifact(standard_artifacts.Examples, directory)
        directory.mkdir(exist_ok=True)
        properties = dict(example_gen(settings, "digest").exec_properties)
        beam_executor(Executor).Do({}, {"examples": [examples]}, properties)
        return examples

    return run


@dataclass(frozen=True)
class Read:
    """One example in plain Python."""

    image: bytes
    label: int
    class_name: str
    example_id: str


@pytest.fixture(scope="module")
def read(read_examples: Callable[[str], list[Any]]) -> Callable[[Path], dict[str, list[Read]]]:
    """A function from an artifact's directory to its examples by split."""

    def plain(example: Any) -> Read:
        features = example.features.feature
        assert set(features) == {"image", "label", "class_name", "example_id"}
        (image,) = features["image"].bytes_list.value
        (label,) = features["label"].int64_list.value
        (class_name,) = features["class_name"].bytes_list.value
        (identity,) = features["example_id"].bytes_list.value
        return Read(image, label, class_name.decode(), identity.decode())

    def both(directory: Path) -> dict[str, list[Read]]:
        return {
            split: [plain(example) for example in read_examples(f"{directory}/Split-{split}")]
            for split in ("train", "eval")
        }

    return both


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory: pytest.TempPathFactory, generate: Any) -> Path:
    directory = tmp_path_factory.mktemp("digits")
    generate(DataSettings(), directory)
    return directory


@pytest.fixture(scope="module")
def digits(digits_dir: Path, read: Any) -> dict[str, list[Read]]:
    return read(digits_dir)


def test_every_digit_is_there_once_with_its_label(digits: dict[str, list[Read]]) -> None:
    examples = digits["train"] + digits["eval"]
    assert len(examples) == 1797
    bunch = load_digits()
    expected = {
        np.rint(image * 255 / 16).astype(np.uint8).tobytes(): int(label)
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    decoded = {
        tf.io.decode_png(example.image).numpy().tobytes(): example.label for example in examples
    }
    assert decoded == expected
    assert len(decoded) == 1797


def test_class_name_and_id_belong_to_label_and_image(digits: dict[str, list[Read]]) -> None:
    for example in digits["train"] + digits["eval"]:
        assert example.class_name == str(example.label)
        assert example.example_id == hashlib.sha256(example.image).hexdigest()


def test_eval_split_of_the_digits(digits: dict[str, list[Read]]) -> None:
    ids = {split: {example.example_id for example in digits[split]} for split in digits}
    assert not ids["train"] & ids["eval"]
    # Four standard deviations of a fair draw around a fifth.
    assert abs(len(digits["eval"]) / 1797 - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 1797)
    assert {example.label for example in digits["eval"]} == set(range(10))


def test_the_split_is_a_hash_of_seed_and_content(digits: dict[str, list[Read]]) -> None:
    for split, examples in digits.items():
        for example in examples[:50]:
            digest = hashlib.sha256(b"0/" + example.example_id.encode()).hexdigest()
            assert (int(digest[:16], 16) / 2**64 < 0.2) == (split == "eval")


def test_two_runs_write_the_same_records_in_the_same_order(
    tmp_path: Path, digits: dict[str, list[Read]], generate: Any, read: Any
) -> None:
    generate(DataSettings(), tmp_path)
    assert read(tmp_path) == digits


FILES = {
    "zebra/wide.png": png(5, 40),
    "zebra/gray.PNG": png(9, 9, channels=1),
    "zebra/palette.png": png(7, 3),
    "ant/photo.jpg": jpeg(33, 17),
    "ant/gray.jpeg": jpeg(8, 8, channels=1),
    "ant/UPPER.JPG": jpeg(64, 48),
} | {f"{name}/{index}.png": png(4 + index, 8) for name in ("ant", "zebra") for index in range(8)}
COPIES = {f"ant/copy{index}.png": FILES[f"ant/{index}.png"] for index in range(8)}
PASSED_OVER = {
    "zebra/notes.txt": b"no image",
    "zebra/.hidden.png": b"no image",
    ".cache/a.png": b"no image",
    "README": b"no image",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    root = tmp_path_factory.mktemp("pictures")
    for name, content in (FILES | COPIES | PASSED_OVER).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return DataSettings(source="image_folder", path=str(root), eval_fraction=0.5)


@pytest.fixture(scope="module")
def pictures_artifact(
    tmp_path_factory: pytest.TempPathFactory, pictures: DataSettings, generate: Any
) -> Any:
    return generate(pictures, tmp_path_factory.mktemp("examples"))


def test_image_folder_of_both_formats_and_many_sizes(pictures_artifact: Any, read: Any) -> None:
    examples = [example for split in read(pictures_artifact.uri).values() for example in split]
    assert len(examples) == len(FILES) + len(COPIES)
    assert {example.image: (example.label, example.class_name) for example in examples} == {
        content: (0, "ant") if name.startswith("ant") else (1, "zebra")
        for name, content in FILES.items()
    }


def test_copies_of_an_image_stay_on_one_side(pictures_artifact: Any, read: Any) -> None:
    found = read(pictures_artifact.uri)
    train, test = ({example.example_id for example in examples} for examples in found.values())
    assert len(train) + len(test) == len(FILES)
    assert not train & test


def test_artifact_names_its_splits_and_counts_them(pictures_artifact: Any, read: Any) -> None:
    assert json.loads(pictures_artifact.split_names) == ["train", "eval"]
    dataset = read_dataset(pictures_artifact.uri)
    found = read(pictures_artifact.uri)
    assert dataset.examples == {split: len(examples) for split, examples in found.items()}
    assert dataset.class_counts == {
        split: Counter(example.class_name for example in examples)
        for split, examples in found.items()
    }
    assert dataset.output.task == "binary"
    assert dataset.output.classes == ("ant", "zebra")
    assert dataset.kinds == {"image": "image"}


def test_another_seed_another_split(
    tmp_path: Path, pictures: DataSettings, pictures_artifact: Any, generate: Any, read: Any
) -> None:
    generate(pictures.model_copy(update={"split_seed": 1}), tmp_path)
    first, second = (
        {split: {example.example_id for example in examples} for split, examples in found.items()}
        for found in (read(pictures_artifact.uri), read(tmp_path))
    )
    assert first["eval"] != second["eval"]
    assert first["eval"] | first["train"] == second["eval"] | second["train"]


def test_broken_images_are_all_counted_and_five_are_named(tmp_path: Path, generate: Any) -> None:
    settings = folder(tmp_path / "data", a=[png() for _ in range(6)], b=[png() for _ in range(6)])
    (tmp_path / "data/a/page.jpg").write_bytes(b"<html>")
    truncated = [tmp_path / "data/b" / f"broken{index}.png" for index in range(6)]
    for file in truncated:
        file.write_bytes(png()[:-20])
    with pytest.raises(DataError) as caught:
        generate(settings, tmp_path / "examples")
    message = str(caught.value)
    assert message.startswith("7 example(s) cannot be used; fix or remove them: ")
    assert (
        f"{tmp_path}/data/a/page.jpg: not a PNG, JPEG, WebP, BMP or GIF file (6 bytes)" in message
    )
    for file in truncated[:4]:
        assert f"{file}: the image cannot be decoded (" in message
    assert message.endswith("; and 2 more")
    assert message.count(f"{tmp_path}/data/") == 5


def test_a_class_on_one_side_is_split_all_the_same(
    tmp_path: Path, generate: Any, read: Any
) -> None:
    settings = folder(tmp_path / "data", a=[png() for _ in range(8)])
    folder(tmp_path / "data", owl=images_of("eval", 3, settings))
    generate(settings, tmp_path / "examples")
    found = read(tmp_path / "examples")
    for split in ("train", "eval"):
        assert "owl" in {example.class_name for example in found[split]}


def test_labels_beyond_the_most_that_are_used_are_hidden(
    tmp_path: Path, generate: Any, read: Any, read_examples: Any, digits: dict[str, list[Read]]
) -> None:
    artifact = generate(DataSettings(max_labels=100), tmp_path / "examples")
    assert json.loads(artifact.split_names) == ["train", "eval", "unlabeled"]
    found = read(tmp_path / "examples")
    hidden = read_examples(f"{artifact.uri}/Split-unlabeled")
    assert {each.example_id for each in found["eval"]} == {
        each.example_id for each in digits["eval"]
    }
    kept, all_of_train = ({each.example_id for each in part["train"]} for part in (found, digits))
    assert len(kept) == len(found["train"]) == 100 and kept < all_of_train
    assert {
        each.features.feature["example_id"].bytes_list.value[0].decode() for each in hidden
    } == {*(all_of_train - kept)}
    assert all(set(each.features.feature) == {"image", "example_id"} for each in hidden)
    # The same ones as when fewer are used, and some more.
    order = sorted(all_of_train, key=lambda each: label_position(each.encode(), DataSettings()))
    assert kept == {*order[:100]}


def test_as_many_labels_as_there_are_are_used(tmp_path: Path, generate: Any) -> None:
    settings = folder(tmp_path / "data", a=[png() for _ in range(6)], b=[png() for _ in range(6)])
    few = settings.model_copy(update={"splits": {}, "max_labels": 12})
    artifact = generate(few, tmp_path / "examples")
    assert json.loads(artifact.split_names) == ["train", "eval"]


def test_unlabeled_images_beside_the_classes(
    tmp_path: Path, generate: Any, read_examples: Any
) -> None:
    data, hidden = tmp_path / "data", [png() for _ in range(3)]
    folder(data, a=[png() for _ in range(10)], b=[png() for _ in range(10)])
    (data / "unlabeled").mkdir()
    for number, image in enumerate(hidden):
        (data / "unlabeled" / f"{number}.png").write_bytes(image)
    settings = DataSettings(source="image_folder", path=str(data))
    artifact = generate(settings, tmp_path / "examples")
    assert json.loads(artifact.split_names) == ["train", "eval", "unlabeled"]
    found = read_examples(f"{artifact.uri}/Split-unlabeled")
    images = [each.features.feature["image"].bytes_list.value[0] for each in found]
    assert sorted(images) == sorted(hidden)


def test_folders_of_splits_are_kept(tmp_path: Path, generate: Any, read_examples: Any) -> None:
    images = {split: [png() for _ in range(4)] for split in ("train", "val")}
    for split, each in images.items():
        folder(tmp_path / "data" / split, a=each[:2], b=each[2:])
    (tmp_path / "data" / "unlabeled").mkdir()
    (tmp_path / "data" / "unlabeled" / "1.png").write_bytes(png())
    settings = DataSettings(source="image_folder", path=str(tmp_path / "data"))
    artifact = generate(settings, tmp_path / "examples")
    assert json.loads(artifact.split_names) == ["train", "eval", "unlabeled"]
    for split, mine in (("train", "train"), ("eval", "val")):
        found = read_examples(f"{artifact.uri}/Split-{split}")
        assert {each.features.feature["image"].bytes_list.value[0] for each in found} == {
            *images[mine]
        }
    (unlabeled,) = read_examples(f"{artifact.uri}/Split-unlabeled")
    assert set(unlabeled.features.feature) == {"image", "example_id"}


def test_equal_pixels_are_on_one_side_whatever_the_file(
    tmp_path: Path, generate: Any, read_examples: Any
) -> None:
    root = tmp_path / "data"
    pixels = [PIXELS.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in range(24)]
    for index, each in enumerate(pixels):
        place = root / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.png").write_bytes(tf.io.encode_png(each).numpy())
        Image.fromarray(each).save(place / f"{index}.bmp")
    settings = DataSettings(source="image_folder", path=str(root), eval_fraction=0.5)
    artifact = generate(settings, tmp_path / "examples")
    sides: dict[bytes, list[str]] = {}
    for split in ("train", "eval"):
        for example in read_examples(f"{artifact.uri}/Split-{split}"):
            image = example.features.feature["image"].bytes_list.value[0]
            sides.setdefault(tf.io.decode_image(image).numpy().tobytes(), []).append(split)
    assert sides.keys() == {each.tobytes() for each in pixels}
    assert all(len(each) == 2 and len(set(each)) == 1 for each in sides.values())


def test_equal_pixels_of_two_classes_are_named(tmp_path: Path, generate: Any) -> None:
    pixels = PIXELS.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    settings = folder(
        tmp_path / "data",
        cat=[*(png() for _ in range(8)), tf.io.encode_png(pixels).numpy()],
        dog=[png() for _ in range(8)],
    )
    Image.fromarray(pixels).save(tmp_path / "data/dog/copy.bmp")
    with pytest.raises(DataError) as caught:
        generate(settings, tmp_path / "examples")
    assert str(caught.value) == (
        "1 example(s) have equal content but different labels: "
        f"{tmp_path}/data/cat/8.png is 'cat' and {tmp_path}/data/dog/copy.bmp is 'dog'; fix the "
        "labels, or set data.id if these are different examples all the same"
    )


def properties(settings: DataSettings, digest: str = "digest", task: Any = None) -> dict[str, Any]:
    return dict(example_gen(settings, digest, task=task).exec_properties)


CSV = DataSettings(source="csv", path="/some/where with spaces/ä")


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        (DataSettings(), None),
        (DataSettings(eval_fraction=0.3, split_seed=2**31 + 1), "classification"),
        (DataSettings(source="image_folder", path="/some/where with spaces/ä"), None),
        (
            DataSettings(
                source="csv",
                path="/d/*.csv",
                rename={"a": "b"},
                classes=("x", "y"),
                time="t",
                eval_from="2024-01-01",
                features={"zip": TextFeature()},
            ),
            "binary",
        ),
    ],
)
def test_settings_survive_the_journey(settings: DataSettings, task: Any) -> None:
    packed = proto_utils.proto_to_json(pack_settings(settings, task, "digest"))
    assert unpack_settings({"custom_config": packed}) == (settings, task)


@pytest.mark.parametrize(
    "changed",
    [
        {"eval_fraction": 0.25},
        {"split_seed": 1},
        {"path": "/elsewhere"},
        {"source": "parquet"},
        {"label": "x"},
        {"rename": {"a": "b"}},
        {"group": "g"},
        {"weight": "w"},
        {"splits": {"train": "a", "eval": "b"}},
        {"unlabeled": "/pool"},
        {"positive": "x"},
        {"features": {"zip": TextFeature()}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_changes_the_examples_changes_the_cache_key(changed: dict[str, Any]) -> None:
    assert properties(CSV.model_copy(update=changed)) != properties(CSV)


def test_changed_code_or_task_changes_the_cache_key() -> None:
    assert properties(CSV, "other") != properties(CSV)
    assert properties(CSV, task="regression") != properties(CSV)


@pytest.mark.parametrize(
    "changed",
    [
        {"validation_fraction": 0.3},
        {"exclude": ("x",)},
        {"features": {"x": NumericFeature()}},
        {"class_weights": "auto"},
        {"schema_file": "/s.pbtxt"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_later_nodes_read_does_not(changed: dict[str, Any]) -> None:
    assert properties(CSV.model_copy(update=changed)) == properties(CSV)


def test_a_category_that_looks_like_numbers_changes_csv_files_alone() -> None:
    features = {"x": CategoryFeature()}
    parquet = DataSettings(source="parquet", path="/d")
    assert properties(parquet.model_copy(update={"features": features})) == properties(parquet)


def test_folders_have_the_driver_that_fingerprints_files() -> None:
    component = example_gen(DataSettings(source="image_folder", path="/data"), "digest")
    assert isinstance(component, FileBasedExampleGen)
    assert component.driver_class is driver.FileBasedDriver
    assert component.exec_properties["input_base"] == "/data"
    splits = json.loads(component.exec_properties["input_config"])["splits"]
    assert [split["pattern"] for split in splits] == ["*/*", "*/*/*"]


def test_tables_have_it_too() -> None:
    settings = DataSettings(source="csv", path="/data/{SPAN}/*.csv", unlabeled="/pool/{SPAN}/*.csv")
    component = example_gen(settings, "digest")
    assert component.driver_class is driver.FileBasedDriver
    assert unpack_parts(component.exec_properties) == [
        Part("all", "/data/{SPAN}/*.csv"),
        Part("unlabeled", "/pool/{SPAN}/*.csv"),
    ]


def test_a_query_is_what_is_read() -> None:
    settings = DataSettings(source="bigquery", query="SELECT * FROM `p.d.t`")
    component = example_gen(settings, "digest")
    assert component.driver_class is driver.QueryBasedDriver
    assert unpack_parts(component.exec_properties) == [Part("all", "SELECT * FROM `p.d.t`")]


def test_embedded_data_have_none() -> None:
    component = example_gen(DataSettings(), "digest")
    assert isinstance(component, QueryBasedExampleGen)
    assert component.driver_class is driver.QueryBasedDriver


@pytest.mark.parametrize(
    "settings", [DataSettings(), DataSettings(source="image_folder", path="/data")]
)
def test_node_is_called_example_gen_and_has_our_executor(settings: DataSettings) -> None:
    component = example_gen(settings, "digest")
    assert component.id == "ExampleGen"
    assert component.executor_spec.executor_class is Executor
    assert list(component.outputs) == ["examples"]


def test_metadata_become_features_of_the_examples(
    generate: Any, read_examples: Any, tmp_path: Path
) -> None:
    settings = DataSettings(source="image_folder", path="unused", eval_fraction=0.5)
    images = [*images_of("train", 2, settings), *images_of("eval", 2, settings)]
    settings = folder(tmp_path / "images", a=images[::2], b=images[1::2])
    rows = {"a/0.png": "day", "a/1.png": "night", "b/0.png": "day", "b/1.png": "dusk"}
    lines = ["file_name,light", *(f"{name},{light}" for name, light in rows.items())]
    (tmp_path / "images" / "metadata.csv").write_text("\n".join(lines))
    generate(settings, tmp_path / "examples")
    found = {}
    for split in ("train", "eval"):
        for example in read_examples(f"{tmp_path}/examples/Split-{split}"):
            features = example.features.feature
            (light,) = features["light"].bytes_list.value
            found[features["image"].bytes_list.value[0]] = light.decode()
    assert found == {images[0]: "day", images[2]: "night", images[1]: "day", images[3]: "dusk"}


def test_changed_metadata_are_part_of_the_cache_key(tmp_path: Path) -> None:
    settings = folder(tmp_path, a=[png()], b=[png()])
    before = pack_settings(settings, None, "digest")
    (tmp_path / "metadata.csv").write_text("file_name,light\na/0.png,day\nb/0.png,day\n")
    assert pack_settings(settings, None, "digest") != before
