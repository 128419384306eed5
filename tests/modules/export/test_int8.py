"""Tests of what makes int8 files hold: float first layers, corrected biases, plain shapes."""

import keras
import numpy as np
import pytest
from image_data import image_spec

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.errors import ModelError
from modules.export import flatbuffer, runtimes
from modules.export.bias import shift_answers
from modules.export.descriptions import AS_INT8, describe
from modules.export.fidelity import check_against_keras
from modules.export.float_layers import float_operations
from modules.export.quantization import layer_errors
from modules.export.tflite import Conversion, convert

IMAGES = image_spec()
COUNT = 300


def _cnn(**last):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for width in (6, 8):
        x = keras.layers.Conv2D(width, 3, activation="relu", padding="same")(x)
    x = keras.layers.Dense(10, bias_initializer="random_normal", **last)(keras.layers.Flatten()(x))
    return keras.Model({"image": image}, x, name="cnn")


@pytest.fixture(scope="module")
def given(digit_pixels):
    return {"image": digit_pixels[:COUNT]}


@pytest.fixture(scope="module")
def files(given, tmp_path_factory):
    """A model; the paths of its file float32 and of int8 files that take images in two ways."""
    model, directory = _cnn(), tmp_path_factory.mktemp("files")
    paths = {}
    for dtype in ("uint8", "int8"):
        with Conversion(model, IMAGES.output, dtype) as conversion:
            contents = {variant: conversion.file(variant, given) for variant in ("float32", "int8")}
        for variant, content in contents.items():
            paths[variant, dtype] = directory / f"{variant}_{dtype}"
            paths[variant, dtype].write_bytes(content)
    return model, {key: str(path) for key, path in paths.items()}


def _answer(path, given):
    return runtimes.load("litert", str(path)).answer(given)


def _operations(path):
    with open(path, "rb") as file:
        model = flatbuffer.read(file.read())
    return [flatbuffer.operation_name(model, each) for each in model.subgraphs[0].operators]


# -- biases --


def test_int8_answers_on_average_as_the_model(files, given, tmp_path, monkeypatch):
    model, paths = files
    monkeypatch.setattr(Conversion, "_corrected", lambda self, content, calibration: content)
    (tmp_path / "int8").write_bytes(convert(model, "int8", given, IMAGES.output))
    expected = model.predict(given, verbose=0)
    before, after = (
        np.abs((_answer(path, given) - expected).mean(0)).mean()
        for path in (tmp_path / "int8", paths["int8", "uint8"])
    )
    assert after < 0.5 * before


def test_shifted_answers(files, given, tmp_path):
    _, paths = files
    with open(paths["int8", "uint8"], "rb") as file:
        content = file.read()
    before = _answer(paths["int8", "uint8"], given)
    shift = np.linspace(-0.05, 0.05, 10) * np.ptp(before)
    (tmp_path / "shifted").write_bytes(shift_answers(content, shift))
    moved = _answer(tmp_path / "shifted", given) - before
    # But for answers that lie at the end of the range.
    np.testing.assert_allclose(np.median(moved, 0), shift, atol=np.ptp(before) / 200)


def test_a_file_without_biases_at_its_end_stays_as_it_is(given):
    content = convert(_cnn(use_bias=False), "int8", given, IMAGES.output)
    assert shift_answers(content, np.ones(10)) == content


# -- numbers --


def _table(units=8, outlier=30.0):
    """Numbers, and a category; the number with an outlier is one that the model does not use."""
    names = [f"n{at}" for at in range(6)]
    numbers = [
        InputSpec(name=name, kind="numeric", feature=name, shape=(), dtype="float32")
        for name in names
    ]
    kind = InputSpec(
        name="kind", kind="category", feature="kind", shape=(), dtype="int32", vocabulary_size=9
    )
    output = OutputSpec(task="regression", size=1, mean=0, deviation=1)
    keras.utils.set_random_seed(0)
    inputs = {each.name: keras.Input((), dtype=each.dtype, name=each.name) for each in numbers}
    inputs["kind"] = keras.Input((), dtype="int32", name="kind")
    scaled = [keras.ops.reshape(inputs[name] - 0.5, (-1, 1)) for name in names]
    embedded = keras.layers.Embedding(9, 4)(inputs["kind"])
    x = keras.layers.Concatenate()([*scaled, embedded])
    first = keras.layers.Dense(units, activation="relu")
    x = keras.layers.Dense(8, activation="relu")(first(x))
    first.kernel.assign(first.kernel.numpy() * (np.arange(10) > 0)[:, None])
    model = keras.Model(inputs, keras.layers.Dense(1)(x), name="table")
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=COUNT).astype(np.float32) for name in names}
    given["n0"][7] = outlier
    given["kind"] = rng.integers(0, 9, COUNT, dtype=np.int32)
    return DataSpec(inputs=(*numbers, kind), output=output), model, given


