"""Tests of modules.distill.averaging: numbers by hand, and a real training."""

import math

import keras
import numpy as np
import pytest

from modules.distill.averaging import AveragedWeights


def _average(start, steps=1000.0):
    weight = keras.Variable(np.array([start], np.float32))
    return weight, AveragedWeights([weight], steps)


def _value(variable):
    return float(variable.value[0])


def test_the_first_weights_are_forgotten_soon():
    """Of a young average a tenth reaches back to the beginning."""
    weight, average = _average(100.0)
    average.update(1)
    weight.assign([0.0])
    shares = []
    for _ in range(40):
        average.update(1)
        shares.append(float(average.values[0][0]) / 100)
    # Momentum n / (n + 9) for the n-th: 1/10, then 1/10 * 2/11, ...
    assert shares[:2] == pytest.approx([0.1, 0.1 * 2 / 11])
    assert shares[9] < 1e-4


def test_an_old_average_decays_by_its_time_constant():
    weight, average = _average(1.0, steps=20)
    for _ in range(1000):
        average.update(4)
    assert float(average.values[0][0]) == 1.0  # what does not change stays the same to the bit
    weight.assign([0.0])
    for _ in range(5):
        average.update(4)
    assert float(average.values[0][0]) == pytest.approx(math.exp(-1), rel=1e-5)


def test_validation_sees_the_average_and_training_its_own_weights():
    weight, average = _average(1.0)
    average.on_test_begin()  # before the first step there is no average
    average.on_test_end()
    assert _value(weight) == 1.0
    average.update(1)
    weight.assign([3.0])
    average.on_test_begin()
    assert _value(weight) == 1.0
    average.on_test_end()
    assert _value(weight) == 3.0
    with average.applied():
        assert _value(weight) == 1.0
    assert _value(weight) == 3.0


def test_it_updates_now_and_then_and_behind_the_last_step():
    _, average = _average(1.0)
    average.set_params({"steps": 40})
    seen = []
    average.update = lambda passed: seen.append(passed)
    for _ in range(2):
        average.on_epoch_begin(0)
        for batch in range(40):  # several workers: one step at a time
            average.on_train_batch_end(batch)
        average.on_epoch_begin(1)
        for batch in (15, 31, 47):  # several steps at a time: the number of the last one
            average.on_train_batch_end(batch)
    assert seen == [16, 16, 8] * 4


def test_random_states_are_not_averaged():
    dropout = keras.layers.Dropout(0.5)
    dropout(np.zeros((1, 2), np.float32), training=True)
    average = AveragedWeights([keras.Variable([1.0]), *dropout.variables], 10)
    average.update(1)
    assert len(dropout.variables) == 1 and len(average.values) == 1
