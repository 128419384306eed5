"""Executors obey what a run is given before what was compiled; local runs know of no such value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.components.trainer.executor import GenericExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components import search
from components.evaluator import executor as evaluator
from components.example_gen.component import example_gen
from components.example_gen.executor import unpack_parts, unpack_settings
from components.run_parameters import RUN_PARAMETERS, with_run_values
from components.training import TrainerExecutor
from modules.code_digest import code_digest
from modules.data.sources.csv_files import CsvFiles
from modules.data.sources.registry import files_base
from modules.distill.training_config import TrainingConfig
from modules.errors import ConfigError
from modules.settings import DataSettings, DistillSettings, ModelSettings
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

CONFIG = TrainingConfig(
    model=ModelSettings(model="separable_cnn"), data=DataSettings(), distill=DistillSettings()
)
PROPERTIES = {"custom_config": CONFIG.to_json()}
VALUES = {"temperature": 2.0, "alpha": 0.25, "epochs": 3}


def test_local_nodes_have_no_values_and_their_properties_are_the_same() -> None:
    overrides = ["distill.alpha=auto"]
    pipeline = create_pipeline(load_config("digits", overrides), Places("/artifacts", "/pushed"))
    for node in pipeline.components:
        given = {name: node.exec_properties.get(name) for name in RUN_PARAMETERS}
        assert set(given.values()) <= {None} or node.id == "Pusher"
        assert node.exec_properties.get("run_destination") is None


@pytest.fixture
def fn_args(monkeypatch: pytest.MonkeyPatch) -> None:
    """TFX's own work, which needs artifacts."""

    class FnArgs:
        def __init__(self, config: dict[str, Any]) -> None:
            self.custom_config = config

    def get(executor: Any, inputs: Any, outputs: Any, properties: dict[str, Any]) -> FnArgs:
        return FnArgs(json.loads(properties["custom_config"]))

    monkeypatch.setattr(GenericExecutor, "_GetFnArgs", get)


@pytest.mark.usefixtures("fn_args")
def test_trainers_are_given_the_values() -> None:
    config = TrainerExecutor()._GetFnArgs({}, {}, {**PROPERTIES, **VALUES}).custom_config
    assert config.model.train.epochs == 3
    assert (config.distill.temperature, config.distill.alpha) == (2.0, 0.25)
    assert TrainerExecutor()._GetFnArgs({}, {}, PROPERTIES).custom_config == CONFIG


@pytest.mark.usefixtures("fn_args")
def test_a_trainer_refuses_what_a_configuration_would() -> None:
    with pytest.raises(ConfigError, match=r"alpha is distill\.alpha: must be less"):
        TrainerExecutor()._GetFnArgs({}, {}, {**PROPERTIES, "alpha": 2.0})


def test_the_search_begins_with_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    monkeypatch.setattr(search.tfx_executor, "search", lambda *given, **_: searched.append(given))
    monkeypatch.setattr(search.tfx_executor, "write_best_hyperparameters", lambda *_: None)
    executor = search.Executor()
    monkeypatch.setattr(executor, "_get_tmp_dir", lambda: "/tmp")
    found = standard_artifacts.HyperParameters()
    found.uri = "/root/Search/best_hyperparameters/1"
    executor.Do({}, {"best_hyperparameters": [found]}, {**PROPERTIES, **VALUES})
    config = TrainingConfig.model_validate_json(searched[0][1]["custom_config"])
    assert config.output_dir == found.uri
    assert config.model.train.epochs == 3
    assert config.distill == DistillSettings(alpha=0.25, temperature=2.0)


def test_images_are_read_where_the_run_says(tmp_path: Path) -> None:
    settings = DataSettings(source="image_folder", path=str(tmp_path), split_seed=3)
    later = RuntimeParameter("data_path", str, default=str(tmp_path))
    component = example_gen(settings, code_digest(), {"data_path": later})
    assert component.exec_properties["input_base"] is later
    given = {**component.exec_properties, "input_base": "gs://bucket/images"}
    moved = settings.model_copy(update={"path": "gs://bucket/images"})
    assert unpack_settings(given) == (moved, None)


def test_a_folder_that_a_run_will_name_is_not_looked_for_now() -> None:
    settings = DataSettings(source="image_folder", path="gs://no-such-bucket/images")
    later = RuntimeParameter("data_path", str)
    component = example_gen(settings, code_digest(), {"data_path": later})
    assert component.exec_properties["input_base"] is later


@pytest.mark.parametrize(
    ("path", "directory", "pattern"),
    [
        ("gs://bucket/days/{SPAN}/*.csv", "gs://bucket/days", "{SPAN}/*.csv"),
        ("gs://bucket/houses.csv", "gs://bucket", "houses.csv"),
        ("gs://bucket/tables", "gs://bucket/tables", "*.csv"),
        ("*.csv", ".", "*.csv"),
    ],
)
def test_a_run_reads_the_same_pattern_in_another_directory(
    path: str, directory: str, pattern: str
) -> None:
    settings = DataSettings(source="csv", path=path, label="y")
    later = RuntimeParameter("data_path", str)
    properties = example_gen(settings, code_digest(), {"data_path": later}).exec_properties
    assert files_base(settings) == directory
    assert unpack_settings({**properties, "input_base": directory})[0].path == path
    given = {**properties, "input_base": "gs://other/place"}
    (part,) = unpack_parts(given)
    assert part.pattern == f"gs://other/place/{pattern}"
    moved, _ = unpack_settings(given)
    assert CsvFiles.absolute(moved) == [part]
    # What the judgment reports is the same.
    assert with_run_values("data", settings, {"data_path": "gs://other/place"}) == moved


@pytest.mark.parametrize("base", ["gs://other/place/*.csv", "gs://other/new.csv"])
def test_a_run_is_not_given_files(base: str) -> None:
    settings = DataSettings(source="csv", path="gs://bucket/houses.csv", label="y")
    with pytest.raises(
        ConfigError, match=r"must be a directory, in which houses\.csv is read, got"
    ):
        with_run_values("data", settings, {"data_path": base})


def test_the_gate_compares_with_what_is_pushed_where_the_run_says() -> None:
    compiled = {"compare_with_pushed": "gs://bucket/a"}
    values = {**VALUES, "push_destination": "gs://bucket/b"}
    assert evaluator._pushed_to({**compiled, **values}) == "gs://bucket/b"
    assert evaluator._pushed_to(compiled) == "gs://bucket/a"
    # A gate that compares with nothing does not begin to.
    assert evaluator._pushed_to({**values, "compare_with_pushed": ""}) == ""
