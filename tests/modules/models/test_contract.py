"""Whatever a builder returns becomes one kind of model: inputs by name, logits out."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import class_output

from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ModelError
from modules.models.contract import conform

NAME = "model 'mine'"
AGE = InputSpec(name="age", kind="numeric", feature="age", shape=(4,), dtype="float32")
CITY = InputSpec(
    name="city", kind="category", feature="city", shape=(), dtype="int32", vocabulary_size=5
)
ONE, TWO = {"age": AGE}, {"age": AGE, "city": CITY}
THREE_CLASSES, BINARY = class_output(3), class_output(2, "binary")
VALUES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
BATCH = {"age": VALUES, "city": np.arange(6, dtype=np.int32) % 5}


def _tensors(inputs=TWO):
    return {
        name: keras.Input(spec.shape, dtype=spec.dtype, name=name) for name, spec in inputs.items()
    }


def _joined(tensors):
    return layers.Concatenate()([tensors["age"], layers.Embedding(5, 2)(tensors["city"])])


class Subclassed(keras.Model):
    """Takes a tensor, or a dictionary of `keys`."""

    def __init__(self, units=3, keys=(), activation=None):
        super().__init__(name="subclassed")
        self.keys, self.head = keys, layers.Dense(units, activation=activation, name="head")

    def call(self, inputs, training=False):
        x = inputs
        if self.keys:
            x = ops.concatenate([ops.reshape(inputs[key], (-1, 1)) for key in self.keys], axis=1)
        return self.head(ops.cast(x, "float32"))


def _is_ours(model, inputs, size):
    assert isinstance(model.input, dict) and model.input.keys() == inputs.keys()
    for name, tensor in model.input.items():
        assert tensor.name == name
        assert tuple(tensor.shape) == (None, *inputs[name].shape)
        assert tensor.dtype == inputs[name].dtype
    batch = {name: BATCH[name] for name in inputs}
    answer = model(batch).numpy()
    assert answer.shape == (6, size) and answer.dtype == np.float32
    assert model.output_shape == (None, size)
    return answer


# -- inputs --


@pytest.mark.parametrize("name", ["age", "other", None])
def test_a_bare_input_gets_its_name_and_the_layers_stay(name):
    bare = keras.Input((4,), name=name)
    model = keras.Model(bare, layers.Dense(3)(layers.Dense(5, name="hidden")(bare)), name="mine")
    ours = conform(model, ONE, THREE_CLASSES, NAME)
    np.testing.assert_array_equal(_is_ours(ours, ONE, 3), model(VALUES))
    assert ours.name == "mine"
    assert ours.get_layer("hidden") is model.get_layer("hidden")
    assert ours.count_params() == model.count_params()


def test_a_model_of_ours_stays_as_it_is():
    tensors = _tensors()
    model = keras.Model(tensors, layers.Dense(3)(_joined(tensors)))
    assert conform(model, TWO, THREE_CLASSES, NAME) is model
    _is_ours(model, TWO, 3)


def test_a_list_of_inputs_is_told_apart_by_their_names():
    tensors = _tensors()
    model = keras.Model([tensors["city"], tensors["age"]], layers.Dense(3)(_joined(tensors)))
    ours = conform(model, TWO, THREE_CLASSES, NAME)
    expected = model([BATCH["city"], BATCH["age"]])
    np.testing.assert_array_equal(_is_ours(ours, TWO, 3), expected)


@pytest.mark.parametrize("known", [True, False])
def test_sequential(known):
    start = [keras.Input((4,))] if known else []
    model = keras.Sequential([*start, layers.Dense(5, name="hidden"), layers.Dense(3)])
    answer = _is_ours(conform(model, ONE, THREE_CLASSES, NAME), ONE, 3)
    np.testing.assert_allclose(answer, model(VALUES), rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "keys"), [(ONE, ()), ({"city": CITY}, ("city",)), ({"age": AGE}, ("age",))]
)
def test_subclassed_takes_its_tensor_or_the_dictionary(inputs, keys):
    model = Subclassed(3, keys)
    if keys == ("age",):
        inputs = {"age": AGE.model_copy(update={"shape": ()})}
    ours = conform(model, inputs, THREE_CLASSES, NAME)
    assert ours.layers[-1] is model
    values = {"age": VALUES[:, 0] if keys else VALUES, "city": BATCH["city"]}
    batch = {name: values[name] for name in inputs}
    (only,) = batch.values()
    np.testing.assert_array_equal(ours(batch), model(batch if keys else only))


def test_subclassed_with_two_inputs_trains():
    inputs = {"age": AGE.model_copy(update={"shape": ()}), "city": CITY}
    ours = conform(Subclassed(3, ("age", "city")), inputs, THREE_CLASSES, NAME)
    ours.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = ours.get_weights()[0].copy()
    ours.fit({"age": VALUES[:, 0], "city": BATCH["city"]}, np.arange(6) % 3, verbose=0)
    assert not np.array_equal(before, ours.get_weights()[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"age": keras.Input((4,), name="age")},
            "must take the inputs age, city, but takes age; .*data.exclude",
        ),
        (
            {
                "age": keras.Input((4,), name="age"),
                "town": keras.Input((), dtype="int32", name="town"),
            },
            "must take the inputs age, city, but takes age, town",
        ),
        (
            {
                "age": keras.Input((4,), name="age"),
                "city": keras.Input((1,), dtype="int32", name="city"),
            },
            r"must take city as int32 of shape \(None,\), but takes int32 of shape \(None, 1\)",
        ),
        (
            {
                "age": keras.Input((4,), name="age"),
                "city": keras.Input((), name="city"),
            },
            r"must take city as int32 of shape \(None,\), but takes float32 of shape \(None,\)",
        ),
    ],
    ids=["missing", "other name", "shape", "dtype"],
)
def test_other_inputs_are_refused(given, message):
    model = keras.Model(given, layers.Dense(3)(given["age"]))
    with pytest.raises(ModelError, match=f"{NAME} {message}"):
        conform(model, TWO, THREE_CLASSES, NAME)


def test_subclassed_that_cannot_be_called_says_why():
    with pytest.raises(ModelError, match=r"cannot be called with .* age, city: .*no_such_key") as e:
        conform(Subclassed(3, ("age", "no_such_key")), TWO, THREE_CLASSES, NAME)
    assert "\n" not in str(e.value) and len(str(e.value)) < 500


# -- outputs --


def _ends(end):
    bare = keras.Input((4,), name="age")
    hidden = layers.Dense(5, activation="relu")(bare)
    return keras.Model(bare, end(hidden))


@pytest.mark.parametrize(
    "end",
    [
        lambda x: layers.Dense(3, activation="softmax")(x),
        lambda x: layers.Dense(3, activation="sigmoid")(x),
        lambda x: layers.Softmax()(layers.Dense(3)(x)),
        lambda x: layers.Activation("softmax")(layers.Dense(3)(x)),
        lambda x: keras.activations.softmax(layers.Dense(3)(x)),
        lambda x: ops.sigmoid(layers.Dense(3)(x)),
        lambda x: keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])(x),
    ],
)
def test_softmax_and_sigmoid_are_taken_off(end, caplog):
    model = _ends(end)
    probabilities = model(VALUES).numpy()
    ours = conform(model, ONE, THREE_CLASSES, NAME)
    logits = _is_ours(ours, ONE, 3)
    assert logits.min() < 0
    softmax, sigmoid = (np.asarray(squash(logits)) for squash in (ops.softmax, ops.sigmoid))
    assert np.allclose(softmax, probabilities) or np.allclose(sigmoid, probabilities)
    (record,) = caplog.records
    assert f"{NAME}: the softmax or sigmoid of its last layer" in record.getMessage()


def test_softmax_in_a_nested_model_is_refused():
    nested = keras.Sequential([keras.Input((5,)), layers.Dense(3), layers.Softmax(name="end")])
    with pytest.raises(ModelError, match="must return logits, but its last layer, 'end'"):
        conform(_ends(nested), ONE, THREE_CLASSES, NAME)


@pytest.mark.parametrize(
    ("output", "activation"), [(THREE_CLASSES, "softmax"), (BINARY, "sigmoid")]
)
def test_probabilities_of_a_subclassed_model_are_refused(output, activation):
    units = 1 if output is BINARY else 3
    with pytest.raises(ModelError, match="must return logits, but subclassed seems to return"):
        conform(Subclassed(units, activation=activation), ONE, output, NAME)


def test_a_sigmoid_inside_is_no_end():
    model = _ends(lambda x: layers.Dense(3)(layers.Dense(4, activation="sigmoid")(x)))
    assert conform(model, ONE, THREE_CLASSES, NAME).layers[-2].activation.__name__ == "sigmoid"


def test_a_bounded_regression_keeps_its_sigmoid():
    model = _ends(lambda x: layers.Dense(1, activation="sigmoid")(x))
    ours = conform(model, ONE, OutputSpec(task="regression", size=1), NAME)
    np.testing.assert_array_equal(_is_ours(ours, ONE, 1), model(VALUES))


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_logit_of_a_binary_model_becomes_two(activation):
    plain = _ends(lambda x: layers.Dense(1, name="one")(x))
    expected = plain(VALUES).numpy()
    plain.get_layer("one").activation = keras.activations.get(activation)
    logits = _is_ours(conform(plain, ONE, BINARY, NAME), ONE, 2)
    np.testing.assert_array_equal(logits[:, 0], 0)
    np.testing.assert_array_equal(logits[:, 1:], expected)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_two_logits_of_a_binary_model_stay_two(activation):
    model = _ends(lambda x: layers.Dense(2, activation=activation)(x))
    _is_ours(conform(model, ONE, BINARY, NAME), ONE, 2)


def test_half_precision_logits_become_float32():
    model = _ends(lambda x: layers.Dense(3, dtype="float16")(x))
    _is_ours(conform(model, ONE, THREE_CLASSES, NAME), ONE, 3)


@pytest.mark.parametrize(
    ("end", "output", "message"),
    [
        (
            lambda x: layers.Dense(4)(x),
            THREE_CLASSES,
            r"logits of shape \(None, 3\), one for each class of the data, but returns "
            r"\(None, 4\); end it with Dense\(3\)",
        ),
        (lambda x: layers.Dense(1)(x), class_output(3), r"but returns \(None, 1\)"),
        (
            lambda x: layers.Dense(1)(x),
            class_output(3, "multilabel"),
            r"one for each label of the data, but returns \(None, 1\)",
        ),
        (
            lambda x: layers.Dense(2)(x),
            OutputSpec(task="regression", size=1),
            r"values of shape \(None, 1\), one for each value of the data, but returns",
        ),
        (lambda x: layers.Reshape((3, 1))(layers.Dense(3)(x)), THREE_CLASSES, "returns"),
        (
            lambda x: [layers.Dense(3)(x), layers.Dense(3)(x)],
            THREE_CLASSES,
            r"but returns \[\(None, 3\), \(None, 3\)\]",
        ),
    ],
)
def test_other_outputs_are_refused(end, output, message):
    with pytest.raises(ModelError, match=f"{NAME} must return .*{message}"):
        conform(_ends(end), ONE, output, NAME)


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match=r"must be a keras\.Model, but its builder returned None"):
        conform(None, ONE, THREE_CLASSES, NAME)
