"""Tests of modules.teachers.cache: round trips, sizes, what is damaged, and memory."""

import json
import os
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from example_files import write_examples
from image_data import image_spec
from scipy.special import softmax

from modules.data.examples import ExampleData, Order, View
from modules.data.splits import example_id
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.distill.targets import TEACHER_LOGITS
from modules.errors import DataError
from modules.settings import AugmentSettings, DataSettings, TrainSettings
from modules.teachers.cache import (
    Layout,
    SoftTargetCache,
    pack,
    unpack,
    write_file,
    write_manifest,
)

COUNT = 120
DATA = DataSettings(validation_fraction=0.25)
SPEC = image_spec(2, 3)


def _id(number):
    return example_id(b"%d" % number)


def _answers(numbers, layout, seed=0):
    """Logits `[b, views + 1, teachers, classes]`, a function of the example's number."""
    shape = (layout.views + 1, layout.teachers, layout.classes)
    return np.stack(
        [np.random.default_rng([seed, n]).normal(scale=3, size=shape) for n in numbers]
    ).astype(np.float32)


def _rows(packed, layout, view):
    size = layout.teachers * layout.row_bytes
    return tf.constant([row[view * size : (view + 1) * size] for row in packed])


# -- Packing --

LAYOUTS = [Layout(10, 1, 0, None), Layout(7, 3, 2, None), Layout(3, 2, 4, None)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_packing_is_undone_to_the_precision_of_float16(layout):
    logits = _answers(range(20), layout)
    packed = pack(logits, layout)
    assert {len(row) for row in packed} == {layout.record_bytes - 64}
    for view in range(layout.views + 1):
        unpacked = unpack(_rows(packed, layout, view), layout)
        assert unpacked.dtype == tf.float32
        assert unpacked.shape == (20, layout.teachers, layout.classes)
        np.testing.assert_array_equal(unpacked, logits[:, view].astype(np.float16))


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        # Ten float16 logits and no more: 20 bytes for each view.
        (Layout(10, 1, 0, None), 64 + 20),
        (Layout(10, 1, 162, None), 64 + 163 * 20),
        (Layout(7, 3, 2, None), 64 + 3 * 3 * 14),
        # Five values, the level of the rest, five class numbers: 22 bytes, not 2,000.
        (Layout(1000, 1, 1, 5), 64 + 2 * 22),
    ],
    ids=str,
)
def test_size_of_a_record(layout, size, tmp_path):
    assert layout.record_bytes == size
    entry = write_file(str(tmp_path), layout, "part", iter([([_id(0)], _answers([0], layout))]))
    write_manifest(str(tmp_path), layout, [entry])
    (record,) = SoftTargetCache(str(tmp_path)).records().as_numpy_iterator()
    assert len(record) == size and record[:64] == _id(0)


@pytest.mark.parametrize("k", [1, 4, 19])
def test_top_k_keeps_the_largest_and_shares_out_the_rest(k):
    layout = Layout(20, 2, 1, k)
    logits = _answers(range(30), layout)
    packed = pack(logits, layout)
    for view in range(2):
        teacher = logits[:, view]
        unpacked = unpack(_rows(packed, layout, view), layout).numpy()
        order = np.argsort(-teacher, axis=-1)
        kept, rest = order[..., :k], order[..., k:]
        np.testing.assert_array_equal(
            np.take_along_axis(unpacked, kept, -1),
            np.take_along_axis(teacher, kept, -1).astype(np.float16),
        )
        level = np.take_along_axis(unpacked, rest, -1)
        assert (level == level[..., :1]).all()
        # The rest have the mass that the teacher gave them, and so has each one that is kept.
        ours, exact = softmax(unpacked.astype(float), -1), softmax(teacher.astype(float), -1)
        for places in (kept, rest):
            np.testing.assert_allclose(
                np.take_along_axis(ours, places, -1).sum(-1),
                np.take_along_axis(exact, places, -1).sum(-1),
                rtol=2e-2,
            )
        np.testing.assert_allclose(
            np.take_along_axis(ours, kept, -1), np.take_along_axis(exact, kept, -1), rtol=2e-2
        )


def test_equal_logits_keep_as_many_as_asked_for():
    layout = Layout(6, 1, 0, 2)
    logits = np.full((1, 1, 1, 6), 1.5, np.float32)
    unpacked = unpack(_rows(pack(logits, layout), layout, 0), layout)
    np.testing.assert_array_equal(unpacked, np.full((1, 1, 6), 1.5))


