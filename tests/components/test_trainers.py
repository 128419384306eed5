"""The Trainers of teacher, student and control, as TFX will cache and run them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.components.trainer.component import Trainer
from tfx.components.trainer.executor import GenericExecutor
from tfx.types import standard_artifacts

import modules
from components.distiller import Distiller
from components.teacher_trainer import TeacherTrainer
from modules.settings import DataSettings, DistillSettings, ModelSettings, TrainSettings
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

INPUTS = {
    "examples": standard_artifacts.Examples,
    "transform_graph": standard_artifacts.TransformGraph,
    "statistics": standard_artifacts.ExampleStatistics,
}
MODEL = ModelSettings(model="cnn_small", parameters={"filters": [4]})
DATA = DataSettings(image_size=16)


def channels() -> dict[str, Any]:
    return {name: types.Channel(type=kind) for name, kind in INPUTS.items()}


def make_teacher(**changes: Any) -> TeacherTrainer:
    return TeacherTrainer(**{**channels(), "model": MODEL, "data": DATA, "seed": 3, **changes})


def make_student(**changes: Any) -> Distiller:
    arguments = {
        "teacher": types.Channel(type=standard_artifacts.Model),
        "model": MODEL,
        "distill": DistillSettings(),
        "data": DATA,
        "seed": 3,
    }
    return Distiller(**{**channels(), **arguments, **changes})


def custom_config(component: Trainer) -> dict[str, Any]:
    return json.loads(component.exec_properties["custom_config"])


@pytest.mark.parametrize(
    ("make", "module"), [(make_teacher, "teacher_trainer"), (make_student, "distill_trainer")]
)
def test_is_a_tfx_trainer_with_its_module_file(make: Any, module: str) -> None:
    component = make()
    assert isinstance(component, Trainer)
    assert component.id == type(component).__name__
    assert component.executor_spec.executor_class is GenericExecutor
    assert set(component.outputs) == {"model", "model_run"}
    path = Path(component.exec_properties["module_file"])
    assert path == Path(modules.__path__[0]).absolute() / f"{module}.py"
    assert "\ndef run_fn(" in path.read_text()


def test_inputs() -> None:
    assert {key: channel.type for key, channel in make_teacher().inputs.items()} == INPUTS
    with_teacher = {**INPUTS, "base_model": standard_artifacts.Model}
    assert {key: channel.type for key, channel in make_student().inputs.items()} == with_teacher


def test_the_models_settings_travel_as_json() -> None:
    config = custom_config(make_teacher())
    assert ModelSettings.model_validate_json(config["model"]) == MODEL
    assert DataSettings.model_validate_json(config["data"]) == DATA
    assert (config["seed"], config["builder_digest"]) == (3, "")
    assert "distill" not in config


def test_the_objective_travels_without_what_the_student_does_not_obey() -> None:
    config = custom_config(make_student(distill=DistillSettings(alpha=0.25, temperature=3)))
    assert json.loads(config.pop("distill")) == {"alpha": 0.25, "temperature": 3.0}
    assert config == custom_config(make_teacher())


def test_whether_there_is_a_control_does_not_train_the_student_again() -> None:
    with_control, without = (
        custom_config(make_student(distill=DistillSettings(control=control)))
        for control in (True, False)
    )
    assert with_control == without


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"data": DataSettings(image_size=32)},
        {"model": ModelSettings(model="cnn_small", parameters={"filters": [8]})},
        {"model": MODEL.model_copy(update={"train": TrainSettings(epochs=1)})},
        {"model": ModelSettings(model="components.code_digest:code_digest")},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("make", [make_teacher, make_student])
def test_what_changes_the_training_changes_the_cache_key(
    make: Any, changes: dict[str, Any]
) -> None:
    assert custom_config(make(**changes)) != custom_config(make())


def test_a_users_builder_is_part_of_the_cache_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "users_builder.py"
    digests = []
    for text in ("VERSION = 1\n", "VERSION = 2\n"):
        file.write_text(text)
        model = ModelSettings(model="users_builder:build")
        digests.append(custom_config(make_student(model=model))["builder_digest"])
    assert "" not in digests
    assert digests[0] != digests[1]


def graph(*overrides: str) -> dict[str, Trainer]:
    pipeline = create_pipeline(load_config("digits", overrides), Places("/root", "/pushed"))
    return {node.id: node for node in pipeline.components if isinstance(node, Trainer)}


@pytest.mark.parametrize("override", ["distill.alpha=0.75", "distill.temperature=9"])
def test_the_objective_concerns_the_student_alone(override: str) -> None:
    before, after = graph(), graph(override)
    changed = [name for name in before if custom_config(before[name]) != custom_config(after[name])]
    assert changed == ["Distiller"]


def test_control_is_the_student_without_its_teacher() -> None:
    trainers = graph("seed=11")
    control, student = custom_config(trainers["Control"]), custom_config(trainers["Distiller"])
    assert isinstance(trainers["Control"], TeacherTrainer)
    assert control["seed"] == 11
    assert student.pop("distill")
    assert control == student
    assert control["model"] != custom_config(trainers["TeacherTrainer"])["model"]
