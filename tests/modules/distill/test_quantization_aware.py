"""Tests of modules.distill.quantization_aware: int8's rounding in the student's last epochs."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf
from example_files import write_examples
from image_data import image_spec

from modules.data.examples import ExampleData
from modules.distill import training
from modules.distill.checkpoint import TrainingState
from modules.distill.distiller import Distiller
from modules.distill.quantization_aware import (
    QuantizationAware,
    first_aware_epoch,
    round_activations,
    round_weights,
    rounded,
)
from modules.settings import DataSettings, TrainSettings

RNG = np.random.default_rng(0)
SPEC, DATA = image_spec(), DataSettings(validation_fraction=0.25)
# The last of four epochs is aware.
SETTINGS = TrainSettings(epochs=4, batch_size=32, learning_rate=0.01, patience=1)


# -- what is rounded, and how --


def test_weights_are_rounded_as_tensorflow_does_it_per_channel():
    weights = tf.constant(RNG.normal(size=(3, 3, 4, 5)), tf.float32)
    largest = tf.reduce_max(tf.abs(weights), (0, 1, 2))
    expected = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        weights, -largest, largest, narrow_range=True
    )
    actual = np.asarray(round_weights(weights, (-1,)))
    step = np.asarray(largest) / 127
    # TensorFlow rounds what lies in the middle of two steps the other way.
    assert (np.abs(actual - expected) < 1e-5).mean() > 0.99
    assert (np.abs(actual - weights) <= 0.5001 * step).all() and (
        actual != np.asarray(weights)
    ).mean() > 0.9


def test_activations_are_rounded_as_tensorflow_does_it():
    values = tf.constant(RNG.normal(2, 1, (100, 30)), tf.float32)
    expected = tf.quantization.fake_quant_with_min_max_vars(
        values, min(0, values.numpy().min()), values.numpy().max()
    )
    actual = np.asarray(round_activations(values))
    assert (np.abs(actual - expected) < 1e-5).mean() > 0.99
    assert len(np.unique(actual)) <= 256 and (actual != np.asarray(values)).mean() > 0.9


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[3.0, 7.0]], [[-3.0, -7.0]]])
def test_zero_and_the_ends_of_the_range_are_exact(values):
    rounded_values = np.asarray(round_activations(tf.constant([*values, [0.0, 0.0]])))
    np.testing.assert_allclose(rounded_values, [*values, [0, 0]], atol=0.02)
    assert (rounded_values[1] == 0).all()


def test_gradients_pass_as_if_nothing_were_rounded():
    values = tf.Variable(RNG.normal(size=(4, 3)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        outputs = [tf.reduce_sum(f) for f in (round_activations(values), round_weights(values, ()))]
    for output in outputs:
        np.testing.assert_array_equal(tape.gradient(output, values), np.ones((4, 3)))


def test_a_student_is_rounded_where_its_int8_file_is():
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(3)
    model = keras.Model({"image": image}, dense(x))
    pixels = RNG.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    pixels[0, 0, 0] = 255
    before = [np.array(weights) for weights in model.get_weights()]
    answer = np.asarray(rounded(model)({"image": pixels}))
    # Pixels are 255 steps already, so that the weights alone are rounded.
    kernel = np.asarray(round_weights(tf.constant(before[0]), (-1,)))
    by_hand = pixels.reshape(20, 64) / 255 @ kernel + before[1]
    np.testing.assert_allclose(answer, by_hand, atol=1e-4)
    assert np.abs(answer - model({"image": pixels})).max() > 1e-3
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_numbers_and_the_layer_that_takes_them_stay_as_they_are():
    numbers = keras.Input((5,), name="numbers")
    hidden = keras.layers.Dense(4)(keras.layers.Rescaling(0.1)(numbers))
    given = {"numbers": RNG.normal(size=(20, 5)).astype(np.float32)}
    one = keras.Model({"numbers": numbers}, hidden)
    np.testing.assert_array_equal(rounded(one)(given), one(given))
    two = keras.Model({"numbers": numbers}, keras.layers.Dense(3)(hidden))
    assert np.abs(rounded(two)(given) - two(given)).max() > 0


def test_layers_within_a_layer_learn_their_batch_statistics():
    inner = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )
    outer = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Model({"ids": outer}, inner(keras.ops.cast(outer, "float32")))
    before = inner.layers[-1].moving_mean.numpy().copy()
    rounded(model)({"ids": RNG.integers(0, 9, (20, 5))}, training=True)
    assert np.abs(inner.layers[-1].moving_mean.numpy() - before).max() > 0


# -- the training --


@pytest.mark.parametrize(("epochs", "first"), [(1, 0), (2, 1), (4, 3), (20, 15), (60, 45)])
def test_the_last_quarter_is_aware(epochs, first):
    assert first_aware_epoch(epochs) == first


@pytest.fixture(scope="module")
def data(digit_pixels, digit_labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "train"
    pattern = write_examples(path, digit_pixels[:200], digit_labels[:200], np.arange(200))
    return ExampleData([pattern], SPEC, DATA)


def _train(data, state_dir=None, *, aware=True, seed=0, settings=SETTINGS):
    """The trained distiller, and for each epoch whether it was aware."""
    keras.utils.set_random_seed(seed)
    student = small_models.build("separable_cnn", filters=[4, 8])
    distiller = Distiller(None, student, ())
    plan = training.Plan(
        settings, 7, None, state_dir, seconds_between_saves=0, quantization_aware=aware
    )
    training.fit(distiller, data, plan)
    return distiller


def test_the_best_epoch_is_an_aware_one_and_patience_begins_there(data, monkeypatch):
    states, aware = [], []
    original = TrainingState.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        # As if it became worse and worse.
        original(self, epoch, {**logs, "val_hard_loss": float(epoch)})
        states.append(self)
        aware.append(self.model._in_training.aware)

    monkeypatch.setattr(TrainingState, "on_epoch_end", on_epoch_end)
    distiller = _train(data)
    assert aware == [False, False, False, True]
    assert states[-1].best_epoch == 4
    # What is asked afterwards computes in floats.
    assert not distiller._in_training.aware


def test_rounding_is_in_the_steps_of_the_aware_epochs_alone(data):
    losses = [_train(data, aware=aware).history.history["val_hard_loss"] for aware in (True, False)]
    np.testing.assert_array_equal(losses[0][:3], losses[1][:3])
    assert losses[0][3] != losses[1][3]


@pytest.mark.parametrize("last", [pytest.param(2, marks=pytest.mark.thorough), 3])
def test_a_training_taken_up_again_ends_as_an_unbroken_one(data, tmp_path, monkeypatch, last):
    # Behind the last epoch in floats, and before it.
    class Killed(BaseException):
        pass

    original = TrainingState.save

    def save(self):
        original(self)
        if self.epoch == last:
            raise Killed

    monkeypatch.setattr(TrainingState, "save", save)
    with pytest.raises(Killed):
        _train(data, str(tmp_path))
    monkeypatch.undo()
    again, unbroken = _train(data, str(tmp_path), seed=1), _train(data)
    for one, other in zip(again.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.thorough
def test_features_are_taken_from_layers_whose_weights_are_rounded(data):
    teacher = small_models.build("resnet_small", widths=[6], blocks=1)
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = keras.layers.Conv2D(4, 3, name="tapped")(keras.layers.Rescaling(1 / 255)(image))
    student = keras.Model(
        {"image": image}, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    )
    hint = {"name": "hint", "student_layer": "tapped", "teacher_layer": "stage1_block1"}
    distiller = Distiller(teacher, student, hint)
    settings = SETTINGS.model_copy(update={"epochs": 1})
    plan = training.Plan(settings, 7, None, quantization_aware=True)
    before = [weights.copy() for weights in student.get_weights()]
    training.fit(distiller, data, plan)
    assert np.isfinite(distiller.history.history["hint_loss"]).all()
    for old, new in zip(before, student.get_weights(), strict=True):
        assert np.abs(old - new).max() > 0


@pytest.mark.thorough
def test_it_trains_in_float16_too(data):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        settings = SETTINGS.model_copy(update={"epochs": 1, "mixed_precision": True})
        distiller = _train(data, settings=settings)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(distiller.history.history["loss"]).all()
    assert {str(each.dtype) for each in distiller.student.trainable_variables} == {"float32"}


def test_switching_compiles_the_steps_anew(data):
    distiller = _train(data, aware=False, settings=SETTINGS.model_copy(update={"epochs": 1}))
    batches = data.validation(32)
    plain = distiller.evaluate(batches, verbose=0, return_dict=True)["hard_loss"]
    callback = QuantizationAware(0)
    callback.set_model(distiller)
    callback.on_epoch_begin(0)
    aware = distiller.evaluate(batches, verbose=0, return_dict=True)["hard_loss"]
    callback.on_train_end()
    again = distiller.evaluate(batches, verbose=0, return_dict=True)["hard_loss"]
    assert plain == again != aware
