"""Tests of modules.models.zoo: counts by hand, and the contract of every builder."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from modules.errors import ConfigError, ModelError
from modules.models import zoo
from modules.settings import ModelSettings

SMALL = {
    "resnet_small": {"widths": [4, 8], "blocks": 1},
    "cnn_small": {"filters": [4, 8]},
    "cnn_tutorial": {"filters": [4, 8], "units": 6},
}


def _build(name, shape=(8, 8, 1), classes=10, **parameters):
    return zoo.build_model(ModelSettings(model=name, parameters=parameters), shape, classes)


def _pixels(shape=(8, 8, 1), count=5):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def _same_weights(first, second):
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.fixture(scope="module")
def resnet50():
    return _build("resnet50", shape=(32, 32, 3), classes=7)


# -- the contract --


def _hold_to_the_contract(model, shape, classes):
    assert model.input_shape == (None, *shape)
    assert keras.backend.standardize_dtype(model.inputs[0].dtype) == "uint8"
    logits = model(_pixels(shape, 2), training=False).numpy()
    assert logits.shape == (2, classes) and logits.dtype == np.float32
    # Logits, not probabilities.
    assert logits.min() < 0 or not np.allclose(logits.sum(-1), 1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "classes"), [((8, 8, 1), 10), ((9, 14, 3), 2)])
def test_uint8_in_and_float32_logits_out(name, shape, classes):
    _hold_to_the_contract(_build(name, shape, classes, **SMALL[name]), shape, classes)


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_float32_under_mixed_precision(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _build(name, **SMALL[name])
        assert model.layers[2].compute_dtype == "float16"
        assert model(_pixels()).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)


def test_resnet50(resnet50):
    _hold_to_the_contract(resnet50, (32, 32, 3), 7)
    # 23,587,712 without its head is Keras' documented number; the head is 2048 x 7 + 7.
    assert resnet50.count_params() == 23_587_712 + 2048 * 7 + 7


@pytest.mark.parametrize("shape", [(16, 16, 3), (31, 64, 3), (32, 32, 1)])
def test_resnet50_refuses_small_or_grey_images(shape):
    with pytest.raises(ModelError, match=r"resnet50 needs.*at least 32x32 with 3 channels") as e:
        _build("resnet50", shape)
    assert str(shape) in str(e.value) and "data.image_size" in str(e.value)


# -- known numbers --


def test_cnn_small_counted_by_hand():
    # Convolutions without bias; 4 numbers per channel and batch normalisation; a dense layer.
    convolutions = 9 * 1 * 16 + 9 * 16 * 32
    assert _build("cnn_small").count_params() == convolutions + 4 * (16 + 32) + 32 * 10 + 10


def test_cnn_tutorial_counted_by_hand():
    # Same padding, pooled twice: 32x32 -> 8x8 with 64 channels.
    convolutions = (27 * 32 + 32) + (9 * 32 * 64 + 64)
    dense = (8 * 8 * 64 * 64 + 64) + (64 * 10 + 10)
    assert _build("cnn_tutorial", (32, 32, 3)).count_params() == convolutions + dense


def test_resnet_20_counted_by_hand():
    """The paper's 0.27 M, and its projection shortcuts (option B) at the two wider stages.

    With the parameter-free shortcuts of option A it would be 269,722.
    """
    model = _build("resnet_small", (32, 32, 3), widths=[16, 32, 64], blocks=3)
    convolutions = 27 * 16 + 9 * (6 * 16 * 16 + (16 * 32 + 5 * 32 * 32) + (32 * 64 + 5 * 64 * 64))
    scales_and_offsets = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    option_a = convolutions + scales_and_offsets + 64 * 10 + 10
    assert option_a == 269_722
    projections = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == option_a + projections == 272_474
    # The moving averages of every normalisation are saved too.
    assert model.count_params() == trainable + scales_and_offsets + 2 * (32 + 64)
    weighted = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len([layer for layer in weighted if layer.kernel_size == (3, 3)]) + 1 == 20


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("name", ["resnet_small", "cnn_small"])
def test_dropout_works_while_training_only(name, dropout):
    model = _build(name, **SMALL[name], dropout=dropout)
    # Without normalisation by the batch, what remains to differ is dropout.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    pixels = _pixels(count=20)
    calm = model(pixels, training=False).numpy()
    np.testing.assert_array_equal(calm, model(pixels, training=False))
    assert np.array_equal(model(pixels, training=True), calm) == (dropout == 0)


# -- pixels --


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [("resnet_small", -1, 1), ("cnn_small", -1, 1), ("cnn_tutorial", 0, 1)],
)
def test_pixels_are_scaled_inside(name, black, white):
    model = _build(name, **SMALL[name])
    scaled = keras.Model(model.inputs, model.get_layer("scale").output)
    pixels = np.zeros((1, 8, 8, 1), np.uint8)
    pixels[0, 0, 0, 0] = 255
    values = scaled(pixels).numpy()
    np.testing.assert_allclose(values[0, 0, 0, 0], white, atol=1e-6)
    np.testing.assert_allclose(values[0, 1:, :, 0], black, atol=1e-6)


def test_resnet50_prepares_pixels_as_its_weights_expect(resnet50):
    prepared = keras.Model(resnet50.inputs, resnet50.get_layer("preprocess").output)
    pixels = _pixels((32, 32, 3))
    expected = keras.applications.resnet50.preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(prepared(pixels), expected, atol=1e-4)


# -- names, parameters and own builders --


def test_models_are_checked_without_loading_keras():
    code = """
