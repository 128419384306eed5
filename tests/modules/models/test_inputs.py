"""From inputs to vectors and from features to answers: values known by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_inputs import AGE, CITY, FLAGS, INCOME, MIXTURE, SEX, TABLE, TAGS, VALUE, VECTOR, batch
from small_models import class_output

from modules.data.spec import InputSpec
from modules.errors import ModelError
from modules.models import inputs as common
from modules.models import zoo
from modules.settings import ModelSettings


def _answer(specs, function, values):
    """What a helper makes of the inputs."""
    tensors = common.keras_inputs(specs)
    model = keras.Model(tensors, function(tensors))
    return model, np.asarray(model({name: np.asarray(each) for name, each in values.items()}))


def test_keras_inputs_are_those_of_the_specification():
    tensors = common.keras_inputs(MIXTURE)
    assert tensors.keys() == MIXTURE.keys()
    for name, tensor in tensors.items():
        spec = MIXTURE[name]
        assert (tensor.name, tensor.dtype) == (name, spec.dtype)
        assert tuple(tensor.shape) == (None, *spec.shape)


def test_numbers_are_standardized():
    _, answer = _answer(
        {"age": AGE}, lambda x: common.numbers(AGE, x["age"]), {"age": [40.0, 65.0]}
    )
    np.testing.assert_allclose(answer, [[0.0], [2.5]])


@pytest.mark.parametrize(
    ("mean", "deviation", "value", "expected"),
    # A multiplication before the subtraction would round the first away; a variance of 1e-18 is
    # below the smallest that a keras.layers.Normalization divides by.
    [(1e6, 0.3, 1e6 + 0.25, 0.25 / 0.3), (5e-9, 1e-9, 7e-9, 2.0)],
)
def test_standardization_keeps_the_digits(mean, deviation, value, expected):
    spec = AGE.model_copy(update={"mean": mean, "deviation": deviation})
    _, answer = _answer({"age": spec}, lambda x: common.numbers(spec, x["age"]), {"age": [value]})
    np.testing.assert_allclose(answer, [[expected]], rtol=1e-5)


def test_standardization_is_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        spec = AGE.model_copy(update={"mean": 3e5, "deviation": 1e5})  # float16 ends at 65,504
        specs = {"age": spec}
        _, answer = _answer(specs, lambda x: common.numbers(spec, x["age"]), {"age": [5e5]})
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(answer, [[2.0]], rtol=1e-6)


def test_tensors_are_flattened_in_their_order():
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    specs = {"vector": VECTOR}
    _, answer = _answer(specs, lambda x: common.numbers(VECTOR, x["vector"]), {"vector": values})
    np.testing.assert_array_equal(answer, values.reshape(2, 6))


def test_a_small_vocabulary_is_one_hot():
    specs = {"sex": SEX}
    model, answer = _answer(
        specs, lambda x: common.category(SEX, x["sex"]), {"sex": np.int32([0, 3])}
    )
    np.testing.assert_array_equal(answer, [[1, 0, 0, 0], [0, 0, 0, 1]])
    assert model.count_params() == 0


def test_a_large_vocabulary_is_embedded():
    specs = {"city": CITY}
    model, answer = _answer(
        specs, lambda x: common.category(CITY, x["city"]), {"city": np.int32([7, 49])}
    )
    (vectors,) = model.get_weights()
    assert vectors.shape == (50, common.embedding_width(50)) == (50, 14)
    np.testing.assert_array_equal(answer, vectors[[7, 49]])


@pytest.mark.parametrize(("size", "width"), [(9, 5), (50, 14), (1000, 32), (10**6, 32)])
def test_embedding_width(size, width):
    assert common.embedding_width(size) == width


def test_several_values_are_averaged_without_padding():
    ids = np.int32([[3, 5, 0], [7, 0, 0], [0, 0, 0], [4, 4, 6]])
    specs = {"tags": TAGS}
    model, answer = _answer(specs, lambda x: common.category(TAGS, x["tags"]), {"tags": ids})
    (vectors,) = model.get_weights()
    expected = [(vectors[3] + vectors[5]) / 2, vectors[7], 0 * vectors[0]]
    expected.append((2 * vectors[4] + vectors[6]) / 3)
    # Values of about 0.05 in float32; a sum of opposite signs is close to zero.
    np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-8)


def test_several_values_of_a_small_vocabulary_are_shares():
    ids = np.int32([[1, 4], [2, 0], [0, 0]])
    _, answer = _answer(
        {"flags": FLAGS}, lambda x: common.category(FLAGS, x["flags"]), {"flags": ids}
    )
    np.testing.assert_allclose(answer, [[0, 0.5, 0, 0, 0.5], [0, 0, 1, 0, 0], [0] * 5])


def test_a_table_is_one_vector_in_the_order_of_the_inputs():
    model, answer = _answer(TABLE, lambda x: common.table(TABLE, x), batch(TABLE, 6))
    # Two numbers, a one-hot of 4, embeddings of 14 and 9, shares of 5, and a 2x3 tensor.
    assert answer.shape == (6, 2 + 4 + 14 + common.embedding_width(20) + 5 + 6)
    ages = batch(TABLE, 6)["age"]
    np.testing.assert_allclose(answer[:, 0], (ages - AGE.mean) / AGE.deviation, rtol=1e-5)
    assert answer.dtype == np.float32 and model.count_params() == 50 * 14 + 20 * 9


def test_a_category_without_vocabulary_is_refused():
    spec = CITY.model_copy(update={"vocabulary_size": None})
    with pytest.raises(ModelError, match="category input 'city' must have a vocabulary_size"):
        common.category(spec, common.keras_inputs({"city": spec})["city"])


# -- answers --


def test_a_regression_answers_in_the_labels_unit():
    x = keras.Input((3,))
    model = keras.Model(x, common.answer(x, VALUE))
    model.get_layer("scaled_values").set_weights([np.ones((3, 1)), np.array([0.5])])
    # 1 + 2 + 3 + 0.5 deviations of 20 above the mean of 100.
    np.testing.assert_allclose(model(np.float32([[1, 2, 3], [0, 0, 0]])), [[230.0], [110.0]])


@pytest.mark.parametrize("output", [VALUE, class_output(3)], ids=["values", "logits"])
def test_answers_are_float32_under_mixed_precision(output):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        x = keras.Input((3,))
        model = keras.Model(x, common.answer(keras.layers.Dense(4)(x), output))
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.layers[1].compute_dtype == "float16"
    assert model(np.ones((2, 3), np.float32)).dtype == "float32"


# -- refusals --


@pytest.mark.parametrize(
    ("specs", "kinds", "most", "message"),
    [
        (MIXTURE, ["image"], 1, r"mine takes one input of kind image, but .* photo \(image \[16"),
        ({"age": AGE}, ["text"], 1, r"kind text, but the data has age \(numeric \[\]\)"),
        ({"age": AGE, "b": INCOME}, ["numeric"], 1, "one input of kind numeric"),
        (MIXTURE, common.TABLE, None, "mine takes inputs of kind numeric or category or tensor"),
        ({}, ["image"], None, "but the data has"),
    ],
)
def test_other_kinds_are_refused(specs, kinds, most, message):
    with pytest.raises(ModelError, match=message) as caught:
        common.require(specs, kinds, "mine", most)
    assert "mixture takes all kinds" in str(caught.value)
    assert "data.exclude" in str(caught.value)


def test_an_input_that_is_called_as_a_layer_is_refused():
    specs = {"features": AGE.model_copy(update={"name": "features"})}
    settings = ModelSettings(model="mlp")
    with pytest.raises(ModelError, match=r"mlp has a layer called 'features', .*data\.rename"):
        zoo.build_model(settings, specs, VALUE)


def test_names_of_columns_are_free():
    names = ["table", "towers", "dense", "concatenate", "standardization", "x", "block"]
    specs = {name: AGE.model_copy(update={"name": name}) for name in names}
    for model in ("mlp", "resnet_tabular", "mixture"):
        built = zoo.build_model(ModelSettings(model=model), specs, VALUE)
        assert built(batch(specs, 3)).shape == (3, 1)


COLUMNS = ("mean area", "mean_area", "mean-area", "Größe (m²)", "Größe [m²]", "%", "_x", "day.1")


def test_a_column_may_be_called_anything():
    """As spreadsheets have it; a model is traced with its layers' names as TensorFlow's scopes."""
    inputs = {
        name: InputSpec(name=name, kind="numeric", feature=name, shape=(), dtype="float32")
        for name in COLUMNS
    }
    settings = ModelSettings(model="mlp", parameters={"units": [4]})
    model = zoo.build_model(settings, inputs, class_output(3))
    examples = {name: np.ones(2, np.float32) for name in COLUMNS}
    traced = tf.function(lambda given: model(given, training=False))
    assert traced(examples).shape == (2, 3)
    assert zoo.build_model(settings, inputs, class_output(3)).get_layer("mean_area_standardized")