def test_an_outlier_costs_the_other_numbers_nothing(tmp_path):
    spec, model, given = _table()
    content = convert(model, "int8", given, spec.output)
    assert float_operations(content) == {}
    (tmp_path / "int8").write_bytes(content)
    usual = np.arange(COUNT) != 7
    expected = model.predict(given, verbose=0)[usual]
    error = (_answer(tmp_path / "int8", given)[usual] - expected).std()
    # With one scale for the numbers, steps would be of 30/255: 3 % of a deviation in each of them.
    assert error < 0.35 * _error_with_rounded_numbers(model, given, usual)


def _error_with_rounded_numbers(model, given, usual):
    """Of the model, where numbers alone are rounded to 255 steps of their common range."""
    step = (30 + 4) / 255
    rough = {
        name: values if name == "kind" else np.round(values / step).astype(np.float32) * step
        for name, values in given.items()
    }
    return (model.predict(rough, verbose=0) - model.predict(given, verbose=0))[usual].std()


def test_a_regression_answers_with_more_than_256_values(tmp_path):
    # Of a text: nothing else is in float.
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(ids))
    x = keras.layers.Dense(16, activation="relu")(x)
    answer = keras.layers.Dense(1, bias_initializer="ones")(x) * 40.0 + 2000.0
    model = keras.Model({"ids": ids}, answer, name="text")
    given = {"ids": np.random.default_rng(0).integers(0, 50, (2000, 6), dtype=np.int32)}
    output = OutputSpec(task="regression", size=1, mean=2000, deviation=40)
    (tmp_path / "int8").write_bytes(convert(model, "int8", given, output))
    answers, expected = _answer(tmp_path / "int8", given), model.predict(given, verbose=0)
    assert len(np.unique(answers)) > 256
    assert abs(np.mean(answers - expected)) < 0.02 * expected.std()


def test_a_large_first_layer_is_quantized(tmp_path):
    spec, model, given = _table(units=2000, outlier=2.0)
    content = convert(model, "int8", given, spec.output)
    weights = 10 * 2000 + 2000 * 8
    assert len(content) < 2 * weights  # one byte each, and not four


# -- shapes --


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_no_shape_is_computed(files, variant):
    operations = _operations(files[1][variant, "uint8"])
    assert "RESHAPE" in operations
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & {*operations}


# -- int8 in --


def test_int8_pixels_are_described(files):
    with open(files[1]["int8", "int8"], "rb") as file:
        (image,) = describe(file.read(), IMAGES)["inputs"]
    assert (image["dtype"], image["shape"]) == ("int8", [1, 8, 8, 1])
    assert image["quantization"] == {"scale": 1.0, "zero_point": -128}
    assert image["description"].endswith(AS_INT8)
    with open(files[1]["int8", "uint8"], "rb") as file:
        (image,) = describe(file.read(), IMAGES)["inputs"]
    assert image["dtype"] == "uint8" and AS_INT8 not in image["description"]


def test_int8_pixels_are_answered_as_raw_ones(files, given):
    model, paths = files
    np.testing.assert_array_equal(
        _answer(paths["int8", "int8"], given), _answer(paths["int8", "uint8"], given)
    )
    assert "QUANTIZE" in _operations(paths["int8", "uint8"])
    assert "QUANTIZE" not in _operations(paths["int8", "int8"])
    check_against_keras(paths["int8", "int8"], model, "int8", given, IMAGES)
    some = {"image": given["image"][:20]}
    errors = [
        layer_errors(paths["float32", dtype], paths["int8", dtype], some)
        for dtype in ("int8", "uint8")
    ]
    assert errors[0] and errors[0] == errors[1]
    # The other variants take raw pixels.
    assert _operations(paths["float32", "int8"]) == _operations(paths["float32", "uint8"])


def test_images_that_are_not_quantized_at_once_are_refused(given):
    content = convert(_cnn(), "float32", given, IMAGES.output)
    with pytest.raises(ModelError, match=r"export.int8_input must be uint8 .* uses image before"):
        flatbuffer.take_raw_pixels(content, ["image"], "int8")
