"""Tests of modules.distill.checkpoint: what is taken up again ends as what was never broken off."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf
from checkout import HELPERS, ROOT
from example_files import write_examples
from image_data import image_spec

from modules.data.examples import ExampleData, View
from modules.distill import training
from modules.distill.checkpoint import TrainingState
from modules.distill.distiller import Distiller
from modules.errors import DataError, UserError
from modules.settings import (
    AugmentSettings,
    DataSettings,
    MethodSettings,
    TrainSettings,
)

COUNT = 200
DATA = DataSettings(validation_fraction=0.25)
SPEC = image_spec()
# Everything that has a state: warm-up, a projector, dropout, batch statistics, views.
OBJECTIVE = (
    MethodSettings(name="soft_target", warmup_epochs=4, final_temperature=2),
    MethodSettings(name="hint", weight=1, student_layer="block1", teacher_layer="stage1_block1"),
)
VIEW = View(AugmentSettings(pad_crop=1), 3, 5)


class Killed(BaseException):
    """Stands for SIGKILL within this process."""


def build(seed):
    """A student and its teacher, ready to be trained."""
    keras.utils.set_random_seed(100)
    teacher = small_models.build("resnet_small", widths=[6], blocks=1)
    keras.utils.set_random_seed(seed)
    student = small_models.build("separable_cnn", filters=[4, 8], dropout=0.3)
    return Distiller(teacher, student, OBJECTIVE)


def train(pattern, state_dir, log_dir, settings, seed=0):
    """Trains as a Trainer does; returns the student's and the projector's last weights."""
    distiller = build(seed)
    plan = training.Plan(
        settings, 7, str(log_dir), state_dir and str(state_dir), VIEW, seconds_between_saves=0
    )
    training.fit(distiller, ExampleData([pattern], SPEC, DATA), plan)
    return distiller.get_weights()


@pytest.fixture(scope="module")
def pattern(digit_pixels, digit_labels, tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "train"
    return write_examples(directory, digit_pixels[:COUNT], digit_labels[:COUNT], np.arange(COUNT))


SETTINGS = {
    "to the end": TrainSettings(epochs=5, batch_size=32, learning_rate=0.01),
    # A rate at which the first epochs are the best ones.
    "stopped early": TrainSettings(
        epochs=12, batch_size=32, learning_rate=0.3, schedule="constant", patience=2
    ),
    # What has a state or a moment of its own.
    "with a recipe": TrainSettings(
        epochs=4,
        batch_size=32,
        learning_rate=0.01,
        warmup_epochs=2.5,
        average=0.2,
        batch_norm="steps",
        clip_norm=1.0,
        monitor="metric",
    ),
}


@pytest.fixture(scope="module")
def unbroken(pattern, tmp_path_factory):
    """The weights that each training ends with, by name; computed once."""
    known = {}

    def weights(name):
        if name not in known:
            directory = tmp_path_factory.mktemp("unbroken")
            known[name] = train(pattern, None, directory, SETTINGS[name])
        return known[name]

    return weights


def _assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def kill_after(monkeypatch):
    """A function: training dies just behind the save after some epoch, until it is revived."""
    original = TrainingState.save

    def arrange(last):
        def save(self):
            original(self)
            if self.epoch == last:
                raise Killed

        monkeypatch.setattr(TrainingState, "save", save)

    yield arrange
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("stopped early", 2),
        ("with a recipe", 2),
        pytest.param("to the end", 1, marks=pytest.mark.thorough),
        pytest.param("to the end", 4, marks=pytest.mark.thorough),
    ],
)
def test_a_training_taken_up_again_ends_as_an_unbroken_one(
    pattern, unbroken, kill_after, tmp_path, caplog, monkeypatch, name, epoch
):
    state_dir = tmp_path / "state"
    kill_after(epoch)
    with pytest.raises(Killed):
        train(pattern, state_dir, tmp_path / "logs", SETTINGS[name])
    assert [path.name for path in state_dir.iterdir()] == ["state.npz"]
    kill_after(None)
    # As a new process would, but from other weights: all that counts must come from the file.
    with caplog.at_level(logging.INFO, "tfx_distill.training"):
        again = train(pattern, state_dir, tmp_path / "logs", SETTINGS[name], seed=1)
    assert f"taken up again behind epoch {epoch}" in caplog.text
    _assert_same(again, unbroken(name))
    # Whatever comes next may fail: the training is not done again.
    monkeypatch.setattr(Distiller, "fit", None)
    _assert_same(train(pattern, state_dir, tmp_path / "logs", SETTINGS[name], 2), unbroken(name))


@pytest.mark.thorough
def test_a_training_that_died_when_it_was_done(
    pattern, unbroken, kill_after, tmp_path, monkeypatch
):
    # Stopped early, saved, killed: nothing is left to train.
    state_dir = tmp_path / "state"
    name, stops = "stopped early", []
    expected = unbroken(name)  # before training is made to die below
    original = TrainingState.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        original(self, epoch, logs)
        stops.append((epoch + 1, self.best_epoch, self.model.stop_training))
        if self.model.stop_training:
            raise Killed

    monkeypatch.setattr(TrainingState, "on_epoch_end", on_epoch_end)
    with pytest.raises(Killed):
        train(pattern, state_dir, tmp_path / "logs", SETTINGS[name])
    last, best, _ = stops[-1]
    assert last < SETTINGS[name].epochs and last - best == 2
    steps = len(stops)
    again = train(pattern, state_dir, tmp_path / "logs", SETTINGS[name], seed=1)
    assert len(stops) == steps  # no epoch more
    # The best weights, which the projector and batch statistics belong to.
    _assert_same(again, expected)


# -- The file --


def _compiled(seed, pattern=None):
    """A distiller with an optimizer; after some steps of training if there are data."""
    distiller = build(seed)
    settings = SETTINGS["to the end"]
    training.compile_distiller(distiller, settings)
    if pattern is not None:
        data = ExampleData([pattern], SPEC, DATA)
        distiller.fit(data.validation(16), epochs=1, verbose=0)
    return distiller


def _state(directory, distiller=None, **arguments):
    state = TrainingState(3, str(directory), seconds_between_saves=0, **arguments)
    if distiller is not None:
        state.set_model(distiller)
    return state


def _logs(loss):
    """Of an epoch: the labels' loss decides, whatever the objective says."""
    return {"val_hard_loss": loss, "val_loss": -loss}


