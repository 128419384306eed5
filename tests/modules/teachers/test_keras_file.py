"""modules.teachers.keras_file: files as people save them, fitted to the inputs and classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import softmax
from small_models import load_saved

from modules.data.spec import InputSpec, OutputSpec
from modules.distill.feature_taps import call_with_features, find_layer
from modules.errors import ConfigError, ModelError
from modules.models import storage
from modules.settings import TeacherSettings
from modules.teachers.keras_file import load_teacher

OUTPUT = OutputSpec(task="classification", size=3, classes=("a", "b", "c"))
BINARY = OutputSpec(task="binary", size=2, classes=("no", "yes"))
IMAGE = {
    "image": InputSpec(name="image", kind="image", feature="image", shape=(8, 8, 1), dtype="uint8")
}
TABLE = {
    name: InputSpec(name=name, kind="numeric", feature=name, shape=(), dtype="float32")
    for name in ("age", "size")
}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
ROWS = {name: np.arange(5, dtype=np.float32) + at for at, name in enumerate(TABLE)}


def save(model: keras.Model, directory: Path, name: str = "teacher.keras") -> str:
    path = str(directory / name)
    model.save(path)
    return path


def images(shape: Any, dtype: str = "float32", activation: Any = None, units: int = 3) -> Any:
    keras.utils.set_random_seed(1)
    given = keras.Input(shape, dtype=dtype, name="pixels")
    x = layers.Flatten(name="flat")(given)
    x = layers.Rescaling(1 / 255)(x) if dtype == "uint8" else x
    return keras.Model(given, layers.Dense(units, activation, name="last")(x))


def load(path: str, data: Any = IMAGE, output: OutputSpec = OUTPUT, **settings: Any) -> Any:
    return load_teacher(TeacherSettings(keras_file=path, **settings), data, output)


@pytest.mark.parametrize("name", ["teacher.keras", "teacher.h5"])
def test_a_model_that_fits_keeps_its_layers(name: str, tmp_path: Path) -> None:
    model = images((8, 8, 1), "uint8")
    found = load(save(model, tmp_path, name))
    assert {"flat", "last"} <= {layer.name for layer in found.layers}
    np.testing.assert_allclose(found({"image": PIXELS}), model(PIXELS), rtol=1e-5)


def test_its_own_size_channels_and_range(tmp_path: Path) -> None:
    model = images((4, 6, 3))
    found = load(save(model, tmp_path), pixel_range=[-1, 1])
    resized = keras.ops.image.resize(PIXELS.astype(np.float32), (4, 6))
    expected = model(np.repeat(resized, 3, axis=3) / 127.5 - 1)
    assert list(found.input) == ["image"]
    np.testing.assert_allclose(found({"image": PIXELS}), expected, rtol=1e-4, atol=1e-5)


def test_feature_methods_find_the_layers_within(tmp_path: Path) -> None:
    """Also in the model that TeacherImporter has written, from which a Distiller reads it."""
    settings = TeacherSettings(keras_file=save(images((4, 6, 3)), tmp_path))
    found = load_teacher(settings, IMAGE, OUTPUT)
    storage.save_model(found, settings, IMAGE, OUTPUT, str(tmp_path / "stored"))
    stored = load_saved(tmp_path / "stored")
    layer = find_layer(stored, "flat", "distill.methods.0.teacher_layer")
    _, (features,) = call_with_features(stored, [layer], {"image": PIXELS}, training=False)
    resized = keras.ops.image.resize(PIXELS.astype(np.float32), (4, 6))
    np.testing.assert_allclose(features, np.repeat(resized, 3, axis=3).reshape(5, -1), rtol=1e-5)


def test_features_become_columns(tmp_path: Path) -> None:
    given = keras.Input((2,), name="x")
    model = keras.Model(given, layers.Dense(3)(given))
    found = load(save(model, tmp_path), TABLE, inputs={"x": ["size", "age"]})
    matrix = np.stack([ROWS["size"], ROWS["age"]], axis=1)
    np.testing.assert_allclose(found(ROWS), model(matrix), rtol=1e-5)


@pytest.mark.parametrize("opaque", [False, True])
def test_probabilities_become_logits(opaque: bool, tmp_path: Path) -> None:
    """A softmax that the graph shows is taken off; of any other the logarithm is taken."""
    model = images((8, 8, 1), activation=None if opaque else "softmax")
    if opaque:
        answer = keras.ops.exp(model.output - keras.ops.logsumexp(model.output, 1, keepdims=True))
        model = keras.Model(model.input, answer)
    expected = np.array(model(PIXELS / np.float32(255)))
    found = load(save(model, tmp_path), returns="probabilities", pixel_range=[0, 1])
    logits = np.array(found({"image": PIXELS}))
    np.testing.assert_allclose(softmax(logits, 1), expected, rtol=1e-4)
    if not opaque:
        assert logits.max() > 0  # logarithms of probabilities never are


def test_the_probability_of_the_positive_class(tmp_path: Path) -> None:
    model = images((8, 8, 1), "uint8", "sigmoid", units=1)
    expected = np.array(model(PIXELS))[:, 0]
    found = load(save(model, tmp_path), output=BINARY, returns="probabilities")
    np.testing.assert_allclose(softmax(found({"image": PIXELS}), 1)[:, 1], expected, rtol=1e-5)


def test_other_classes_are_sorted_and_the_model_is_kept_whole(tmp_path: Path) -> None:
    model = images((8, 8, 1), "uint8", units=5)
    path = save(model, tmp_path)
    settings = TeacherSettings(keras_file=path, labels=("c", "x", "a", "b", "b"))
    teacher = load_teacher(settings, IMAGE, OUTPUT)
    logits = np.array(model(PIXELS))
    merged = np.logaddexp(logits[:, 3], logits[:, 4])
    expected = np.stack([logits[:, 2], merged, logits[:, 0]], axis=1)
    np.testing.assert_allclose(teacher({"image": PIXELS}), expected, rtol=1e-4, atol=1e-6)
    directory = str(tmp_path / "kept")
    storage.save_model(teacher, settings, IMAGE, OUTPUT, directory)
    Path(path).unlink()
    again = load_saved(directory)
    np.testing.assert_array_equal(again({"image": PIXELS}), teacher({"image": PIXELS}))
    assert storage.count_parameters(directory) == model.count_params()
    (Path(directory) / "model.keras").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model\.keras is not the file that"):
        load_saved(directory)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"labels": ("a", "b")}, ConfigError, "'c' is not among them"),
        ({"inputs": {"pixels": "picture"}}, ConfigError, "got 'picture'; the inputs are image"),
    ],
)
def test_what_does_not_fit_is_one_line(
    settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = save(images((8, 8, 1), "uint8"), tmp_path)
    with pytest.raises(error, match=message):
        load(path, **settings)


def test_other_shapes_and_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must return logits of shape \(None, 3\)"):
        load(save(images((8, 8, 1), "uint8", units=4), tmp_path))
    given = keras.Input((7,), name="x")
    path = save(keras.Model(given, layers.Dense(3)(given)), tmp_path, "seven.keras")
    with pytest.raises(ModelError, match=r"takes 'x' of shape \[7\], but the data have \[\]"):
        load(path, TABLE, inputs={"x": "age"})
    with pytest.raises(ModelError, match=r"must be a model that keras\.saving\.load_model"):
        load(str(tmp_path / "missing.keras"))


@pytest.mark.parametrize("name", ["teacher.keras", "teacher.h5"])
def test_code_in_a_file_is_not_run(name: str, tmp_path: Path) -> None:
    mark = str(tmp_path / "was_run")
    given = keras.Input((8, 8, 1), name="pixels")
    x = layers.Lambda(lambda pixels: [os.mkdir(mark), pixels][1])(layers.Flatten()(given))
    path = save(keras.Model(given, layers.Dense(3)(x)), tmp_path, name)
    os.rmdir(mark)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).startswith(
        f"teacher.keras_file must have layers alone, but {path!r} has code of its own in a layer"
    )
    assert not Path(mark).exists()
