"""modules.judge.teacher: good, weak and misled teachers, as a Trainer asks them."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.judge.teacher import check_teacher

OUTPUT = OutputSpec(task="classification", size=2, classes=("no", "yes"))
WEAK = r"the teacher is weak: accuracy 0\.\d{4} on 200 held-out training examples, where the most "


def _examples(count: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that the sign of the first number tells, far away from 0."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32)
    return x + 40, (x[:, 0] > 0).astype(np.int64)


def _batches(*weights: np.ndarray) -> list:
    x, labels = _examples(seed=1)
    return [
        (
            {"x": x[at : at + 50]},
            {"label": labels[at : at + 50]},
            *(w[at : at + 50] for w in weights),
        )
        for at in range(0, 200, 50)
    ]


def _model(momentum: float | None, epochs: int) -> keras.Model:
    keras.utils.set_random_seed(3)
    x = keras.Input((4,), name="x")
    hidden = x if momentum is None else keras.layers.BatchNormalization(momentum=momentum)(x)
    model = keras.Model({"x": x}, keras.layers.Dense(2)(hidden), name="teacher")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss)
    if epochs:
        features, labels = _examples(2000)
        model.fit({"x": features}, labels, epochs=epochs, verbose=0)
    return model


def test_a_good_teacher_passes_and_its_number_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        check_teacher(_model(0.9, 3), _batches(), OUTPUT, allow_weak=False)
    assert "accuracy 0.9" in caplog.text and "weak" not in caplog.text


def test_a_teacher_that_knows_nothing_stops_the_run_in_one_line() -> None:
    model = _model(None, 0)
    with pytest.raises(ModelError, match=WEAK) as caught:
        check_teacher(model, _batches(np.ones(200, np.float32)), OUTPUT, allow_weak=False)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("or set its allow_weak: true to go on")
    assert "BatchNormalization" not in str(caught.value)


def test_weak_is_only_a_warning_where_it_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    check_teacher(_model(None, 0), _batches(), OUTPUT, allow_weak=True)
    assert "the teacher is weak" in caplog.text


def test_moving_averages_of_the_beginning_are_named_and_nothing_is_changed() -> None:
    model = _model(0.9999, 3)
    before = [weights.copy() for weights in model.get_weights()]
    with pytest.raises(ModelError, match=WEAK) as caught:
        check_teacher(model, _batches(), OUTPUT, allow_weak=False)
    assert "with the statistics of each batch: the moving averages of its Batch" in str(
        caught.value
    )
    assert "of momentum 0.9999, are those of the beginning for some 50,000 steps" in str(
        caught.value
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
