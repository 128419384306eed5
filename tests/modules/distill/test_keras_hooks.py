"""What is done to Keras' inside: numbers stay, and native code does not crash."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkout import HELPERS, ROOT

from modules.distill.keras_hooks import HookedModel, safe_gradients

# A residual network whose shortcuts halve the size by strided convolutions of one point each, the
# first with 8 channels in. Both epochs have a last batch of 51.
TRAINING = """
import sys, numpy as np, keras
from modules.distill.distiller import Distiller
from small_models import build

count = int(sys.argv[1])
rng = np.random.default_rng(7)
images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
model = build("resnet_small", (32, 32, 3), widths=[8, 16], blocks=1)
distiller = Distiller(None, model, methods=())
distiller.compile("adam")
distiller.fit(images, rng.integers(0, 10, count), batch_size=64, verbose=0)
"""


def gradients(model: keras.Model, inputs: Any, guarded: bool) -> tuple[Any, list[Any]]:
    """Outputs, and the gradients of their squares."""
    with tf.GradientTape() as tape:
        if guarded:
            with safe_gradients(model):
                outputs = model(inputs, training=True)
        else:
            outputs = model(inputs, training=True)
        loss = tf.reduce_sum(outputs**2)
    return outputs, tape.gradient(loss, [each.value for each in model.trainable_variables])


class Listener(HookedModel):
    """Notes what every step is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = keras.Variable(np.zeros(14, np.int32), trainable=False)
        self.place = keras.Variable(0, trainable=False, dtype="int32")
        self.built = True

    def train_step(self, data: Any) -> dict[str, Any]:
        self.seen.assign(keras.ops.scatter_update(self.seen.value, [[self.place.value]], data))
        self.place.assign_add(1)
        return {"place": self.place.value}


@pytest.mark.parametrize("several", [1, 3, 7, 20])
def test_an_epoch_has_as_many_steps_as_it_was_told(several: int) -> None:
    """However many a call runs; Keras alone would run 9 or 20 for 7."""
    model = Listener()
    model.compile("sgd", steps_per_execution=several)
    ends: list[int] = []
    end = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(int(model.place.value))
    )
    numbers = tf.data.Dataset.range(1, 100).map(lambda number: tf.cast(number, tf.int32)[None])
    model.fit(numbers, epochs=2, steps_per_epoch=7, callbacks=[end], verbose=0)
    assert ends == [7, 14]
    assert np.array(model.seen.value).tolist() == list(range(1, 15))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(16, 1, 2),
        keras.layers.Conv2D(8, 1, 2, padding="same", activation="relu"),
        keras.layers.Conv2D(8, 1, (1, 3), padding="same"),
        keras.layers.Conv2D(8, 1, 2, groups=2),
        keras.layers.Conv2D(8, 3, 2),
        keras.layers.Conv2D(8, 1),
    ],
    ids=lambda layer: f"{layer.kernel_size}/{layer.strides}/{layer.groups}",
)
def test_safe_gradients_are_the_same_gradients(layer: keras.Layer) -> None:
    """The batch is even, so that the processor can tell what it should be."""
    inputs = np.random.default_rng(0).normal(size=(4, 17, 16, 8)).astype(np.float32)
    model = keras.Sequential([keras.Input(inputs.shape[1:]), layer, keras.layers.Flatten()])
    expected, found = gradients(model, inputs, False), gradients(model, inputs, True)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert "convolution_op" not in vars(layer)


@pytest.mark.parametrize(
    "count", [115, pytest.param(20_019, marks=pytest.mark.thorough)], ids=["115", "20019"]
)
@pytest.mark.thorough
def test_strided_shortcuts_of_few_channels_train_on_any_batch(count: int) -> None:
    """Without the guard, AVX-512 ends this by SIGABRT or SIGSEGV."""
    ended = subprocess.run(
        [sys.executable, "-c", TRAINING, str(count)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, HELPERS)))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
