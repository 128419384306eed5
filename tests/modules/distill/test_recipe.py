"""Tests of modules.distill.recipe: rates by hand, clipped steps, batch statistics."""

import keras
import numpy as np
import pytest
from small_models import build

from modules.distill import recipe
from modules.settings import TrainSettings


def _rates(epochs, **settings):
    train = TrainSettings(epochs=10, learning_rate=0.2, **settings)
    return [recipe.learning_rate(train, epoch) for epoch in epochs]


def test_the_warm_up_rises_linearly_from_zero():
    found = _rates([0, 0.5, 1, 1.5, 2, 6], schedule="constant", warmup_epochs=2)
    assert found == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.2])


def test_the_cosine_begins_behind_the_warm_up():
    # Of eight epochs that are left a quarter, a half and all: cos 45, 90 and 180 degrees.
    found = _rates([1, 2, 4, 6, 10], schedule="cosine", warmup_epochs=2)
    assert found == pytest.approx([0.1, 0.2, 0.1 * (1 + 2**-0.5), 0.1, 0], abs=1e-12)


def test_the_warm_up_takes_half_of_a_short_training_at_most():
    train = TrainSettings(epochs=2, learning_rate=0.2, schedule="constant", warmup_epochs=50)
    rates = [recipe.learning_rate(train, epoch) for epoch in (0.5, 1, 2)]
    assert rates == pytest.approx([0.1, 0.2, 0.2])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_step_has_its_own_rate(schedule):
    train = TrainSettings(epochs=5, learning_rate=0.2, schedule=schedule, warmup_epochs=1.5)
    steps = recipe.StepSchedule(train, 4)
    found = [float(steps(np.int64(step))) for step in range(20)]
    expected = [recipe.learning_rate(train, (step + 0.5) / 4) for step in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert 0 < found[0] < found[1] and (schedule == "constant" or 0 < found[-1] < found[-2])


@pytest.mark.parametrize("epochs", [2, 8])
def test_a_schedule_may_be_as_long_as_a_variable_says(epochs):
    train = TrainSettings(epochs=5, learning_rate=0.2, schedule="cosine", warmup_epochs=1.5)
    length = keras.Variable(5.0, trainable=False)
    varying = recipe.StepSchedule(train, 4, length)
    length.assign(epochs)
    constant = recipe.StepSchedule(train.model_copy(update={"epochs": epochs}), 4)
    found, expected = (
        [float(each(np.int64(step))) for step in range(8)] for each in (varying, constant)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_optimizer_steps_at_the_rate_of_the_schedule():
    """AdamW's first steps are as long as the rate, whatever the gradient."""
    train = TrainSettings(epochs=2, learning_rate=0.1, weight_decay=0, schedule="cosine")
    optimizer, weight = recipe.make_optimizer(train, 2), keras.Variable([1.0])
    places = []
    for _ in range(4):
        optimizer.apply([np.ones(1, np.float32)], [weight])
        places.append(float(weight.value[0]))
    rates = [recipe.learning_rate(train, (step + 0.5) / 2) for step in range(4)]
    np.testing.assert_allclose(-np.diff([1.0, *places]), rates, rtol=1e-3)


@pytest.mark.parametrize(("clip", "moment"), [(None, 6.0), (5.0, 3.0)])
def test_gradients_are_clipped_by_the_norm_of_all_together(clip, moment):
    train = TrainSettings(clip_norm=clip)
    optimizer = recipe.make_optimizer(train, 1)
    weights = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer.apply([np.array([6.0], np.float32), np.array([8.0], np.float32)], weights)
    first = next(each for each in optimizer.variables if "momentum" in each.path)
    # A tenth of the gradient; (6, 8) has the norm 10, clipped to 5 it is (3, 4).
    assert float(first.value[0]) == pytest.approx(0.1 * moment, rel=1e-5)


@pytest.mark.parametrize(
    ("steps", "momentum"), [(1, 0.9), (10, 0.9), (50, 0.98), (100, 0.99), (9999, 0.99)]
)
def test_batch_statistics_are_means_of_an_epoch(steps, momentum):
    assert recipe.batch_norm_momentum(steps) == pytest.approx(momentum)


def test_layers_that_are_trained_get_the_momentum_nested_ones_too():
    inner = build("separable_cnn", filters=[4])
    frozen = keras.layers.BatchNormalization(momentum=0.5, trainable=False)
    inputs = keras.Input((8, 8, 1), dtype="uint8", name="image")
    model = keras.Model(inputs, frozen(inner({"image": inputs})))
    recipe.set_batch_norm_momentum(model, 50)
    found = [each.momentum for each in inner.layers if "batch_norm" in each.name]
    assert found == pytest.approx([0.98])
    assert frozen.momentum == 0.5
