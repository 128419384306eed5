"""Every built-in model: its contract, its size, and its TFLite files of builtins alone."""

import keras
import numpy as np
import pytest
from small_inputs import MIXTURE, PHOTO, TABLE, TEXT, VALUE, batch
from small_models import class_output
from tflite_files import convert, run

from modules.data.spec import InputSpec
from modules.errors import ModelError
from modules.export.float_layers import float_operations
from modules.models import zoo
from modules.models.forest import Examples
from modules.settings import ModelSettings

IMAGE = {"photo": PHOTO}
LARGE = {"photo": PHOTO.model_copy(update={"shape": (32, 32, 3)})}
# What each takes, and parameters that make it small.
MODELS = {
    "separable_cnn": (IMAGE, {"filters": [4, 8], "blocks": 2}),
    "cnn_tutorial": (IMAGE, {"filters": [4], "units": 6}),
    "resnet_small": (IMAGE, {"widths": [4, 8], "blocks": 1}),
    "keras_application": (LARGE, {"application": "MobileNetV3Small"}),
    "mlp": (TABLE, {"units": [16, 8], "dropout": 0.1}),
    "resnet_tabular": (TABLE, {"width": 8, "blocks": 2}),
    "random_forest": (TABLE, {"trees": 20, "leaves": 12, "depth": 4}),
    "text_linear": (TEXT, {}),
    "image_linear": (IMAGE, {}),
    "text_cnn": (TEXT, {"width": 8, "filters": 6}),
    "text_transformer": (TEXT, {"width": 8, "blocks": 2, "heads": 2}),
    "mixture": (MIXTURE, {"image": {"filters": [4, 8]}, "text": {"width": 8}}),
}
STUDENTS = ["separable_cnn", "cnn_tutorial", "mlp", "text_cnn", "mixture"]
OUTPUTS = [class_output(3), class_output(4, "multilabel"), VALUE]


def _build(name, output=OUTPUTS[0], **parameters):
    inputs, small = MODELS[name]
    keras.utils.set_random_seed(0)
    settings = ModelSettings(model=name, parameters=small | parameters)
    model = zoo.build_model(settings, inputs, output)
    if fit := zoo.AT_ONCE.get(name):
        rng = np.random.default_rng(1)
        labels = {
            "classification": rng.integers(0, output.size, 40),
            "multilabel": rng.integers(0, 2, (40, output.size)),
            "regression": rng.normal(100, 20, 40),
        }
        fit(model, Examples(batch(inputs), labels[output.task], None), output, 0)
    return inputs, model


def _trained(name, output):
    """Moved away from where it began, so that no constant or weight of 0 hides a fault."""
    inputs, model = _build(name, output)
    examples = batch(inputs)
    if not model.trainable_weights:
        return model, examples
    rng = np.random.default_rng(1)
    y = rng.normal(100, 20, (40, output.size)) if output is VALUE else rng.integers(0, 3, 40)
    loss = (
        keras.losses.MeanSquaredError()
        if output is VALUE
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    model.fit(examples, y, epochs=2, verbose=0)
    return model, examples


def test_every_builder_is_tested():
    assert MODELS.keys() == zoo.BUILDERS.keys() - {"resnet50", "keras_hub_backbone"}


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.task)
@pytest.mark.parametrize("name", MODELS)
def test_from_a_dictionary_of_inputs_to_an_answer(name, output):
    inputs, model = _build(name, output)
    assert model.input.keys() == inputs.keys()
    answer = model(batch(inputs, 5), training=False).numpy()
    assert answer.shape == (5, output.size) and answer.dtype == np.float32
    assert np.isfinite(answer).all()
    end = "values" if output is VALUE else "logits"
    assert model.layers[-1].name == end
    # Nothing is built around the layers, so that methods find them by their names.
    has_none = ("keras_application", "text_linear")
    assert "features" in [layer.name for layer in model.layers] or name in has_none