@pytest.mark.parametrize("k", [None, 2])
def test_large_logits_are_clipped_to_what_float16_holds(k):
    layout = Layout(4, 1, 0, k)
    logits = np.array([1e6, -1e6, 70000, 0], np.float32).reshape(1, 1, 1, 4)
    unpacked = unpack(_rows(pack(logits, layout), layout, 0), layout).numpy().ravel()
    assert np.isfinite(unpacked).all()
    assert unpacked[0] == unpacked[2] == 65504
    if k is None:
        np.testing.assert_array_equal(unpacked, [65504, -65504, 65504, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(tmp_path, value):
    layout = Layout(4, 1, 0, None)
    logits = _answers([0, 1], layout)
    logits[1, 0, 0, 2] = value
    with pytest.raises(DataError, match="not finite to an example of here/part; ") as caught:
        write_file(str(tmp_path), layout, "here/part", iter([([_id(0), _id(1)], logits)]))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no readable description"):
        SoftTargetCache(str(tmp_path))


# -- An artifact and its examples --

LAYOUT = Layout(5, 2, 3, None)


def _artifact(directory, files, layout=LAYOUT, batch=50, shift=0):
    """Soft targets of files that hold the examples 0 … COUNT - 1 between them."""
    os.makedirs(directory, exist_ok=True)
    entries = []
    for file, part in zip(files, np.array_split(np.arange(COUNT), len(files)), strict=True):
        batches = np.array_split(part, max(len(part) // batch, 1))
        answered = (
            ([_id(n + shift) for n in numbers], _answers(numbers, layout)) for numbers in batches
        )
        entries.append(write_file(str(directory), layout, file, answered))
    write_manifest(str(directory), layout, entries)
    return SoftTargetCache(str(directory))


@pytest.fixture
def pattern(tmp_path):
    """Examples whose label is their number modulo 5, and whose pixels are the number."""
    numbers = np.arange(COUNT)
    pixels = np.repeat(numbers.astype(np.uint8), 12).reshape(COUNT, 12)
    return write_examples(tmp_path / "examples", pixels, numbers % 5, numbers, files=3)


@pytest.fixture
def files(pattern):
    return ExampleData([pattern], SPEC, DATA).files


@pytest.mark.parametrize("layout", [LAYOUT, Layout(5, 2, 3, 2)], ids=["all", "top_k"])
def test_every_example_gets_its_own_answer(pattern, files, tmp_path, layout):
    data = ExampleData([pattern], SPEC, DATA, _artifact(tmp_path / "soft", files, layout))
    # Any augmentation makes views; the tests of soft_targets look at the pixels.
    view = View(AugmentSettings(cutout=1), layout.views, 7)
    packed = pack(_answers(range(COUNT), layout), layout)
    views = np.stack(
        [unpack(_rows(packed, layout, index), layout) for index in range(layout.views + 1)], axis=1
    )
    shown = {}
    for epoch in range(4):
        for inputs, y in data.training(Order(16, 0, range(epoch, epoch + 1)), view):
            pixels = inputs["image"]
            # One pixel is gray, most are the number.
            numbers = np.median(pixels.numpy().reshape(-1, 12), axis=1).astype(int)
            for number, answer in zip(numbers, y[TEACHER_LOGITS].numpy(), strict=True):
                alike = (views[number] == answer).all(axis=(1, 2))
                assert alike.sum() == 1 and not alike[-1]
                shown.setdefault(number, []).append(alike.argmax())
    # All views in turn, wherever the example begins, and again from there.
    assert len(shown) == data.training_count()
    for seen in shown.values():
        assert seen == [(seen[0] + epoch) % layout.views for epoch in range(4)]
    assert {seen[0] for seen in shown.values()} == set(range(layout.views))
    for inputs, y in data.validation(32):
        pixels = inputs["image"]
        packed = pack(_answers(pixels[:, 0, 0, 0].numpy(), layout), layout)
        expected = unpack(_rows(packed, layout, layout.views), layout)
        np.testing.assert_array_equal(y[TEACHER_LOGITS], expected)


def _student():
    inputs = keras.Input((2, 2, 3), dtype="uint8", name="image")
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))


def _fit(pattern, soft_targets, directory):
    data = ExampleData([pattern], SPEC, DATA, soft_targets)
    distiller = Distiller(None, _student(), teacher_weights=[1, 1])
    training.fit(
        distiller, data, training.Plan(TrainSettings(epochs=1), 0, str(directory / "logs"))
    )


def _one_line(caught, *words):
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_answers_to_other_examples(pattern, files, tmp_path):
    # Files of the same name and size, with other examples in them.
    soft_targets = _artifact(tmp_path / "soft", files, shift=1)
    with pytest.raises(DataError) as caught:
        _fit(pattern, soft_targets, tmp_path)
    _one_line(caught, "damaged", "the soft targets have other ids than the examples")


def _answer_file(directory):
    return sorted(directory.glob("*.answers"))[1]


def test_a_flipped_bit_is_found(pattern, files, tmp_path):
    directory = tmp_path / "soft"
    _artifact(directory, files)
    path = _answer_file(directory)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError) as caught:
        _fit(pattern, SoftTargetCache(str(directory)), tmp_path)
    _one_line(caught, "damaged")


def test_sound_soft_targets_are_learned_from(pattern, files, tmp_path):
    _fit(pattern, _artifact(tmp_path / "soft", files), tmp_path)


@pytest.mark.parametrize("damage", ["shorter", "longer", "missing"])
def test_a_file_of_another_size(files, tmp_path, damage):
    directory = tmp_path / "soft"
    _artifact(directory, files)
    path = _answer_file(directory)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "shorter" else content + b"\0")
    with pytest.raises(DataError) as caught:
        SoftTargetCache(str(directory))
    size = {"shorter": len(content) - 1, "longer": len(content) + 1, "missing": "none"}[damage]
    _one_line(caught, str(path), f"{len(content)} bytes", f"has {size}:", "run again")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"layout": {}, "files": []}'])
