"""What works on local files alone, with artifacts at URLs. TensorFlow's `ram://` is such a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from components.local_files import LocalFiles

from modules.distill.checkpoint import TrainingState
from modules.errors import ModelError
from modules.models import storage, zoo
from modules.settings import ModelSettings

FILES = {"report.json": b"{}", "deep/er/model.tflite": bytes(range(256)), "empty": b""}


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return f"ram://bucket/{request.node.name}"


def write(directory: str) -> None:
    for name, content in FILES.items():
        tf.io.gfile.makedirs(f"{directory}/{name}".rpartition("/")[0])
        with tf.io.gfile.GFile(f"{directory}/{name}", "wb") as file:
            file.write(content)


def read(directory: str) -> dict[str, bytes]:
    found = {}
    for folder, _, names in tf.io.gfile.walk(directory):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with tf.io.gfile.GFile(path, "rb") as file:
                found[path.removeprefix(f"{directory}/")] = file.read()
    return found


def test_a_local_directory_is_used_as_it_is(tmp_path: Path) -> None:
    with LocalFiles() as files:
        assert files.to_read(str(tmp_path)) == files.to_write(str(tmp_path)) == str(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_url_is_read_from_a_copy_that_goes_away(url: str, slash: str) -> None:
    write(url)
    with LocalFiles() as files:
        directory = files.to_read(url + slash)
        assert Path(directory).is_dir()
        assert read(directory) == FILES
    assert not Path(directory).exists()


def test_what_is_written_is_at_the_url_in_the_end(url: str) -> None:
    with LocalFiles() as files:
        directory = files.to_write(url)
        write(directory)
        assert not tf.io.gfile.exists(url)
    assert read(url) == FILES
    assert not Path(directory).exists()


def test_after_an_error_nothing_is_at_the_url(url: str) -> None:
    def fail() -> None:
        with LocalFiles() as files:
            write(files.to_write(url))
            raise ValueError("half of it")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert not tf.io.gfile.exists(url)


def test_a_model_comes_back_from_a_url(url: str) -> None:
    settings = ModelSettings(model="cnn_small", parameters={"filters": [2, 4]})
    model = zoo.build_model(settings, (8, 8, 1), 10)
    storage.save_model(model, settings, (8, 8, 1), url)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    expected = model.predict(pixels, verbose=0)
    again = storage.load_model(url)
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), expected)
    assert storage.count_parameters(url) == model.count_params()


def test_no_model_at_a_url_is_one_clear_line(url: str) -> None:
    with pytest.raises(ModelError, match=f"{url}/.*: no readable model description"):
        storage.load_model(url)


def test_a_training_is_taken_up_from_a_url(url: str) -> None:
    """Where the pod of an interrupted training is gone, its state must not be."""

    def trained() -> Any:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    first, second = trained(), trained()
    state = TrainingState(patience=3, directory=url)
    state.set_model(first)
    state.on_epoch_end(0, {"val_hard_loss": 0.5})
    state.save(1)
    taken_up = TrainingState(patience=3, directory=url)
    assert taken_up.restore(second)
    assert (taken_up.first_epoch, taken_up.best_epoch, taken_up.best_loss) == (1, 1, 0.5)
    for variable, expected in zip(second.variables, first.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    taken_up.discard()
    assert not tf.io.gfile.exists(url)
