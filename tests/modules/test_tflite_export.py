"""Tests of modules.tflite_export: real conversions of models that have seen some digits."""

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from modules import model_zoo, tflite_export
from modules.errors import ModelError
from modules.settings import ModelSettings
from modules.tflite_export import LiteRTModel, check_against_keras, convert

MODELS = {
    "cnn_small": {"filters": [8, 16]},
    "resnet_small": {"widths": [8, 16], "blocks": 1},
}
CALIBRATION, OTHERS = slice(0, 100), slice(1200, 1400)


@pytest.fixture(scope="module", params=MODELS)
def model(request, digit_pixels, digit_labels):
    keras.utils.set_random_seed(0)
    settings = ModelSettings(model=request.param, parameters=MODELS[request.param])
    built = model_zoo.build_model(settings, (8, 8, 1), 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(keras.optimizers.Adam(0.01), loss=loss, jit_compile=False)
    built.fit(digit_pixels[:1200], digit_labels[:1200], batch_size=50, epochs=4, verbose=0)
    return built


@pytest.fixture(scope="module")
def files(model, digit_pixels, tmp_path_factory):
    """Path of the file of each variant."""
    paths = {}
    for variant in ("float32", "int8"):
        path = tmp_path_factory.mktemp(variant) / "model.tflite"
        path.write_bytes(convert(model, variant, digit_pixels[CALIBRATION]))
        paths[variant] = str(path)
    return paths


def _interpreter(path):
    interpreter = Interpreter(model_path=path)
    interpreter.allocate_tensors()
    return interpreter


def _random_model(seed, **parameters):
    keras.utils.set_random_seed(seed)
    settings = ModelSettings(model="cnn_small", parameters={"filters": [4]} | parameters)
    return model_zoo.build_model(settings, (8, 8, 1), 10)


def _write(path, content):
    path.write_bytes(content)
    return str(path)


# -- what a file is --


def test_signature_and_raw_pixels_in(files):
    for variant, output in (("float32", np.float32), ("int8", np.int8)):
        interpreter = _interpreter(files[variant])
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
        }
        (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert takes["dtype"] == np.uint8 and takes["shape"].tolist() == [1, 8, 8, 1]
        assert gives["dtype"] == output and gives["shape"].tolist() == [1, 10]
        # 0.0 means: not quantised.
        assert takes["quantization"] == ((0.0, 0) if variant == "float32" else (1.0, 0))


def test_int8_file_computes_with_integers_only(files):
    dtypes = {
        variant: {
            np.dtype(tensor["dtype"]).name for tensor in _interpreter(path).get_tensor_details()
        }
        for variant, path in files.items()
    }
    assert "float32" in dtypes["float32"]
    assert dtypes["int8"] <= {"int8", "uint8", "int32"}  # int32: biases and shapes


def test_spec(files):
    spec = LiteRTModel(files["float32"]).spec()
    assert spec == {
        "input": {
            "name": "image",
            "shape": [1, 8, 8, 1],
            "dtype": "uint8",
            "quantization": None,
        },
        "output": {
            "name": "logits",
            "shape": [1, 10],
            "dtype": "float32",
            "quantization": None,
        },
    }
    spec = LiteRTModel(files["int8"]).spec()
    assert spec["input"]["quantization"] == {"scale": 1.0, "zero_point": 0}
    assert spec["output"]["dtype"] == "int8" and spec["output"]["quantization"]["scale"] > 0
    json.dumps(spec)  # plain Python numbers: it goes into a manifest


# -- what a file answers --


def test_float32_agrees_with_keras(model, files, digit_pixels):
    pixels = digit_pixels[OTHERS]
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(LiteRTModel(files["float32"]).logits(pixels), expected, atol=1e-4)


def test_int8_agrees_with_keras(model, files, digit_pixels, digit_labels):
    pixels = digit_pixels[OTHERS]
    expected = model.predict(pixels, verbose=0)
    accuracy = np.mean(expected.argmax(1) == digit_labels[OTHERS])
    assert accuracy > 0.8  # it has learnt something, so that its choices mean something
    actual = LiteRTModel(files["int8"]).logits(pixels)
    assert np.mean(actual.argmax(1) == expected.argmax(1)) > 0.97
    assert np.abs(actual - expected).mean() < 0.02 * np.ptp(expected)


def test_int8_logits_dequantised_by_hand(files, digit_pixels):
    interpreter = _interpreter(files["int8"])
    runner = interpreter.get_signature_runner("serving_default")
    (details,) = interpreter.get_output_details()
    scale, zero_point = details["quantization"]
    for example in digit_pixels[OTHERS][:5]:
        quantised = runner(image=example[None])["logits"][0]
        by_hand = [scale * (int(value) - zero_point) for value in quantised]
        logits = LiteRTModel(files["int8"]).logits(example[None])
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[0], by_hand, rtol=1e-5, atol=1e-7)


