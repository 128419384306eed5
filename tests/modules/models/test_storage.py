"""Tests of modules.models.storage: what is saved and loaded, and files that are refused."""

import errno
import json
import os

import keras
import numpy as np
import pytest
from small_inputs import MIXTURE, VALUE, batch
from small_models import SMALL, class_output, image_input, load_saved

from modules.errors import ModelError, UserError
from modules.models import storage, zoo
from modules.models.known import KnownModel
from modules.settings import ModelSettings

OUTPUT = class_output(10)
KNOWN = KnownModel.of(
    ModelSettings(model="separable_cnn", parameters=SMALL["separable_cnn"]),
    [
        ModelSettings(model="separable_cnn", parameters={"filters": [2]}),
        ModelSettings(model="separable_cnn", parameters={"filters": [4, 8], "dropout": 0.5}),
    ],
)


def _pixels(shape=(8, 8, 1), count=5):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def _same_weights(first, second):
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def _saved(directory, name="separable_cnn", shape=(8, 8, 1)):
    """A saved model whose every weight is random, so that none can be lost unnoticed."""
    settings = ModelSettings(model=name, parameters=SMALL[name])
    model = zoo.build_model(settings, image_input(shape), OUTPUT)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    storage.save_model(model, settings, image_input(shape), OUTPUT, str(directory))
    return model


@pytest.mark.parametrize("scheme", ["", "ram://"])
@pytest.mark.parametrize("name", SMALL)
def test_saved_and_loaded_model_answers_the_same(name, scheme, tmp_path):
    directory = f"{scheme}{tmp_path}/new"
    model = _saved(directory, name, (8, 6, 3))
    loaded = load_saved(directory)
    assert _same_weights(model, loaded)
    pixels = _pixels((8, 6, 3))
    np.testing.assert_array_equal(
        loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0)
    )
    assert storage.count_parameters(directory) == model.count_params()


def test_a_model_of_several_inputs_and_its_task_come_back(tmp_path):
    settings = ModelSettings(model="mixture", parameters={"image": {"filters": [4, 8]}})
    model = zoo.build_model(settings, MIXTURE, VALUE)
    storage.save_model(model, settings, MIXTURE, VALUE, str(tmp_path))
    loaded = load_saved(tmp_path)
    assert loaded.input.keys() == MIXTURE.keys()
    examples = batch(MIXTURE, 5)
    np.testing.assert_array_equal(loaded(examples), model(examples))


def test_weights_that_a_full_disk_has_cut_short_are_none(tmp_path, monkeypatch):
    def write(model, path):
        with open(path, "wb") as file:
            file.write(b"half of i")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", write)
        with pytest.raises(UserError, match=r"no space left for the weights: 0\.\d MB are needed"):
            _saved(tmp_path)
    assert list(tmp_path.iterdir()) == []
    model = _saved(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.weights.h5"}
    assert _same_weights(storage.load_model(str(tmp_path), KNOWN), model)
    size = (tmp_path / "model.weights.h5").stat().st_size
    assert size <= storage.weight_bytes(model) <= size + 200_000


def test_no_model_at_a_url_is_one_clear_line():
    with pytest.raises(ModelError, match=r"ram://none/model\.json: no readable model description"):
        storage.load_model("ram://none", KNOWN)


def _change(directory, **changes):
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"output": class_output(9).model_dump(mode="json")},
        {"inputs": [image_input((8, 8, 3))["image"].model_dump(mode="json")]},
        {"parameters": {"filters": [4, 9]}},
        {"parameters": {"filters": [4, 8, 8]}},
        {"model": "cnn_tutorial", "parameters": {}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_of_another_model_are_refused(tmp_path, changes):
    _saved(tmp_path)
    _change(tmp_path, **changes)
    with pytest.raises(ModelError, match=rf"{tmp_path}: the weights do not fit model"):
        load_saved(tmp_path)


def test_weights_of_a_deeper_model_are_refused(tmp_path):
    settings = ModelSettings(model="separable_cnn", parameters={"filters": [4, 4]})
    model = zoo.build_model(settings, image_input(), OUTPUT)
    storage.save_model(model, settings, image_input(), OUTPUT, str(tmp_path))
    _change(tmp_path, parameters={"filters": [4]})
    with pytest.raises(ModelError):
        load_saved(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda weights: weights.unlink(),
        lambda weights: weights.write_bytes(b"no weights"),
        lambda weights: weights.write_bytes(weights.read_bytes()[:-500]),
    ],
    ids=["missing", "text", "truncated"],
)
def test_damaged_weights_are_refused(tmp_path, damage):
    _saved(tmp_path)
    damage(tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match=str(tmp_path)) as caught:
        load_saved(tmp_path)
    assert caught.value.damaged == str(tmp_path.parent)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        '{"model": "cnn_',
        "{}",
        "[]",
        '{"model": "separable_cnn"}',
    ],
)
def test_damaged_description_is_refused(tmp_path, text):
    _saved(tmp_path)
    path = tmp_path / "model.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    for read in (lambda directory: storage.load_model(directory, KNOWN), storage.count_parameters):
        with pytest.raises(ModelError, match=rf"{path}: no readable model description"):
            read(str(tmp_path))


def test_weights_that_were_changed_are_refused(tmp_path):
    model = _saved(tmp_path)
    model.set_weights([-3 * weight for weight in model.get_weights()])
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match=r"model\.weights\.h5 is not the file that model\.json"):
        load_saved(tmp_path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"model": "subprocess:call", "parameters": {}},
            "model must be 'separable_cnn', got 'subprocess:call'",
        ),
        ({"model": ""}, "model must be 'separable_cnn', got ''"),
        (
            {"parameters": {"filters": [9]}},
            "parameters.filters must be as configured, got [9]",
        ),
        (
            {"parameters": {"filters": [4, 8], "weights": "/tmp/other.h5"}},
            "parameters.weights must be as configured, got '/tmp/other.h5'",
        ),
    ],
    ids=["callable", "whole file", "value", "parameter"],
)
def test_a_description_of_another_model_runs_nothing(tmp_path, monkeypatch, changes, problem):
    """Whoever can write to the pipeline root must not choose what is imported and called."""
    _saved(tmp_path)
    _change(tmp_path, **changes)
    monkeypatch.setattr(storage, "build_model", pytest.fail)
    monkeypatch.setattr(storage, "_whole", pytest.fail)
    with pytest.raises(ModelError) as caught:
        storage.load_model(str(tmp_path), KNOWN)
    assert str(caught.value).startswith(f"{tmp_path}/model.json: {problem}; whoever")
    assert "\n" not in str(caught.value)


def test_what_a_search_may_choose_is_known(tmp_path):
    _saved(tmp_path)
    _change(tmp_path, parameters={"filters": [4, 8], "dropout": 0.5})
    assert storage.load_model(str(tmp_path), KNOWN).count_params()
