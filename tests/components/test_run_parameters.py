"""What a run is given goes before what the configuration says, and is validated alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.run_parameters import RUN_PARAMETERS, overlay, with_run_values
from modules.errors import ConfigError
from modules.settings import DistillSettings, ModelSettings, TrainSettings
from pipeline.config import PipelineConfig, load_config

FOLDER = "data={source: image_folder, path: /images, features: {image: {kind: image, size: 8}}}"
VALUES = {
    "data_path": "gs://bucket/images",
    "temperature": 2.5,
    "alpha": 0.0,
    "epochs": 0,
    "push_destination": "gs://bucket/models",
}


def value_at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def test_every_parameter_replaces_its_key_and_nothing_else() -> None:
    """The same as `--set` before the run."""
    config = load_config("digits", [FOLDER])
    keys = [(parameter.key, VALUES[name]) for name, parameter in RUN_PARAMETERS.items()]
    replaced = overlay(json.loads(config.model_dump_json()), VALUES)
    assert PipelineConfig.model_validate(replaced) == load_config(
        "digits", [FOLDER, *(f"{key}={json.dumps(value)}" for key, value in keys)]
    )


@pytest.mark.parametrize("name", RUN_PARAMETERS)
def test_types_and_keys_are_the_configurations(name: str) -> None:
    config = load_config("digits", [FOLDER, "push.destination=/srv/models"])
    assert type(value_at(config, RUN_PARAMETERS[name].key)) is RUN_PARAMETERS[name].type


def test_what_is_not_given_stays() -> None:
    config = json.loads(load_config("digits").model_dump_json())
    before = json.dumps(config)
    assert overlay(config, {"alpha": None, "module_path": "x"}) == config
    assert overlay(config, {"alpha": 0.25})["distill"]["alpha"] == 0.25
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"alpha": 1.5},
            "distill.alpha: must be less than or equal to 1, got 1.5",
        ),
        ({"temperature": 0}, "temperature is distill.temperature: must be greater than 0"),
        ({"epochs": -1}, "epochs is student.train.epochs: must be greater than or equal"),
        (
            {"data_path": "/x"},
            "data_path: data.path must not be set when data.source is digits, got '/x'; set",
        ),
        ({"push_destination": " "}, "push_destination is push.destination: must"),
    ],
)
def test_a_value_is_refused_as_it_would_be_before_the_run(values: Any, line: str) -> None:
    config = json.loads(load_config("digits").model_dump_json())
    with pytest.raises(ConfigError, match="the run's parameter") as caught:
        overlay(config, values)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_one_section_alone() -> None:
    """The Trainers and the search know no more of the configuration."""
    values = {"alpha": 0.75, "temperature": None, "epochs": 3, "train_args": "{}"}
    assert with_run_values("distill", DistillSettings(views=2), values) == DistillSettings(
        alpha=0.75, views=2
    )
    model = ModelSettings(model="separable_cnn", train=TrainSettings(patience=2))
    expected = ModelSettings(model="separable_cnn", train=TrainSettings(patience=2, epochs=3))
    assert with_run_values("student", model, values) == expected
    assert with_run_values("student", model, {"epochs": None}) is model
