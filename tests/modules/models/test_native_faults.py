"""Strided 1x1 convolutions of few channels, whose gradients oneDNN computes outside its memory."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkout import HELPERS, ROOT
from small_models import build

from modules.models.native_faults import avoid_narrow_strided_convolutions


def strided(rank, channels, padding):
    """A strided 1x1 convolution as a layer of a nested model, over 7 pixels in each direction."""
    inner = keras.Sequential(
        [
            keras.Input((7,) * rank + (channels,)),
            getattr(keras.layers, f"Conv{rank}D")(5, 1, strides=2, padding=padding),
        ]
    )
    inputs = keras.Input((7,) * rank + (channels,))
    return keras.Model(inputs, inner(inputs)), inner.layers[0]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_answers_and_gradients_by_hand(rank, padding):
    model, layer = strided(rank, 3, padding)
    avoid_narrow_strided_convolutions(model)
    assert "convolution_op" in vars(layer)
    x = np.random.default_rng(0).normal(size=(2, *(7,) * rank, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        answers = model(x)
        total = tf.reduce_sum(answers)
    taken = x[:, *(slice(None, None, 2),) * rank]
    kernel = np.reshape(layer.kernel, (3, 5))
    np.testing.assert_allclose(answers, taken @ kernel, rtol=1e-4, atol=1e-5)
    gradient = np.reshape(tape.gradient(total, layer.kernel.value), (3, 5))
    expected = np.tile(taken.reshape(-1, 3).sum(axis=0)[:, None], 5)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_wide_ones_stay_as_they_are():
    model, layer = strided(2, 16, "same")
    avoid_narrow_strided_convolutions(model)
    assert "convolution_op" not in vars(layer)


@pytest.mark.parametrize(("widths", "strided_ones"), [([8, 16, 32], 0), ([16, 32, 64], 2)])
def test_models_of_the_zoo_are_built_without_them(widths, strided_ones):
    """By the operations of a gradient, which is where it is computed."""
    model = build("resnet_small", (32, 32, 3), widths=widths, blocks=1)

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x))
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    graph = gradients.get_concrete_function(tf.TensorSpec([None, 32, 32, 3], tf.uint8)).graph
    found = [
        operation
        for operation in graph.get_operations()
        if operation.type == "Conv2D"
        and list(operation.get_attr("strides")) == [1, 2, 2, 1]
        and operation.inputs[1].shape[:2] == (1, 1)
    ]
    # One for each stage but the first. Those that are left have 16 channels or more.
    narrow = [each for each in found if each.inputs[1].shape[2] < 16]
    assert (len(narrow), len(found)) == (0, strided_ones or 1)


@pytest.mark.thorough
def test_a_training_on_20000_images_ends():
    """As many to train and to validate with as ended with SIGSEGV or a broken heap every time."""
    script = f"""
import sys
sys.path[:0] = {[str(HELPERS), str(ROOT)]!r}
import keras, numpy as np
from small_models import build
images = np.random.default_rng(0).integers(0, 256, (20_000, 32, 32, 3), np.uint8)
model = build("resnet_small", (32, 32, 3), widths=[8, 16], blocks=1)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
labels = np.zeros(20_000)
held = images[14_451:16_057], labels[14_451:16_057]
model.fit(images[:14_451], labels[:14_451], 64, validation_data=held, verbose=0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
