"""Tests of modules.export.quantization: which layer is to blame, in real files."""

import keras
import numpy as np
import pytest

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.export import runtimes
from modules.export.quantization import layer_errors
from modules.export.tflite import convert
from modules.judge.schema import LayerError

pytestmark = pytest.mark.thorough

QUANTIZED = ("float16", "dynamic_range", "int8")
SHAPE = (8, 8, 3)
OUTPUT = OutputSpec(task="classification", size=10, classes=tuple("0123456789"))


@pytest.fixture(scope="module")
def examples():
    pixels = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    return {"image": pixels}


def _model(kind="plain"):
    # Names are counted from the beginning, whatever was built before. Every layer's weights are
    # many enough to be quantized by dynamic_range, but for the last one's.
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number in range(3):
        y = keras.layers.Conv2D(40, 3, padding="same", use_bias=False)(x)
        y = keras.layers.BatchNormalization()(y)
        y = keras.layers.ReLU(name=f"block{number + 1}")(y)
        x = keras.layers.Add()([x, y]) if kind == "residual" and number else y
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model({"image": image}, keras.layers.Dense(10, name="logits")(x), name=kind)


def _files(model, examples, directory, variants=QUANTIZED):
    paths = {}
    for variant in ("float32", *variants):
        path = directory / f"{variant}.tflite"
        path.write_bytes(convert(model, variant, examples, OUTPUT))
        paths[variant] = str(path)
    return paths


@pytest.fixture(
    scope="module",
    params=["plain", pytest.param("residual", marks=pytest.mark.thorough)],
)
def sound(request, examples, tmp_path_factory):
    """A model without a weak layer, and its files."""
    model = _model(request.param)
    return model, _files(model, examples, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("variant", QUANTIZED)
def test_every_layer_of_the_zoo_is_compared(sound, examples, variant):
    model, files = sound
    errors = layer_errors(files["float32"], files[variant], examples, limit=100)
    for error in errors:
        LayerError.model_validate(error)
    computing = {
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }
    named = {name for error in errors for name in error["layer"].split(" + ")}
    # The names are those of the Keras model.
    assert named <= {layer.name for layer in model.layers}
    if variant == "dynamic_range":  # leaves weights of fewer than 1024 values as they are
        computing = {
            name for name in computing if model.get_layer(name).kernel.shape.num_elements() >= 1024
        }
    assert computing <= named
    assert {error["operation"] for error in errors} >= {"CONV_2D"}
    values = [error["error"] for error in errors]
    assert values == sorted(values, reverse=True)
    # float16 has 11 bits, int8 has 8.
    low, high = (1e-5, 1e-3) if variant == "float16" else (1e-3, 0.1)
    assert low < max(values) < high
    assert layer_errors(files["float32"], files[variant], examples, limit=2) == errors[:2]


def test_a_file_is_not_far_from_itself(sound, examples):
    _, files = sound
    assert layer_errors(files["float32"], files["float32"], examples) == []


def test_the_last_layers_error_by_hand(examples, tmp_path):
    """One layer alone has an exact second formulation: the whole file."""
    inputs = keras.Input(SHAPE, dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.utils.set_random_seed(0)
    model = keras.Model({"image": inputs}, keras.layers.Dense(10)(x), name="linear")
    files = _files(model, examples, tmp_path, ["float16"])
    whole, half = (
        runtimes.load("litert", files[name]).answer(examples) for name in ("float32", "float16")
    )
    # Rescaling's factor is rounded too; what the dense layer is given is taken from the file.
    factor = np.float32(np.float16(1 / 255)) / np.float32(1 / 255)
    expected = whole * factor + model.layers[-1].bias.numpy() * (1 - factor)
    by_hand = np.sqrt(np.sum((half - expected) ** 2) / np.sum(expected**2))
    errors = layer_errors(files["float32"], files["float16"], examples)
    dense = next(error for error in errors if error["operation"] == "FULLY_CONNECTED")
    assert dense["error"] == pytest.approx(by_hand, rel=0.05)
    assert dense["layer"] == "logits"


@pytest.mark.parametrize(
    ("variant", "bad"),
    # dynamic_range leaves the 320 weights of `logits` as they are.
    [
        ("int8", "conv2d_1"),
        *(
            pytest.param(variant, bad, marks=pytest.mark.thorough)
            for variant, bad in (
                ("dynamic_range", "conv2d_1"),
                ("int8", "conv2d_2"),
                ("int8", "logits"),
            )
        ),
    ],
)
def test_the_layer_with_outlying_weights_comes_first(examples, tmp_path, variant, bad):
    # The weights of one input channel are 1000 times the others', and that channel is always
    # zero: the float32 file answers as before, but the others' weights now are below one step.
    model = _model()
    layers = {"conv2d_1": "block1", "conv2d_2": "block2", "logits": "block3"}
    normalization = model.layers[model.layers.index(model.get_layer(layers[bad])) - 1]
    assert isinstance(normalization, keras.layers.BatchNormalization)
    normalization.beta.assign([-1e3, *normalization.beta.numpy()[1:]])
    kernel = model.get_layer(bad).kernel
    values = kernel.numpy()
    values[..., 0, :] *= 1000
    kernel.assign(values)
    files = _files(model, examples, tmp_path, [variant])
    errors = layer_errors(files["float32"], files[variant], examples)
    assert bad in errors[0]["layer"].split(" + ")
    assert errors[0]["error"] > 0.3 > 5 * max((error["error"] for error in errors[1:]), default=0)


def test_one_channel_a_thousand_times_the_others(examples, tmp_path):
    # The next layer divides by 1000 again. One scale for all channels leaves nothing of the
    # others; the layer that needs both cannot be given its weights.
    model = _model()
    factors = np.ones(40, np.float32)
    factors[3] = 1000
    normalization = model.layers[model.layers.index(model.get_layer("block2")) - 1]
    normalization.gamma.assign(normalization.gamma.numpy() * factors)
    normalization.beta.assign(normalization.beta.numpy() * factors)
    following = model.get_layer("conv2d_2").kernel
    following.assign(following.numpy() / factors[:, None])
    files = _files(model, examples, tmp_path, ["int8"])
    first, second, *_ = layer_errors(files["float32"], files["int8"], examples)
    assert "conv2d_2" in first["layer"].split(" + ")
    assert first["error"] > 5 * second["error"]


def test_files_of_other_models_are_refused(examples, tmp_path):
    (tmp_path / "one").mkdir()
    one = _files(_model(), examples, tmp_path / "one", [])["float32"]
    (tmp_path / "two").mkdir()
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    other = keras.Model({"image": image}, keras.layers.Dense(10)(x))
    two = _files(other, examples, tmp_path / "two", [])["float32"]
    with pytest.raises(ModelError, match="must be variants of one model, but no layer"):
        layer_errors(one, two, examples)