def _everything(distiller):
    return {
        variable.path: np.array(variable.value)
        for variable in [*distiller.variables, *distiller.optimizer.variables]
    }


@pytest.fixture(scope="module")
def trained(pattern):
    return _compiled(0, pattern)


@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_all_variables_come_back_to_the_bit(trained, tmp_path, scheme):
    """From a URL too: where the pod of an interrupted training is gone, its state must not be."""
    directory = f"{scheme}{tmp_path}"
    state = _state(directory, trained)
    state.on_epoch_end(0, _logs(0.1 + 0.2))
    fresh = _compiled(1)
    before, saved = _everything(fresh), _everything(trained)
    restored = _state(directory)
    assert restored.restore(fresh)
    assert (restored.first_epoch, restored.best_epoch) == (1, 1)
    assert restored.best_loss == 0.1 + 0.2
    after = _everything(fresh)
    assert len(after) == len(saved) > 20
    for (path, value), expected in zip(after.items(), saved.values(), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=path)
    changed = [path for path in after if not np.array_equal(before[path], after[path])]
    # Of every kind: weights, batch statistics, random states, the optimizer's moments and steps.
    for kind in (
        "kernel",
        "moving_mean",
        "seed_generator",
        "projector",
        "momentum",
        "velocity",
        "iteration",
    ):
        assert [path for path in changed if kind in path], kind
    assert not [path for path in after if "stage1" in path]  # the teacher is not in it
    restored.set_best_weights(fresh)
    _assert_same(fresh.get_weights(), trained.get_weights())


def test_there_may_be_nothing_to_take_up(trained, tmp_path):
    weights = trained.get_weights()
    for state in (_state(tmp_path / "missing"), TrainingState(3, None)):
        assert not state.restore(trained)
        assert (state.first_epoch, state.best_epoch, state.finished) == (0, 0, False)
    _assert_same(trained.get_weights(), weights)


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "text", "other model"])
def test_a_state_that_does_not_fit(trained, tmp_path, damage):
    state = _state(tmp_path, trained)
    state.epoch = 2
    state.save()
    path = tmp_path / "state.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = {
        "empty": b"",
        "half": path.read_bytes()[: len(content) // 2],
        "flipped": bytes(content),
        "text": b"not a state",
    }
    if damage in damaged:
        path.write_bytes(damaged[damage])
        model = trained
    else:
        inputs = keras.Input((8, 8, 1), dtype="uint8")
        flat = keras.layers.Flatten()(inputs)
        student = keras.Model(inputs, keras.layers.Dense(10)(flat))
        model = Distiller(None, student, methods=())
        training.compile_distiller(model, SETTINGS["to the end"])
    before = _everything(model)
    with pytest.raises(DataError) as caught:
        _state(tmp_path).restore(model)
    message = str(caught.value)
    assert message.startswith(f"{path}: the saved training cannot be taken up (")
    assert message.endswith("; remove the file to train from the beginning")
    assert "\n" not in message
    _assert_same(before.values(), _everything(model).values())  # nothing half restored


