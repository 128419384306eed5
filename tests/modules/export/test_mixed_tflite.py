"""modules.export.tflite on inputs of every kind and on every task, with real conversions."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from mixed_models import INPUTS, LENGTH, OUTPUTS, PHOTO, YEAR, build, data_spec, examples

from modules.data.spec import DataSpec
from modules.errors import ModelError
from modules.export import flatbuffer, float_layers, runtimes
from modules.export.descriptions import AS_SEEN, describe, describe_input
from modules.export.fidelity import check_against_keras
from modules.export.tflite import convert
from modules.settings import CategoryFeature, NumericFeature

pytestmark = pytest.mark.thorough

VARIANTS = ("float32", "float16", "dynamic_range", "int8")
EXAMPLES = examples(200)


@pytest.fixture(scope="module", params=[task for task in OUTPUTS if task != "binary"])
def exported(request, tmp_path_factory):
    """A specification, its model, and the files of all variants."""
    spec = data_spec(request.param)
    model = build(spec)
    directory = tmp_path_factory.mktemp(request.param)
    files = {}
    for variant in VARIANTS:
        path = directory / f"{variant}.tflite"
        path.write_bytes(convert(model, variant, EXAMPLES, spec.output))
        files[variant] = str(path)
    return spec, model, files


@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_are_as_they_come(exported, variant):
    spec, _, files = exported
    interpreter = Interpreter(model_path=files[variant])
    output = "values" if spec.output.task == "regression" else "logits"
    signature = interpreter.get_signature_list()["serving_default"]
    assert sorted(signature["inputs"]) == [each.name for each in INPUTS]
    assert signature["outputs"] == [output]
    assert len(interpreter.get_output_details()) == 1
    with open(files[variant], "rb") as file:
        described = describe(file.read(), spec)
    raw = {"scale": 1.0, "zero_point": 0} if variant == "int8" else None
    assert [
        (each["name"], each["shape"], each["dtype"], each["quantization"])
        for each in described["inputs"]
    ] == [
        ("colors", [1, 2], "int32", None),
        ("petal length (cm)", [1], "float32", None),
        ("photo", [1, 8, 8, 3], "uint8", raw),
        ("review", [1, 6], "int32", None),
        ("year", [1], "float32", None),
    ]
    integers = variant == "int8" and output == "logits"
    assert described["output"]["dtype"] == ("int8" if integers else "float32")
    assert described["output"]["name"] == output
    assert (described["task"], described["labels"]) == (spec.output.task, [*spec.output.classes])


@pytest.mark.parametrize(
    # In the label's deviations, or the logits' range: numbers of any size come in and go out.
    ("variant", "tolerance"),
    [("float32", 1e-5), ("float16", 2e-3), ("dynamic_range", 1e-2), ("int8", 0.05)],
)
def test_files_answer_as_keras(exported, variant, tolerance):
    spec, model, files = exported
    expected = model.predict(EXAMPLES, verbose=0)
    unit = spec.output.deviation if spec.output.task == "regression" else np.ptp(expected)
    answers = runtimes.load("litert", files[variant], 1, 10).answer(EXAMPLES)
    # float32 itself has steps of 1e-4 at 2010.
    assert np.abs(answers - expected).max() < (tolerance + 1e-4) * unit
    assert expected.std() > 0.1 * unit


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_check_passes_the_right_file_and_no_other(exported, variant):
    spec, model, files = exported
    check_against_keras(files[variant], model, variant, EXAMPLES, spec)
    words = {
        "classification": "chooses its original's class on .*%",
        "multilabel": "differs from its original by .*% of the logits' root mean square .* 25% is",
        "regression": "differs from its original by .*% of the label's deviation .* 25% is right",
    }[spec.output.task]
    if variant in ("float32", "float16"):
        unit = "label's deviation" if spec.output.task == "regression" else "largest logit"
        words = f"differs from its original by .* of the {unit}"
    with pytest.raises(ModelError, match=rf"^the {variant} file of mixed {words}"):
        check_against_keras(files[variant], build(spec, seed=1), variant, EXAMPLES, spec)


def test_int8_computes_in_float_where_numbers_come_and_go(exported):
    _, _, files = exported
    with open(files["int8"], "rb") as file:
        content = file.read()
    assert float_layers.float_operations(content) == {}
    model = flatbuffer.read(content)
    border = flatbuffer.border(model, model.subgraphs[0].inputs)
    assert {flatbuffer.operation_name(model, each) for each in border} >= {"MUL", "ADD"}
    with open(files["float32"], "rb") as file:
        everything = float_layers.float_operations(file.read())
    # Its dense layers take numbers, or answer with one, so that they may stay in an int8 file.
    assert {"CONV_2D", "GATHER"} <= set(everything)


def test_a_number_that_float16_cannot_hold():
    # 123456.5 is infinite in float16, in which the converter keeps every constant.
    spec = data_spec(inputs=(LENGTH,))
    numbers = examples(50, spec.inputs)
    model = build(spec)
    content = convert(model, "float16", numbers, spec.output)
    interpreter = Interpreter(model_content=content)
    answers = [
        interpreter.get_signature_runner()(**{LENGTH.name: value[None]})["logits"][0]
        for value in numbers[LENGTH.name]
    ]
    expected = model.predict(numbers, verbose=0)
    np.testing.assert_allclose(answers, expected, atol=2e-3)
    assert expected.std() > 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_and_a_number_by_themselves(variant, tmp_path):
    for inputs in ((PHOTO,), (YEAR,)):
        spec = data_spec("binary", inputs)
        model, given = build(spec), examples(50, inputs)
        path = tmp_path / f"{inputs[0].name}.tflite"
        path.write_bytes(convert(model, variant, given, spec.output))
        check_against_keras(str(path), model, variant, given, spec)


def test_numbers_on_which_the_model_computes_otherwise_are_named():
    year = keras.Input((), name="year")
    x = keras.ops.sin(keras.ops.expand_dims(year, -1))
    model = keras.Model({"year": year}, keras.layers.Dense(3)(x), name="waves")
    given = examples(20, (YEAR,))
    with pytest.raises(ModelError, match=r"^waves .*int8.* no integer operations for: SIN"):
        convert(model, "int8", given, OUTPUTS["classification"])


def test_descriptions():
    spec = data_spec()
    found = {each.name: describe_input(each, spec) for each in spec.inputs}
    assert found["year"] == "The number year, not scaled; 2015 where it is missing."
    assert found["colors"] == (
        "The ids of up to 2 values of colors: 0 is padding, 1 unknown, and the vocabulary's lines "
        "follow in their order."
    )
    assert found["review"].startswith("The ids of the first 6 words of review: 0 is padding, 1 un")
    assert found["photo"] == (
        "The image photo as raw pixels, not scaled: 8 rows of 8 pixels from the top left, "
        f"stretched to this size, each red, green and blue from 0 to 255. {AS_SEEN}"
    )
    missing = YEAR.model_copy(update={"name": "year_missing"})
    assert describe_input(missing, spec) == "1.0 where year is missing, else 0.0."
    features = {"year": NumericFeature(scale="log"), "colors": CategoryFeature(oov_buckets=3)}
    other = DataSpec(inputs=spec.inputs, output=spec.output, features=features)
    assert describe_input(YEAR, other).startswith("log(1 + year); ")
    assert describe_input(INPUTS[0], other).startswith("The id of colors: 0 is missing, 1 to 3 unk")
    assert describe_input(INPUTS[3], other).startswith("The feature review as the preprocessing_fn")