import sys
from modules.models import zoo
from modules.errors import ConfigError
from modules.settings import ModelSettings
zoo.check_model(ModelSettings(model="cnn_small", parameters={"filters": [1]}), "student")
try:
    zoo.check_model(ModelSettings(model="cnn_smal"), "student")
except ConfigError as error:
    print(error)
print(sorted({"keras", "tensorflow", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    error, heavy = done.stdout.splitlines()
    assert error == (
        "student.model must be one of cnn_small, cnn_tutorial, resnet50, resnet_small or "
        "package.module:function, got 'cnn_smal'; did you mean 'cnn_small'?"
    )
    assert heavy == "[]"


def test_unknown_parameter_names_the_nearest():
    settings = ModelSettings(model="resnet_small", parameters={"width": [4]})
    with pytest.raises(ConfigError) as caught:
        zoo.check_model(settings, "teacher")
    assert str(caught.value) == (
        "teacher.parameters: resnet_small takes widths, blocks, dropout, "
        "got 'width'; did you mean 'widths'?"
    )
    # What the run passes itself is not the user's to set.
    settings = ModelSettings(model="cnn_small", parameters={"classes": 3})
    with pytest.raises(ConfigError, match=r"got 'classes'$"):
        zoo.check_model(settings, "student")


def test_every_builder_passes_the_check_with_its_own_parameters():
    for name, parameters in SMALL.items():
        zoo.check_model(ModelSettings(model=name, parameters=parameters), "student")
    zoo.check_model(ModelSettings(model="anyones.module:function"), "student")


@pytest.fixture
def own_builders(tmp_path, monkeypatch):
    (tmp_path / "own_builders.py").write_text(
        """
import keras
from keras import layers

def good(input_shape, classes, units=3):
    inputs = keras.Input(input_shape, dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, layers.Dense(classes)(layers.Dense(units)(x)))

def one_class_too_many(input_shape, classes):
    return good(input_shape, classes + 1)

def image_out(input_shape, classes):
    inputs = keras.Input(input_shape, dtype="uint8")
    return keras.Model(inputs, layers.Dense(classes)(layers.Rescaling(1 / 255)(inputs)))

def other_input(input_shape, classes):
    return good((4, 4, 3), classes)

def no_model(input_shape, classes):
    return None
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_builders"
    sys.modules.pop("own_builders", None)


def test_own_builder(own_builders):
    model = _build(f"{own_builders}:good", units=5)
    assert model.count_params() == (64 * 5 + 5) + (5 * 10 + 10)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("one_class_too_many", r"logits of shape \(None, 10\).*but returns \(None, 11\)"),
        ("image_out", r"logits of shape \(None, 10\).*but returns \(None, 8, 8, 10\)"),
        ("no_model", r"logits of shape \(None, 10\).*but returns \(\)"),
        ("other_input", r"pixels of shape \(None, 8, 8, 1\), but takes \(None, 4, 4, 3\)"),
    ],
)
def test_own_builder_that_breaks_the_contract(own_builders, function, message):
    with pytest.raises(ModelError, match=rf"'{own_builders}:{function}' must .*{message}"):
        _build(f"{own_builders}:{function}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.models:build", "No module named 'no_such_package'"),
        ("modules.models.zoo:no_such_function", "no attribute 'no_such_function'"),
        (":build", "Empty module name"),
    ],
)
def test_own_builder_that_cannot_be_imported(name, reason):
    with pytest.raises(ConfigError, match=f"{name!r} must be a name of.*but: .*{reason}"):
        _build(name)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("cnn_small", {"filters": 16}, "'int' object is not iterable"),
        ("cnn_small", {"filters": [0]}, "strictly positive"),
        ("cnn_small", {"filtres": [4]}, "unexpected keyword argument 'filtres'"),
        ("resnet_small", {"widths": []}, "list index out of range"),
    ],
)
def test_parameters_that_cannot_be_built(name, parameters, reason):
    with pytest.raises(ModelError, match=rf"model '{name}' with parameters .*8, 8, 1.*{reason}"):
        _build(name, **parameters)


def test_resnet50_downloads_nothing(monkeypatch):
    def get_file(*args, **kwargs):
        raise RuntimeError("a download")

    monkeypatch.setattr(keras.src.applications.resnet.file_utils, "get_file", get_file)
    with pytest.raises(ModelError):
        _build("resnet50", (32, 32, 3), weights="imagenet")


# -- seeds --


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_first_weights(name):
    def seeded(seed):
        keras.utils.set_random_seed(seed)
        return _build(name, **SMALL[name])

    first = seeded(1)
    assert _same_weights(first, seeded(1))
    assert not _same_weights(first, seeded(2))