def test_a_save_that_is_cut_short_leaves_the_last_one(trained, tmp_path, monkeypatch):
    state = _state(tmp_path, trained)
    state.epoch = 1
    state.save()
    state.epoch = 2
    content = (tmp_path / "state.npz").read_bytes()

    def cut(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", cut)
        with pytest.raises(Killed):
            state.save()
    aside = [path for path in tmp_path.iterdir() if path.name != "state.npz"]
    assert len(aside) == 1
    aside[0].write_bytes(b"half of i")
    assert (tmp_path / "state.npz").read_bytes() == content
    restored = _state(tmp_path)
    assert restored.restore(trained) and restored.first_epoch == 1


def test_a_full_disk_leaves_the_last_one(trained, tmp_path, monkeypatch):
    state = _state(tmp_path, trained)
    state.save()
    content = (tmp_path / "state.npz").read_bytes()

    def write(*_):
        raise tf.errors.ResourceExhaustedError(None, None, f"{tmp_path}; No space left on device")

    monkeypatch.setattr(tf.io.gfile.GFile, "write", write)
    with pytest.raises(UserError, match=r"no space left for the state of the training: \d"):
        state.save()
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
    assert (tmp_path / "state.npz").read_bytes() == content


def test_an_unfinished_first_save_is_no_state(trained, tmp_path):
    (tmp_path / "state.npz.123").write_bytes(b"half of i")
    assert not _state(tmp_path).restore(trained)


def test_only_the_chief_writes(trained, tmp_path):
    other = _state(tmp_path / "state", trained, saves=False)
    other.on_epoch_end(0, _logs(1.0))
    assert not (tmp_path / "state").exists()
    chief = _state(tmp_path / "state", trained)
    chief.epoch = 3
    chief.save()
    # But it does take up: all workers must start alike.
    assert other.restore(trained) and other.first_epoch == 3


def test_it_is_saved_now_and_then(trained, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    state = TrainingState(100, str(tmp_path), seconds_between_saves=30)
    state.set_model(trained)
    saved = []
    monkeypatch.setattr(
        state, "save", lambda: (saved.append(state.epoch), TrainingState.save(state))
    )
    for epoch in range(8):
        now[0] += 10
        state.on_epoch_end(epoch, _logs(1.0))
    assert saved == [3, 6]


@pytest.mark.parametrize(
    ("values", "best"),
    [
        # A metric that is higher, whatever the loss; among equal ones the lower loss.
        ([(0.5, 1.0), (0.6, 2.0), (0.6, 2.5), (0.5, 0.1)], 2),
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.8), (0.4, 0.1)], 3),
    ],
)
def test_a_metric_decides(trained, tmp_path, values, best):
    state = _state(tmp_path, trained, metric="skill")
    for epoch, (skill, loss) in enumerate(values):
        state.on_epoch_end(epoch, {**_logs(loss), "val_skill": skill})
    skill, loss = values[best - 1]
    assert (state.best_epoch, state.best_metric, state.best_loss) == (best, skill, loss)
    assert state.kept == f"best epoch {best} (val_skill {skill:.4f}, val_hard_loss {loss:.4f})"
    restored = _state(tmp_path, metric="skill")
    assert restored.restore(trained)
    assert (restored.best_epoch, restored.best_metric) == (best, skill)


@pytest.mark.parametrize(
    ("losses", "best", "stops"),
    [
        ([3, 2, 1], 3, [False, False, False]),
        ([1, 2, 2, 2], 1, [False, False, False, True]),
        # An equal loss is not a better one.
        ([2, 1, 1, 1, 1], 2, [False, False, False, False, True]),
        ([3, 4, 5, 2, 3, 3], 4, [False] * 6),
    ],
)
def test_stopping_by_hand(trained, losses, best, stops):
    state = TrainingState(3, None)
    state.set_model(trained)
    told = []
    for epoch, loss in enumerate(losses):
        trained.stop_training = False
        state.on_epoch_end(epoch, _logs(loss))
        told.append(trained.stop_training)
    assert (state.best_epoch, state.best_loss, told) == (best, min(losses), stops)


# -- A real process, really killed --

_SCRIPT = """
import logging, sys
import numpy as np
logging.basicConfig(level=logging.INFO)
sys.path[:0] = {paths!r}
import test_checkpoint
pattern, state_dir, log_dir, weights = sys.argv[1:]
settings = test_checkpoint.SETTINGS["to the end"].model_copy(update=dict(epochs={epochs}))
np.savez(weights, *test_checkpoint.train(pattern, state_dir, log_dir, settings))
print("done")
"""


@pytest.mark.thorough
def test_a_killed_process_is_taken_up_by_the_next(pattern, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        _SCRIPT.format(paths=[str(ROOT), str(HELPERS), str(Path(__file__).parent)], epochs=15)
    )
    state = tmp_path / "state" / "state.npz"

    def start(name):
        weights, log = str(tmp_path / f"{name}.npz"), tmp_path / f"{name}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, script, pattern, str(state.parent), str(tmp_path / name), weights],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return process, weights, log

    killed, _, log = start("killed")
    try:
        deadline = time.monotonic() + 120
        while not state.exists():
            assert killed.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert state.exists() and "done" not in log.read_text()
    again, weights, log = start("again")
    try:
        # Beside it, in this process, the unbroken one.
        settings = SETTINGS["to the end"].model_copy(update={"epochs": 15})
        expected = train(pattern, None, tmp_path / "unbroken", settings)
        assert again.wait(timeout=200) == 0, log.read_text()
    finally:
        again.kill()
    assert "taken up again behind epoch" in log.read_text()
    with np.load(weights) as arrays:
        _assert_same([arrays[name] for name in arrays], expected)
