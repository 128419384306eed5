"""modules.models.probe: good models pass, and each fault is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from small_inputs import MIXTURE, TABLE, VALUE
from small_models import class_output

from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ModelError
from modules.models import zoo
from modules.models.probe import check_answers, random_inputs
from modules.settings import ModelSettings

INPUTS = {"x": InputSpec(name="x", kind="tensor", feature="x", shape=(6,), dtype="float32")}


def _model(
    end: Callable[[Any], Any], task: Any = "classification", classes: int = 3
) -> tuple[Callable[[], keras.Model], OutputSpec]:
    def build() -> keras.Model:
        x = keras.Input((6,), name="x")
        return keras.Model({"x": x}, end(keras.layers.Dense(classes)(x)), name="mine")

    return build, class_output(classes, task)


def test_random_inputs_are_what_the_specification_says() -> None:
    found = random_inputs(MIXTURE, 500)
    for name, spec in MIXTURE.items():
        assert (found[name].shape, found[name].dtype) == ((500, *spec.shape), spec.dtype)
        if spec.vocabulary_size:
            assert (found[name].min(), found[name].max()) == (0, spec.vocabulary_size - 1)
    assert found["age"].mean() == pytest.approx(40, abs=2)
    assert (found["photo"].min(), found["photo"].max()) == (0, 255)


@pytest.mark.parametrize(("model", "output"), [("mlp", class_output(2)), ("resnet_tabular", VALUE)])
def test_built_in_models_pass(model: str, output: OutputSpec) -> None:
    settings = ModelSettings(model=model)
    built = check_answers(lambda: zoo.build_model(settings, TABLE, output), TABLE, output)
    assert built.output_shape == (None, output.size)


@pytest.mark.parametrize("seed", range(12))
def test_logits_of_chance_are_no_probabilities(seed: int) -> None:
    """Of two classes, an untrained model's answers may all be small and above 0."""
    keras.utils.set_random_seed(seed)
    small = keras.initializers.RandomUniform(0.4, 0.6)

    def build() -> keras.Model:
        x = keras.Input((6,), name="x")
        logits = keras.layers.Dense(2, bias_initializer=small, kernel_initializer="zeros")(x)
        return keras.Model({"x": x}, logits, name="mine")

    check_answers(build, INPUTS, class_output(2, "binary"))


class _Noise(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x + keras.random.normal((3,))


class _OverTheBatch(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (_Noise(), "must give the same answer to the same input, but the second time"),
        (_OverTheBatch(), "must answer each example by itself, but in a batch of 3"),
        (lambda x: keras.ops.log(-keras.ops.abs(x)), "must give finite answers, but gives nan"),
        (
            lambda x: keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), axis=1, keepdims=True),
            "must return logits, but seems to return probabilities",
        ),
    ],
    ids=["random", "batch", "not finite", "softmax of one's own"],
)
def test_each_fault_is_one_line(end: Callable[[Any], Any], message: str) -> None:
    build, output = _model(end)
    with pytest.raises(ModelError, match=message) as caught:
        check_answers(build, INPUTS, output)
    assert str(caught.value).startswith("mine must ")


def test_a_sigmoid_of_labels_is_found() -> None:
    build, output = _model(lambda x: 1 / (1 + keras.ops.exp(-x)), "multilabel")
    with pytest.raises(ModelError, match="seems to return probabilities"):
        check_answers(build, INPUTS, output)


def test_a_builder_that_counts_is_found() -> None:
    widths = itertools.count(4)

    def build() -> keras.Model:
        x = keras.Input((6,), name="x")
        hidden = keras.layers.Dense(next(widths))(x)
        return keras.Model({"x": x}, keras.layers.Dense(3)(hidden), name="mine")

    with pytest.raises(ModelError, match=r"other weights the second time \(\(6, 5\) instead of "):
        check_answers(build, INPUTS, class_output(3))


def test_the_model_is_not_the_one_whose_weights_were_changed() -> None:
    build, output = _model(lambda x: keras.ops.sigmoid(x) * 0.5 - 1)
    built = check_answers(build, INPUTS, output)
    assert np.abs(built.trainable_weights[0]).max() < 2