def test_an_unreadable_manifest(files, tmp_path, content):
    directory = tmp_path / "soft"
    _artifact(directory, files)
    manifest = directory / "manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    with pytest.raises(DataError) as caught:
        SoftTargetCache(str(directory))
    _one_line(caught, str(manifest), "no readable description of soft targets", "run again")


def test_other_files(pattern, files, tmp_path):
    soft_targets = _artifact(tmp_path / "soft", files[:2])
    with pytest.raises(DataError) as caught:
        ExampleData([pattern], SPEC, DATA, soft_targets)
    _one_line(caught, "2 other file(s)", "the 3 to train on", "run again")
    soft_targets = _artifact(tmp_path / "again", list(reversed(files)))
    with pytest.raises(DataError, match="other file"):
        soft_targets.check_fits(files)


def test_other_classes(files, tmp_path):
    soft_targets = _artifact(tmp_path / "soft", files)
    soft_targets.check_classes(5)
    with pytest.raises(DataError) as caught:
        soft_targets.check_classes(6)
    _one_line(caught, "of 5 classes, the data of 6")


def test_the_manifest_says_what_is_there(files, tmp_path):
    _artifact(tmp_path / "soft", files)
    content = json.loads((tmp_path / "soft" / "manifest.json").read_text())
    assert content["layout"] == {
        "classes": 5,
        "teachers": 2,
        "views": 3,
        "top_k": None,
        "dtype": "float16",
    }
    assert [entry["source"] for entry in content["files"]] == files
    assert [entry["examples"] for entry in content["files"]] == [40, 40, 40]
    # A record of TensorFlow's has 16 bytes around its content: its length and two checksums.
    assert {entry["bytes"] for entry in content["files"]} == {40 * (LAYOUT.record_bytes + 16)}


# -- Memory --


def test_writing_and_reading_stream(tmp_path):
    layout = Layout(100, 1, 1, None)
    ids = [_id(number) for number in range(100)]
    logits = _answers(range(100), layout)

    def peak(batches):
        directory = str(tmp_path / str(batches))
        tracemalloc.start()
        try:
            os.makedirs(directory)
            answered = ((list(ids), logits.copy()) for _ in range(batches))
            write_manifest(directory, layout, [write_file(directory, layout, "part", answered)])
            written = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            count = sum(1 for _ in SoftTargetCache(directory).records().as_numpy_iterator())
            return count, written, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is allocated once
    few, many = peak(3), peak(60)
    assert (few[0], many[0]) == (300, 6000)
    # Kept in memory, 5,700 more records would be 2.6 MB of float16.
    for less, more in zip(few[1:], many[1:], strict=True):
        assert more < less + 300_000
