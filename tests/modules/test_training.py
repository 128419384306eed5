"""Tests of modules.training: short trainings on real digits."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from modules import training
from modules.distiller import Distiller
from modules.errors import DataError, UserError
from modules.model_zoo import build_model
from modules.settings import ModelSettings, TrainSettings

SETTINGS = TrainSettings(epochs=6, learning_rate=0.02)


def _digits(pixels, labels, start, stop, shuffle_seed=None):
    data = tf.data.Dataset.from_tensor_slices((pixels[start:stop], labels[start:stop]))
    if shuffle_seed is not None:
        data = data.shuffle(1000, seed=shuffle_seed)
    return data.batch(50)


def _model(seed=0):
    keras.utils.set_random_seed(seed)
    return build_model(
        ModelSettings(model="cnn_small", parameters={"filters": [8, 16], "dropout": 0.1}),
        (8, 8, 1),
        10,
    )


@pytest.fixture(scope="module")
def train(digit_pixels, digit_labels, tmp_path_factory):
    """A function that trains on 400 digits, validates on 200 others, and tells what happened.

    With `wrong=1` every training label is one too high: the more it learns, the worse it gets.
    """

    def run(settings, seed=0, model=None, teacher=None, wrong=0):
        model = model or _model(seed)
        validation = slice(400, 600)
        distiller = Distiller(model, teacher)
        log_dir = tmp_path_factory.mktemp("logs")
        training.fit(
            distiller,
            _digits(digit_pixels, (digit_labels + wrong) % 10, 0, 400, shuffle_seed=seed),
            _digits(digit_pixels, digit_labels, validation.start, validation.stop),
            settings,
            str(log_dir),
        )
        log_probabilities = log_softmax(
            model.predict(digit_pixels[validation], verbose=0).astype(np.float64), axis=1
        )
        return SimpleNamespace(
            model=model,
            weights=model.get_weights(),
            history=distiller.history.history if settings.epochs else None,
            log_dir=log_dir,
            final_loss=-log_probabilities[np.arange(200), digit_labels[validation]].mean(),
        )

    return run


@pytest.fixture(scope="module")
def trained(train):
    return train(SETTINGS)


def _equal(first, second):
    return [np.array_equal(one, other) for one, other in zip(first, second, strict=True)]


# -- the rate --


@pytest.mark.parametrize(("epoch", "share"), [(0, 1), (1, 0.75), (1.5, 0.5), (2, 0.25), (3, 0)])
def test_cosine_by_hand(epoch, share):
    # Thirds of half a turn: cos 0, 60, 90, 120 and 180 degrees.
    settings = TrainSettings(epochs=3, learning_rate=0.2, schedule="cosine")
    assert training.learning_rate(settings, epoch) == pytest.approx(0.2 * share, abs=1e-15)


def test_constant_rate():
    settings = TrainSettings(epochs=3, learning_rate=0.2, schedule="constant")
    assert {training.learning_rate(settings, epoch) for epoch in range(3)} == {0.2}


# -- a training --


def test_training_learns_and_follows_the_schedule(trained):
    history = trained.history
    assert history["loss"][-1] < 0.75 * history["loss"][0]
    assert history["val_accuracy"][-1] > 0.4
    rates = [0.02 * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)]
    np.testing.assert_allclose(history["learning_rate"], rates, rtol=1e-5)


def test_tensorboard_logs_are_in_the_directory(trained):
    files = list(trained.log_dir.rglob("events.out.tfevents.*"))
    tags = {
        value.tag
        for file in files
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert {"epoch_loss", "epoch_accuracy", "epoch_hard_loss"} <= tags
    assert {file.parent.name for file in files} == {"train", "validation"}


def test_the_seed_decides_the_weights_to_the_bit(train, trained):
    again, other = train(SETTINGS), train(SETTINGS, seed=1)
    assert all(_equal(trained.weights, again.weights))
    assert not any(_equal(trained.weights, other.weights))
    assert trained.history == again.history


def test_the_same_loop_serves_a_student_with_its_teacher(train, trained):
    teacher = trained.model
    distilled = train(TrainSettings(epochs=1), seed=1, teacher=teacher)
    assert {"soft_target_loss", "val_soft_target_loss"} <= set(distilled.history)
    assert all(_equal(trained.weights, teacher.get_weights()))


@pytest.mark.parametrize(("patience", "epochs"), [(10, 5), (2, 3)])
def test_it_ends_with_the_weights_of_the_best_epoch(train, trained, patience, epochs):
    model = _model()
    model.set_weights(trained.weights)
    settings = TrainSettings(epochs=5, learning_rate=0.002, schedule="constant", patience=patience)
    result = train(settings, model=model, wrong=1)
    losses = result.history["val_loss"]
    assert len(losses) == epochs
    assert losses[-1] > losses[0] + 0.1 and np.argmin(losses) == 0
    assert result.final_loss == pytest.approx(losses[0], rel=1e-4)


def test_zero_epochs_leave_the_weights(train):
    model = _model()
    before = [weight.copy() for weight in model.get_weights()]
    assert all(_equal(before, train(TrainSettings(epochs=0), model=model).weights))


# -- what is refused --


def test_empty_validation_part(digit_pixels, digit_labels, tmp_path):
    model = _model()
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(DataError, match=r"validation part; raise data\.validation_fraction"):
        training.fit(
            Distiller(model),
            _digits(digit_pixels, digit_labels, 0, 100),
            _digits(digit_pixels, digit_labels, 0, 0),
            SETTINGS,
            str(tmp_path),
        )
    assert all(_equal(before, model.get_weights()))


@pytest.mark.xfail(
    reason="bug: with no training example fit() warns, trains nothing and says it is done",
    raises=pytest.fail.Exception,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_empty_training_part(digit_pixels, digit_labels, tmp_path):
    with pytest.raises(DataError):
        training.fit(
            Distiller(_model()),
            _digits(digit_pixels, digit_labels, 0, 0),
            _digits(digit_pixels, digit_labels, 0, 100),
            SETTINGS,
            str(tmp_path),
        )


@pytest.mark.xfail(
    reason="bug: fit() promises a DataError, but Keras' RuntimeError passes", raises=RuntimeError
)
def test_loss_that_is_not_finite(train):
    with pytest.raises(UserError, match="learning_rate"):
        train(TrainSettings(epochs=2, learning_rate=1e38))
