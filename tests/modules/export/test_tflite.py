"""Tests of modules.export.tflite: real conversions of models that have seen some digits."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.errors import ModelError
from modules.export import flatbuffer, runtimes, tflite
from modules.export.descriptions import AS_SEEN, describe
from modules.export.fidelity import check_against_keras
from modules.settings import ImageFeature

VARIANTS = ("float32", "float16", "dynamic_range", "int8")
LABELS = tuple(f"Ziffer «{label}»" for label in range(10))
CALIBRATION, OTHERS = slice(0, 100), slice(1200, 1400)


def _spec(shape=(8, 8, 1)):
    image = InputSpec(name="image", kind="image", feature="image", shape=shape, dtype="uint8")
    return DataSpec(
        inputs=(image,),
        output=OutputSpec(task="classification", size=10, classes=LABELS),
        features={"image": ImageFeature(size=shape[:2], channels=shape[2])},
    )


SPEC = _spec()


def _images(pixels):
    return {"image": pixels}


def convert(model, variant, pixels):
    return tflite.convert(model, variant, _images(pixels), SPEC.output)


def _model(seed=0, filters=(4,), shape=(8, 8, 1), *, residual=False, flat=False):
    """Convolutions with BatchNormalization, on raw pixels."""
    keras.utils.set_random_seed(seed)
    image = keras.Input(shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    for width in filters:
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        if residual:
            y = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(x + keras.layers.BatchNormalization()(y))
    pool = keras.layers.Flatten() if flat else keras.layers.GlobalAveragePooling2D()
    logits = keras.layers.Dense(10, name="logits")(pool(x))
    return keras.Model({"image": image}, logits, name="cnn")


@pytest.fixture(
    scope="module", params=["plain", pytest.param("residual", marks=pytest.mark.thorough)]
)
def model(request, digit_pixels, digit_labels):
    built = _model(0, (8, 16), residual=request.param == "residual", flat=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(keras.optimizers.Adam(0.01), loss=loss, jit_compile=False)
    built.fit(_images(digit_pixels[:1200]), digit_labels[:1200], batch_size=50, epochs=4, verbose=0)
    return built


@pytest.fixture(scope="module")
def files(model, digit_pixels, tmp_path_factory):
    """Path of the file of each variant."""
    paths = {}
    for variant in VARIANTS:
        path = tmp_path_factory.mktemp(variant) / "model.tflite"
        path.write_bytes(convert(model, variant, digit_pixels[CALIBRATION]))
        paths[variant] = str(path)
    return paths


def _interpreter(path):
    interpreter = Interpreter(model_path=path)
    interpreter.allocate_tensors()
    return interpreter


def _write(path, content):
    path.write_bytes(content)
    return str(path)


# -- what a file is --


@pytest.mark.parametrize("variant", VARIANTS)
def test_signature_and_raw_pixels_in(files, variant):
    interpreter = _interpreter(files[variant])
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
    }
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert takes["dtype"] == np.uint8 and takes["shape"].tolist() == [1, 8, 8, 1]
    assert takes["shape_signature"].tolist() == [1, 8, 8, 1]  # -1 would be any batch
    assert gives["dtype"] == (np.int8 if variant == "int8" else np.float32)
    assert gives["shape"].tolist() == [1, 10]
    # 0.0 means: not quantized.
    assert takes["quantization"] == ((1.0, 0) if variant == "int8" else (0.0, 0))


def _parameters(path):
    """Every tensor that has its values in the file, by the schema alone."""
    model = flatbuffer.read(Path(path).read_bytes())
    names = {value: name for name, value in vars(schema.TensorType).items()}
    return [
        SimpleNamespace(
            dtype=names[tensor.type],
            shape=list(tensor.shape),
            size=int(np.prod(tensor.shape)),
            scales=list([] if tensor.quantization.scale is None else tensor.quantization.scale),
            axis=tensor.quantization.quantizedDimension,
        )
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None
    ]


def test_float16_file_holds_float16_and_is_smaller(model, files):
    whole, half = (_parameters(files[variant]) for variant in ("float32", "float16"))
    assert {each.dtype for each in whole} == {"FLOAT32", "INT32"}  # INT32: shapes and axes
    assert {each.dtype for each in half} == {"FLOAT16", "INT32"}
    count = sum(each.size for each in whole if each.dtype == "FLOAT32")
    assert count == sum(each.size for each in half if each.dtype == "FLOAT16")
    saved = Path(files["float32"]).stat().st_size - Path(files["float16"]).stat().st_size
    assert saved > count  # two bytes each, less the operations that widen them again
    # It computes in float32.
    outputs = _interpreter(files["float16"]).get_tensor_details()
    assert {np.dtype(each["dtype"]).name for each in outputs} >= {"float16", "float32"}


def test_dynamic_range_file_holds_int8_weights_of_one_scale_per_channel(files):
    parameters = _parameters(files["dynamic_range"])
    quantized = [each for each in parameters if each.dtype == "INT8"]
    # The converter leaves weights of fewer than 1024 values as they are.
    assert quantized and {each.size >= 1024 for each in quantized} == {True}
    assert all(each.size < 1024 for each in parameters if each.dtype == "FLOAT32")
    for each in quantized:
        assert len(each.scales) == each.shape[each.axis] > 1 and len(set(each.scales)) > 1
    answer = _interpreter(files["dynamic_range"]).get_output_details()[0]
    assert answer["dtype"] == np.float32


def test_int8_file_computes_with_integers_only(files):
    dtypes = {
        variant: {
            np.dtype(tensor["dtype"]).name for tensor in _interpreter(path).get_tensor_details()
        }
        for variant, path in files.items()
    }
    assert all("float32" in dtypes[variant] for variant in VARIANTS[:3])
    assert dtypes["int8"] <= {"int8", "uint8", "int32"}  # int32: biases and shapes


def test_int8_weights_have_one_scale_per_channel(files):
    parameters = _parameters(files["int8"])
    kernels = [each for each in parameters if each.dtype == "INT8" and len(each.shape) == 4]
    assert len(kernels) >= 2
    for each in kernels:
        assert len(each.scales) == each.shape[0] > 1 and len(set(each.scales)) > 1
        assert each.axis == 0  # TFLite's kernels are [out, height, width, in]
    (dense,) = (each for each in parameters if len(each.shape) == 2)
    assert dense.dtype == "INT8" and len(dense.scales) == 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_file_answers_any_batch_once_it_is_resized(files, digit_pixels, variant):
    pixels = digit_pixels[OTHERS][:7]
    interpreter = Interpreter(model_path=files[variant])
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(takes["index"], pixels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(takes["index"], pixels)
    interpreter.invoke()
    answer = interpreter.get_tensor(gives["index"])
    assert answer.shape == (7, 10)
    scale, zero_point = gives["quantization"]
    logits = scale * (answer.astype(np.float64) - zero_point) if scale else answer
    np.testing.assert_allclose(
        logits,
        runtimes.load("litert", files[variant]).answer(_images(pixels)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_spec(files):
    spec = describe(_content(files["float32"]), SPEC)
    assert spec == {
        "inputs": [
            {
                "name": "image",
                "shape": [1, 8, 8, 1],
                "dtype": "uint8",
                "quantization": None,
                "description": "The image image as raw pixels, not scaled: 8 rows of 8 pixels "
                "from the top left, stretched to this size, each one gray value from 0 to 255. "
                + AS_SEEN,
            }
        ],
        "output": {
            "name": "logits",
            "shape": [1, 10],
            "dtype": "float32",
            "quantization": None,
        },
        "task": "classification",
        "labels": list(LABELS),
    }
    spec = describe(_content(files["int8"]), SPEC)
    assert spec["inputs"][0]["quantization"] == {"scale": 1.0, "zero_point": 0}
    assert spec["output"]["dtype"] == "int8" and spec["output"]["quantization"]["scale"] > 0
    json.dumps(spec)  # plain Python numbers: it goes into a manifest


# -- what a file answers --


@pytest.mark.parametrize(("variant", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_floats_agree_with_keras(model, files, digit_pixels, variant, tolerance):
    pixels = digit_pixels[OTHERS]
    expected = model.predict(_images(pixels), verbose=0)
    error = np.abs(runtimes.load("litert", files[variant]).answer(_images(pixels)) - expected).max()
    assert error < tolerance * np.abs(expected).max()
    # What was rounded is seen.
    assert (error > 1e-5 * np.abs(expected).max()) == (variant == "float16")


@pytest.mark.parametrize("variant", ["dynamic_range", "int8"])
def test_integers_agree_with_keras(model, files, digit_pixels, digit_labels, variant):
    pixels = digit_pixels[OTHERS]
    expected = model.predict(_images(pixels), verbose=0)
    accuracy = np.mean(expected.argmax(1) == digit_labels[OTHERS])
    assert accuracy > 0.8  # it has learned something, so that its choices mean something
    actual = runtimes.load("litert", files[variant]).answer(_images(pixels))
    assert np.mean(actual.argmax(1) == expected.argmax(1)) > 0.97
    assert 0 < np.abs(actual - expected).mean() < 0.02 * np.ptp(expected)


def test_what_int8_reverses_keeps_its_scale(tmp_path):
    # RGB to BGR as resnet50 does it. REVERSE_V2 copies bytes, but the converter gives its output
    # another scale than its input.
    inputs = keras.Input((8, 8, 3), dtype="uint8", name="image")
    means = np.float32([103.939, 116.779, 123.68])
    x = keras.layers.Lambda(
        lambda pixels: keras.ops.flip(keras.ops.cast(pixels, "float32"), -1) - means,
        output_shape=(8, 8, 3),
    )(inputs)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(x))
    keras.utils.set_random_seed(0)
    model = keras.Model({"image": inputs}, keras.layers.Dense(10)(x))
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    path = _write(tmp_path / "model.tflite", convert(model, "int8", pixels))
    expected = model.predict(_images(pixels), verbose=0)
    error = np.abs(runtimes.load("litert", path).answer(_images(pixels)) - expected).max()
    assert error < 0.05 * np.abs(expected).max()


def test_int8_logits_dequantized_by_hand(files, digit_pixels):
    interpreter = _interpreter(files["int8"])
    runner = interpreter.get_signature_runner("serving_default")
    (details,) = interpreter.get_output_details()
    scale, zero_point = details["quantization"]
    for example in digit_pixels[OTHERS][:5]:
        quantized = runner(image=example[None])["logits"][0]
        by_hand = [scale * (int(value) - zero_point) for value in quantized]
        logits = runtimes.load("litert", files["int8"]).answer(_images(example[None]))
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[0], by_hand, rtol=1e-5, atol=1e-7)


def test_threads_do_not_change_the_answer(files, digit_pixels):
    one, two = (
        runtimes.load("litert", files["int8"], threads).answer(_images(digit_pixels[:5]))
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


# -- calibration --


def test_ranges_come_from_the_calibration_examples_alone(tmp_path):
    model = _model(0)
    rng = np.random.default_rng(0)
    scales = []
    for brightest in (40, 255):
        given = rng.integers(0, brightest, (20, 8, 8, 1), dtype=np.uint8)
        content = convert(model, "int8", given)
        spec = describe(content, SPEC)
        # Dim examples too leave the input as it is: raw pixels.
        assert spec["inputs"][0]["quantization"] == {"scale": 1.0, "zero_point": 0}
        # By hand: 255 steps over all logits of these examples, with zero among them. The first
        # example is seen with a black and a white corner.
        given[0, 0, 0], given[0, -1, -1] = 0, 255
        logits = np.append(model.predict(_images(given), verbose=0), 0)
        scales.append(spec["output"]["quantization"]["scale"])
        assert scales[-1] == pytest.approx(np.ptp(logits) / 255, rel=0.01)
    assert scales[0] != pytest.approx(scales[1], rel=0.05)


def test_calibration_leaves_the_examples_as_they_are(digit_pixels):
    given = digit_pixels[:3].copy()
    convert(_model(0), "int8", given)
    np.testing.assert_array_equal(given, digit_pixels[:3])


# -- the check --


def test_check_passes_the_models_own_files(model, files, digit_pixels):
    for variant, path in files.items():
        check_against_keras(path, model, variant, _images(digit_pixels[OTHERS]), SPEC)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("float32", r"float32 file of cnn differs from its original by \d\.\d+e.*1e-03"),
        ("float16", r"float16 file of cnn differs from its original by \d\.\d+e.*1e-02"),
        ("dynamic_range", r"dynamic_range file of cnn chooses .* leave dynamic_range out"),
        ("int8", r"int8 file of cnn chooses its original's class on [\d.]+% of 200 tr.*80%"),
    ],
)
def test_check_refuses_the_file_of_another_model(files, digit_pixels, variant, message):
    with pytest.raises(ModelError, match=message):
        check_against_keras(files[variant], _model(1), variant, _images(digit_pixels[OTHERS]), SPEC)


def test_check_refuses_values_that_are_not_finite(digit_pixels, tmp_path):
    model = _model(0)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, bias * np.nan])
    path = _write(tmp_path / "nan.tflite", convert(model, "float32", digit_pixels[:2]))
    with pytest.raises(ModelError, match="answers values that are not finite"):
        check_against_keras(path, model, "float32", _images(digit_pixels[:2]), SPEC)


def test_check_refuses_a_file_that_does_not_take_raw_pixels(digit_pixels, tmp_path):
    inputs = keras.Input((8, 8, 1), dtype="float32", name="image")
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    model = keras.Model({"image": inputs}, logits, name="scaled_outside")
    path = _write(tmp_path / "model.tflite", convert(model, "float32", digit_pixels[:2]))
    with pytest.raises(ModelError, match=r"must take image as raw uint8, but its input is float32"):
        check_against_keras(path, model, "float32", _images(digit_pixels[:2]), SPEC)


# -- what cannot be converted --


def _fft(x):
    return keras.ops.fft2((x[..., 0], keras.ops.zeros_like(x[..., 0])))[0]


def _with(operation):
    inputs = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten()(keras.layers.Lambda(operation, name="odd_1")(x))
    return keras.Model({"image": inputs}, keras.layers.Dense(10)(x), name="exotic")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("operation", "names"),
    # The second is what TensorFlow calls a custom operation; the first needs Flex.
    [(lambda x: tf.math.erfinv(x / 2), "Erfinv"), (_fft, "Complex, FFT2D")],
    ids=["flex", "custom"],
)
def test_operation_without_a_builtin_is_named(operation, names, variant, digit_pixels):
    with pytest.raises(ModelError, match=rf"^exotic cannot become .*{variant}.*: {names} ") as e:
        convert(_with(operation), variant, digit_pixels[:2])
    assert "\n" not in str(e.value)


def test_operation_that_has_no_integers_is_named(digit_pixels, tmp_path):
    # The converter would put it between DEQUANTIZE and QUANTIZE.
    model = _with(lambda x: keras.ops.sin(x * 5))
    with pytest.raises(
        ModelError, match=r"^exotic cannot .*int8.* no integer .* for: SIN in .*odd_1 \(L"
    ):
        convert(model, "int8", digit_pixels[:20])
    path = _write(tmp_path / "model.tflite", convert(model, "dynamic_range", digit_pixels[:20]))
    check_against_keras(path, model, "dynamic_range", _images(digit_pixels[:20]), SPEC)


def test_whole_numbers_of_a_users_function_are_the_reason():
    whole = keras.Input((4,), dtype="int32", name="counts")
    x = keras.ops.cast(whole, "float32")
    model = keras.Model({"counts": whole}, keras.layers.Dense(10)(x), name="table")
    counts = {"counts": np.arange(80, dtype=np.int32).reshape(20, 4)}
    with pytest.raises(ModelError, match=r"for: CAST .*, or return counts as float32 from"):
        tflite.convert(model, "int8", counts, SPEC.output)


# -- the component's call --


def test_export_models_writes_every_file_with_its_spec(digit_pixels, tmp_path):
    student, teacher = _model(0), _model(1, [8])
    tflite.export_models(
        {"student": (student, VARIANTS), "teacher": (teacher, ["float32"])},
        _images(digit_pixels[:50]),
        SPEC,
        str(tmp_path),
    )
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    folders = [*(f"student/{variant}" for variant in VARIANTS), "teacher/float32"]
    assert written == {f"{f}/{name}" for f in folders for name in ("model.tflite", "spec.json")}
    for folder in folders:
        content = (tmp_path / folder / "model.tflite").read_bytes()
        spec = json.loads((tmp_path / folder / "spec.json").read_text())
        assert spec["labels"] == list(LABELS)
        assert spec.pop("sha256") == hashlib.sha256(content).hexdigest()
        assert spec.pop("size_bytes") == len(content)
        assert spec["output"]["dtype"] == ("int8" if folder.endswith("int8") else "float32")
        # The file brings the rest itself, and still is a model.
        path = str(tmp_path / folder / "model.tflite")
        assert flatbuffer.embedded_spec(path) == spec
        described = schema.Model.GetRootAs(content).Description().decode()
        assert described == spec["inputs"][0]["description"]
        _interpreter(path).get_signature_runner("serving_default")
    # Every role has its own model.
    for role, model in (("student", student), ("teacher", teacher)):
        lite = runtimes.load("litert", str(tmp_path / role / "float32" / "model.tflite"))
        expected = model.predict(_images(digit_pixels[:5]), verbose=0)
        np.testing.assert_allclose(lite.answer(_images(digit_pixels[:5])), expected, atol=1e-4)


def test_a_file_that_cannot_be_made_is_left_out_unless_it_is_needed(digit_pixels, tmp_path, caplog):
    models = {
        "student": (_with(lambda x: keras.ops.sin(x * 5)), ["float32", "int8"]),
        "teacher": (_with(lambda x: tf.math.erfinv(x / 2)), ["float32"]),
    }
    given = (models, _images(digit_pixels[:5]), SPEC)
    tflite.export_models(*given, str(tmp_path / "some"), needed=["float32"])
    written = [path.parent.relative_to(tmp_path) for path in tmp_path.rglob("model.tflite")]
    assert list(map(str, written)) == ["some/student/float32"]
    assert "no integer operations for: SIN in the layer odd_1 (Lambda)" in caplog.text
    assert "for: Erfinv in the layer odd_1 (Lambda)" in caplog.text
    for needed in (["float32", "int8"], None):
        with pytest.raises(ModelError, match="SIN"):
            tflite.export_models(*given, str(tmp_path / "all"), needed)


@pytest.mark.parametrize("content", [b"", b"something else entirely", None])
def test_file_without_a_specification_is_refused(files, content, tmp_path):
    # None: as converted, before the specification is put into it.
    path = _write(tmp_path / "f", content) if content is not None else files["float32"]
    with pytest.raises(ModelError, match="must be a TFLite file of this pipeline"):
        flatbuffer.embedded_spec(path)


def _content(path):
    with open(path, "rb") as file:
        return file.read()