def test_threads_do_not_change_the_answer(files, digit_pixels):
    one, two = (LiteRTModel(files["int8"], threads).logits(digit_pixels[:5]) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


# -- calibration --


def test_ranges_come_from_the_calibration_examples_alone(tmp_path):
    model = _random_model(0)
    rng = np.random.default_rng(0)
    scales = []
    for brightest in (40, 255):
        given = rng.integers(0, brightest, (20, 8, 8, 1), dtype=np.uint8)
        content = convert(model, "int8", given)
        spec = LiteRTModel(_write(tmp_path / "model.tflite", content)).spec()
        # Dim examples too leave the input as it is: raw pixels.
        assert spec["input"]["quantization"] == {"scale": 1.0, "zero_point": 0}
        # By hand: 255 steps over all logits of these examples, with zero among them. The first
        # example is seen with a black and a white corner.
        given[0, 0, 0], given[0, -1, -1] = 0, 255
        logits = np.append(model.predict(given, verbose=0), 0)
        scales.append(spec["output"]["quantization"]["scale"])
        assert scales[-1] == pytest.approx(np.ptp(logits) / 255, rel=0.01)
    assert scales[0] != pytest.approx(scales[1], rel=0.05)


def test_calibration_leaves_the_examples_as_they_are(digit_pixels):
    given = digit_pixels[:3].copy()
    convert(_random_model(0), "int8", given)
    np.testing.assert_array_equal(given, digit_pixels[:3])


# -- the check --


def test_check_passes_the_models_own_files(model, files, digit_pixels):
    for variant, path in files.items():
        check_against_keras(LiteRTModel(path), model, variant, digit_pixels[OTHERS])


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("float32", r"float32 file of cnn_small differs from its original by \d\.\d+e"),
        ("int8", r"int8 file of cnn_small chooses its original's class on [\d.]+% of 200 tr.*80%"),
    ],
)
def test_check_refuses_the_file_of_another_model(files, digit_pixels, variant, message):
    with pytest.raises(ModelError, match=message):
        check_against_keras(
            LiteRTModel(files[variant]), _random_model(1), variant, digit_pixels[OTHERS]
        )


def test_check_refuses_values_that_are_not_finite(digit_pixels, tmp_path):
    model = _random_model(0)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, bias * np.nan])
    path = _write(tmp_path / "nan.tflite", convert(model, "float32", digit_pixels[:2]))
    with pytest.raises(ModelError, match="answers values that are not finite"):
        check_against_keras(LiteRTModel(path), model, "float32", digit_pixels[:2])


def test_check_refuses_a_file_that_does_not_take_raw_pixels(digit_pixels, tmp_path):
    inputs = keras.Input((8, 8, 1), dtype="float32")
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, logits, name="scaled_outside")
    path = _write(tmp_path / "model.tflite", _convert_plainly(model))
    with pytest.raises(ModelError, match=r"must take raw uint8 pixels, but its input is float32"):
        check_against_keras(LiteRTModel(path), model, "float32", digit_pixels[:2])


def _convert_plainly(model):
    function = tf.function(
        lambda image: model(image),
        input_signature=[tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)],
    )
    concrete = function.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert()


# -- what cannot be converted --


def _fft(x):
    return keras.ops.fft2((x[..., 0], keras.ops.zeros_like(x[..., 0])))[0]


@pytest.mark.parametrize(
    ("operation", "variant", "names"),
    [
        (lambda x: tf.math.erfinv(x / 2), "float32", "Erfinv"),
        (lambda x: tf.math.erfinv(x / 2), "int8", "Erfinv"),
        (_fft, "float32", "Complex, FFT2D"),
    ],
)
def test_operation_without_a_builtin_is_named(operation, variant, names, digit_pixels):
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(keras.layers.Lambda(operation)(x))
    model = keras.Model(inputs, keras.layers.Dense(10)(x), name="exotic")
    with pytest.raises(ModelError, match=rf"^exotic cannot become .*{variant}.*: {names} ") as e:
        convert(model, variant, digit_pixels[:2])
    assert "\n" not in str(e.value)


# -- the component's call --


def test_export_models_writes_every_file_with_its_spec(digit_pixels, tmp_path):
    student, teacher = _random_model(0), _random_model(1, filters=[8])
    labels = [f"digit {label}" for label in range(10)]
    tflite_export.export_models(
        {"student": (student, ["float32", "int8"]), "teacher": (teacher, ["float32"])},
        digit_pixels[:50],
        labels,
        str(tmp_path),
    )
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    folders = ("student/float32", "student/int8", "teacher/float32")
    assert written == {f"{f}/{name}" for f in folders for name in ("model.tflite", "spec.json")}
    for folder in folders:
        content = (tmp_path / folder / "model.tflite").read_bytes()
        spec = json.loads((tmp_path / folder / "spec.json").read_text())
        assert spec["labels"] == labels
        assert spec["sha256"] == hashlib.sha256(content).hexdigest()
        assert spec["size_bytes"] == len(content)
        assert spec["output"]["dtype"] == folder.split("/")[1]
    # Every role has its own model.
    for role, model in (("student", student), ("teacher", teacher)):
        lite = LiteRTModel(str(tmp_path / role / "float32" / "model.tflite"))
        expected = model.predict(digit_pixels[:5], verbose=0)
        np.testing.assert_allclose(lite.logits(digit_pixels[:5]), expected, atol=1e-4)
