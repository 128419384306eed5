"""Tests of modules.distill.training: short trainings on real digits."""

import logging
import math
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkout import HELPERS, ROOT
from example_files import write_examples
from image_data import image_spec
from scipy.special import log_softmax
from small_models import build

from modules.data.examples import ExampleData
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.errors import DataError, UserError
from modules.settings import DataSettings, TrainSettings

SETTINGS = TrainSettings(epochs=6, learning_rate=0.02, batch_size=50, schedule="cosine")
DATA = DataSettings(validation_fraction=1 / 3)
SPEC = image_spec()


def _model(seed=0):
    keras.utils.set_random_seed(seed)
    return build("resnet_small", widths=[8], blocks=1, dropout=0.1)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Which of the numbers 0 … 599 fall into the validation part, as a mask."""
    numbers = range(600)
    directory = tmp_path_factory.mktemp("numbers") / "train"
    pattern = write_examples(directory, np.zeros((600, 64), np.uint8), numbers, numbers)
    mask = np.zeros(600, bool)
    for _, y in ExampleData([pattern], SPEC, DATA).validation(600):
        mask[y["label"].numpy()] = True
    return mask


@pytest.fixture(scope="module")
def digits(digit_pixels, digit_labels, held_out, tmp_path_factory):
    """A function that writes digits to files; `wrong` is added to the labels of training."""

    def write(chosen=None, wrong=0):
        numbers = np.arange(600) if chosen is None else np.flatnonzero(chosen)
        labels = np.where(held_out, digit_labels[:600], (digit_labels[:600] + wrong) % 10)
        directory = tmp_path_factory.mktemp("digits") / "train"
        pattern = write_examples(directory, digit_pixels[numbers], labels[numbers], numbers)
        return ExampleData([pattern], SPEC, DATA)

    return write


@pytest.fixture(scope="module")
def train(digits, digit_pixels, digit_labels, held_out, tmp_path_factory):
    """A function that trains on some 400 digits, validates on 200 others, and tells what happened.

    With `wrong=1` every training label is one too high: the more it learns, the worse it gets.
    """

    def run(settings, seed=0, model=None, teacher=None, wrong=0, chosen=None, **plan):
        model = model or _model(seed)
        distiller = Distiller(teacher, model) if teacher else Distiller(None, model, methods=())
        log_dir = tmp_path_factory.mktemp("logs")
        data = digits(chosen, wrong)
        training.fit(distiller, data, training.Plan(settings, seed, str(log_dir), **plan))
        log_probabilities = log_softmax(
            model.predict(digit_pixels[:600][held_out], verbose=0).astype(np.float64), axis=1
        )
        labels = digit_labels[:600][held_out]
        return SimpleNamespace(
            model=model,
            weights=model.get_weights(),
            history=distiller.history.history if settings.epochs else None,
            log_dir=log_dir,
            final_loss=-log_probabilities[np.arange(len(labels)), labels].mean(),
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


@pytest.mark.thorough
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


@pytest.mark.parametrize(("examples", "epochs"), [(9, 5), (10, 2)])
def test_few_validation_examples_choose_no_epoch(
    train, trained, held_out, caplog, examples, epochs
):
    """Nor do they end a training; here it gets worse from the first epoch on."""
    model = _model()
    model.set_weights(trained.weights)
    chosen = ~held_out
    chosen[np.flatnonzero(held_out)[:examples]] = True
    settings = TrainSettings(epochs=5, learning_rate=0.01, patience=1, average=0.0)
    with caplog.at_level(logging.INFO, "tfx_distill.training"):
        losses = train(settings, model=model, wrong=1, chosen=chosen).history["val_loss"]
    assert len(losses) == epochs and losses[1] > losses[0]
    kept = "last epoch 5, too few" if examples < 10 else "best epoch 1"
    assert kept in caplog.text


def test_averaged_weights_are_validated_and_shipped(train):
    """And their batch statistics with them: of the last weights, these would be other ones."""
    settings = SETTINGS.model_copy(update={"average": 0.2, "schedule": "constant"})
    averaged, last = train(settings), train(settings.model_copy(update={"average": 0.0}))
    assert averaged.history["loss"] == last.history["loss"]  # it learns with its own
    assert not any(_equal(averaged.weights, last.weights))
    losses = averaged.history["val_loss"]
    assert losses != last.history["val_loss"]
    assert averaged.final_loss == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("monitor", "told"),
    [("loss", r"\(val_hard_loss \d"), ("metric", r"\(val_balanced_accuracy 0\.\d+, val_hard_loss")],
)
def test_the_log_says_what_was_best(train, caplog, monitor, told):
    settings = TrainSettings(epochs=2, learning_rate=0.02, monitor=monitor)
    with caplog.at_level(logging.INFO, "tfx_distill.training"):
        history = train(settings).history
    name, best = (
        ("val_balanced_accuracy", np.argmax)
        if monitor == "metric"
        else ("val_hard_loss", np.argmin)
    )
    assert re.search(f"best epoch {best(history[name]) + 1} {told}", caplog.text)


def test_batch_statistics_by_steps(train):
    settings = TrainSettings(epochs=1, batch_size=8, batch_norm="steps")
    found = {
        layer.momentum
        for layer in train(settings).model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    (momentum,) = found
    # Some 400 examples to learn from.
    assert 1 / (1 - momentum) == pytest.approx(50, abs=6)


def test_zero_epochs_leave_the_weights(train):
    model = _model()
    before = [weight.copy() for weight in model.get_weights()]
    assert all(_equal(before, train(TrainSettings(epochs=0), model=model).weights))


def test_only_the_chief_writes(train, tmp_path):
    settings = TrainSettings(epochs=1)
    state_dir = tmp_path / "state"
    result = train(settings, chief=False, state_dir=str(state_dir), seconds_between_saves=0)
    assert not list(result.log_dir.iterdir()) and not state_dir.exists()
    assert len(result.history["val_loss"]) == 1  # it trained all the same


# -- memory --


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units")
def test_memory_does_not_grow_with_the_examples(tmp_path):
    """Teachers asked, answers written, student trained: eight times as many examples for the same.

    Any part kept in memory (the validation's, the labeled or the unlabeled of the training) would
    cost a third of what is added, answers not counted.
    """
    few, many = 3000, 24_000
    processes = []
    for count in (few, many):
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, str(HELPERS / "streaming.py")]
        processes.append(
            subprocess.Popen(
                [*command, str(tmp_path / str(count)), str(count)],
                env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    peaks = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        peaks.append(int(output.split()[-1]))
    added = (many - few) * 64 * 64 * 3
    assert peaks[1] - peaks[0] < added / 4


# -- what is refused --


def test_empty_validation_part(digits, held_out, tmp_path):
    model = _model()
    before = [weight.copy() for weight in model.get_weights()]
    plan = training.Plan(SETTINGS, 0, str(tmp_path))
    with pytest.raises(DataError, match=r"validation part; raise data\.validation_fraction"):
        training.fit(Distiller(None, model, methods=()), digits(~held_out), plan)
    assert all(_equal(before, model.get_weights()))


def test_empty_training_part(digits, held_out, tmp_path):
    model = _model()
    before = [weight.copy() for weight in model.get_weights()]
    plan = training.Plan(SETTINGS, 0, str(tmp_path))
    with pytest.raises(DataError, match=r"training part; lower data\.validation_fraction"):
        training.fit(Distiller(None, model, methods=()), digits(held_out), plan)
    assert all(_equal(before, model.get_weights()))


def test_damaged_examples_are_one_line(digits, tmp_path):
    data = digits()
    with open(data.files[0], "rb") as file:
        content = file.read()
    with open(data.files[0], "wb") as file:
        file.write(content[: len(content) // 2])
    plan = training.Plan(SETTINGS, 0, str(tmp_path))
    with pytest.raises(DataError, match="training data are damaged") as caught:
        training.fit(Distiller(None, _model(), methods=()), data, plan)
    assert "\n" not in str(caught.value)


def test_loss_that_is_not_finite(train):
    # Above what a configuration may have; smaller rates take longer to get there.
    settings = TrainSettings(epochs=2).model_copy(update={"learning_rate": 1e38})
    with pytest.raises(UserError, match="learning_rate") as caught:
        train(settings)
    assert "\n" not in str(caught.value)