@pytest.mark.parametrize("name", MODELS)
def test_every_input_matters(name):
    inputs, model = _build(name)
    examples = batch(inputs)
    before = model(examples, training=False).numpy()
    for changed in inputs:
        # Another order of the examples within one input.
        other = examples | {changed: np.roll(examples[changed], 1, axis=0)}
        difference = np.abs(model(other, training=False) - before).max()
        assert difference > 1e-3 * np.abs(before).max(), changed


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.thorough
def test_float32_file_of_builtins_answers_any_batch(name):
    output = VALUE if name in ("mlp", "text_cnn") else OUTPUTS[0]
    model, examples = _trained(name, output)
    expected = model(examples, training=False).numpy()
    content = convert(model)
    for count in (1, 40):
        answer = run(content, {key: values[:count] for key, values in examples.items()})
        np.testing.assert_allclose(answer, expected[:count], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.thorough
def test_int8_file_of_students_computes_with_integers(name):
    model, examples = _trained(name, OUTPUTS[0])
    content = convert(model, examples)
    allowed = {"QUANTIZE", "DEQUANTIZE"}
    assert set(float_operations(content)) <= allowed
    expected = model(examples, training=False).numpy()
    answer = run(content, examples)
    assert np.corrcoef(answer.ravel(), expected.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", ["mlp", "text_cnn"])
@pytest.mark.thorough
def test_int8_file_of_a_regression(name):
    model, examples = _trained(name, VALUE)
    content = convert(model, examples)
    assert set(float_operations(content)) <= {"QUANTIZE", "DEQUANTIZE"}
    expected = model(examples, training=False).numpy()
    # A step of int8 is 1/255 of the range of the answers, 0 included.
    step = max(0, expected.max()) / 255
    assert np.abs(run(content, examples) - expected).max() < 10 * step


@pytest.mark.parametrize("name", ["mlp", "resnet_tabular", "random_forest"])
@pytest.mark.parametrize("kind", ["image", "text"])
def test_tables_take_no_images_and_texts(name, kind):
    inputs = IMAGE if kind == "image" else TEXT
    with pytest.raises(ModelError, match=rf"{name} takes inputs of kind numeric .* \({kind} \["):
        zoo.build_model(ModelSettings(model=name), inputs, OUTPUTS[0])


@pytest.mark.parametrize("name", ["text_cnn", "text_transformer", "separable_cnn"])
def test_texts_and_images_are_taken_alone(name):
    with pytest.raises(ModelError, match=f"{name} takes one input of kind"):
        zoo.build_model(ModelSettings(model=name), MIXTURE, OUTPUTS[0])


# -- tables --


def test_mlp_counted_by_hand():
    """13 numbers and ids of 3 make 16 values; two dense layers and three logits."""
    numbers = {
        f"n{index}": InputSpec(
            name=f"n{index}", kind="numeric", feature="n", shape=(), dtype="float32"
        )
        for index in range(13)
    }
    ids = InputSpec(
        name="c", kind="category", feature="c", shape=(), dtype="int32", vocabulary_size=3
    )
    settings = ModelSettings(model="mlp", parameters={"units": [10, 5]})
    model = zoo.build_model(settings, {**numbers, "c": ids}, OUTPUTS[0])
    assert model.count_params() == (16 * 10 + 10) + (10 * 5 + 5) + (5 * 3 + 3)


def test_resnet_tabular_counted_by_hand():
    spec = InputSpec(name="x", kind="tensor", feature="x", shape=(6,), dtype="float32")
    parameters = {"width": 8, "blocks": 2, "expansion": 3}
    settings = ModelSettings(model="resnet_tabular", parameters=parameters)
    model = zoo.build_model(settings, {"x": spec}, OUTPUTS[0])
    block = 4 * 8 + (8 * 24 + 24) + (24 * 8 + 8)
    assert model.count_params() == (6 * 8 + 8) + 2 * block + 4 * 8 + (8 * 3 + 3)


# -- texts --


@pytest.mark.parametrize("name", ["text_cnn", "text_transformer"])
def test_padding_does_not_change_the_answer(name):
    """The same words in a longer input, with the weights of the shorter one."""
    short, long = (TEXT["review"].model_copy(update={"shape": (size,)}) for size in (12, 20))
    settings = ModelSettings(model=name, parameters=MODELS[name][1])
    models = [zoo.build_model(settings, {"review": spec}, OUTPUTS[0]) for spec in (short, long)]
    for one, other in zip(*(model.weights for model in models), strict=True):
        value = one.numpy()
        if value.shape != other.shape:  # The positions.
            value = np.concatenate([value, np.ones((8, value.shape[1]))])
        other.assign(value)
    ids = np.random.default_rng(0).integers(1, 100, (7, 12), dtype=np.int32)
    padded = np.pad(ids, [(0, 0), (0, 8)])
    first, second = (
        model({"review": each}, training=False).numpy()
        for model, each in zip(models, (ids, padded), strict=True)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_text_of_padding_alone_has_an_answer():
    for name in ("text_cnn", "text_transformer"):
        _, model = _build(name)
        assert np.isfinite(model({"review": np.zeros((2, 12), np.int32)}, training=False)).all()


def test_attention_is_that_of_keras():
    from modules.models.layers import Attention

    ours = Attention(2)
    theirs = keras.layers.MultiHeadAttention(2, 4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 8)).astype(np.float32)
    present = np.float32([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    mask = np.repeat(present[:, None] > 0, 5, axis=1)
    ours([x, present[..., None]])
    theirs(x, x, attention_mask=mask)
    query, query_bias, key, key_bias, value, value_bias, out, out_bias = theirs.get_weights()
    kernel = np.concatenate([each.reshape(8, 8) for each in (query, key, value)], axis=1)
    bias = np.concatenate([each.ravel() for each in (query_bias, key_bias, value_bias)])
    bias = bias + rng.normal(size=24)
    theirs.set_weights(
        [
            *(query, bias[:8].reshape(2, 4), key, bias[8:16].reshape(2, 4)),
            *(value, bias[16:].reshape(2, 4), out, out_bias),
        ]
    )
    ours.set_weights([kernel, bias, out.reshape(8, 8), out_bias])
    expected = theirs(x, x, attention_mask=mask)
    np.testing.assert_allclose(ours([x, present[..., None]]), expected, rtol=1e-4, atol=1e-5)


def test_heads_divide_the_width():
    with pytest.raises(ModelError, match="heads must divide width, got heads: 3 and width: 8"):
        _build("text_transformer", heads=3)


# -- mixtures --


def test_a_mixture_has_a_tower_for_each_kind():
    _, model = _build("mixture", table_units=[5])
    towers = model.get_layer("towers").input
    # The image's last filters, three lengths of 64 patterns of the text, the table's dense layer.
    assert sorted(tensor.shape[1] for tensor in towers) == [5, 8, 3 * 64]


def test_a_mixture_of_one_kind():
    settings = ModelSettings(model="mixture")
    model = zoo.build_model(settings, TEXT, OUTPUTS[0])
    assert model(batch(TEXT, 4)).shape == (4, 3)


def test_two_images():
    specs = {name: PHOTO.model_copy(update={"name": name}) for name in ("front", "back")}
    model = zoo.build_model(ModelSettings(model="mixture"), specs, OUTPUTS[0])
    assert model(batch(specs, 4)).shape == (4, 3)
