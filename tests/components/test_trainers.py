"""The Trainers of teacher, student and control, as TFX will cache and run them."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.components.trainer.component import Trainer
from tfx.components.trainer.executor import GenericExecutor
from tfx.types import standard_artifacts

from components.artifacts import TeacherLogits
from components.distiller import Distiller
from components.teacher_trainer import TeacherTrainer
from components.training import TrainerExecutor, config_of_run
from modules.code_digest import code_digest
from modules.distill.training_config import TrainingConfig
from modules.settings import (
    AugmentSettings,
    DataSettings,
    DistillSettings,
    ImageFeature,
    MethodSettings,
    ModelSettings,
    RuntimeSettings,
    TeacherSettings,
    TrainSettings,
)
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

INPUTS = {
    "examples": standard_artifacts.Examples,
    "transform_graph": standard_artifacts.TransformGraph,
}
TEACHING = {"teachers": standard_artifacts.Model, "soft_targets": TeacherLogits}
MODEL = ModelSettings(model="separable_cnn", parameters={"filters": [4]})
IMAGES = DataSettings(features={"image": ImageFeature(size=16)})
CONFIG = {"model": MODEL, "data": IMAGES, "seed": 3, "views": 1}
STUDENT = {"distill": DistillSettings(), "teacher_weights": (1.0,)}


def channels() -> dict[str, Any]:
    return {name: types.Channel(type=kind) for name, kind in INPUTS.items()}


def make_teacher(**changes: Any) -> TeacherTrainer:
    return TeacherTrainer(**channels(), config=TrainingConfig(**CONFIG | changes))


def make_student(*, taught: Any = None, **changes: Any) -> Distiller:
    teaching = {
        "teachers": [types.Channel(type=standard_artifacts.Model)],
        "soft_targets": types.Channel(type=TeacherLogits),
    }
    config = TrainingConfig(**CONFIG | STUDENT | changes)
    return Distiller(**channels(), **teaching | (taught or {}), config=config)


def custom_config(component: Trainer) -> dict[str, Any]:
    return json.loads(component.exec_properties["custom_config"])


def told(component: Trainer) -> TrainingConfig:
    """What the executor reads."""
    return TrainingConfig.model_validate(custom_config(component))


@pytest.mark.parametrize(
    ("make", "module"), [(make_teacher, "teacher_trainer"), (make_student, "distill_trainer")]
)
def test_is_a_tfx_trainer_with_its_module(make: Any, module: str) -> None:
    component = make()
    assert isinstance(component, Trainer)
    assert component.id == type(component).__name__
    assert component.executor_spec.executor_class is TrainerExecutor
    assert issubclass(TrainerExecutor, GenericExecutor)
    assert set(component.outputs) == {"model", "model_run"}
    # An importable module, of which no wheel is built.
    assert component.exec_properties["module_path"] == f"modules.{module}"
    assert component.exec_properties.get("module_file") is None
    assert callable(importlib.import_module(f"modules.{module}").run_fn)


def test_inputs() -> None:
    assert {key: channel.type for key, channel in make_teacher().inputs.items()} == INPUTS
    taught = {key: channel.type for key, channel in make_student().inputs.items()}
    assert taught == {**INPUTS, **TEACHING}


def test_without_soft_targets_the_student_has_teachers_alone() -> None:
    student = make_student(taught={"soft_targets": None})
    taken = {key: channel.type for key, channel in student.inputs.items()}
    assert taken == {**INPUTS, "teachers": standard_artifacts.Model}


def test_a_teacher_is_no_soft_targets() -> None:
    with pytest.raises(TypeError, match="soft_targets"):
        make_student(taught={"soft_targets": types.Channel(type=standard_artifacts.Model)})


def test_the_executor_hands_over_where_the_teachers_and_their_logits_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teachers in the order of the inputs, not of their names."""
    student = make_student()

    class FnArgs:
        def __init__(self) -> None:
            self.custom_config: Any = custom_config(student)

    monkeypatch.setattr(GenericExecutor, "_GetFnArgs", lambda *arguments: FnArgs())
    inputs: dict[str, list[types.Artifact]] = {}
    for key, name in (("teachers_2", "a"), ("teachers", "b")):
        inputs[key] = [standard_artifacts.Model()]
        inputs[key][0].uri = str(tmp_path / name)
    executor = TrainerExecutor()
    given = executor._GetFnArgs(inputs, {}, {}).custom_config
    teacher_dirs = tuple(str(tmp_path / name / "Format-Serving") for name in ("b", "a"))
    assert given == told(student).model_copy(update={"teacher_dirs": teacher_dirs})

    logits = TeacherLogits()
    logits.uri = str(tmp_path / "logits")
    given = executor._GetFnArgs({**inputs, "soft_targets": [logits]}, {}, {}).custom_config
    assert given.soft_targets_dir == str(tmp_path / "logits")


def examples(directory: Path, *splits: str) -> standard_artifacts.Examples:
    made = standard_artifacts.Examples()
    made.uri = str(directory)
    made.split_names = json.dumps(splits)
    return made


@pytest.mark.parametrize("unlabeled", [True, False])
def test_unlabeled_examples_reach_those_who_are_to_count_them(
    unlabeled: bool, tmp_path: Path
) -> None:
    config = told(make_student(unlabeled=unlabeled)).model_dump(mode="json")
    given = {}
    for splits in (("train", "eval"), ("train", "eval", "unlabeled")):
        inputs = {"examples": [examples(tmp_path, *splits)]}
        given[len(splits)] = config_of_run(config, inputs, {}).unlabeled_files
    expected = (str(tmp_path / "Split-unlabeled" / "*"),) if unlabeled else ()
    assert given == {2: (), 3: expected}


def test_student_and_control_count_unlabeled_examples_and_the_teacher_does_not() -> None:
    trainers = graph("distill.alpha=auto")
    counting = {name: told(each).unlabeled for name, each in trainers.items()}
    assert counting == {"TeacherTrainer": False, "Distiller": True, "Control": True}


def test_the_executor_reads_what_the_component_was_given() -> None:
    """One JSON object, with no JSON inside."""
    runtime = RuntimeSettings()
    config = told(make_teacher())
    assert config == TrainingConfig(**CONFIG)
    assert (config.strategy, config.checkpoint_seconds) == ("auto", runtime.checkpoint_seconds)
    assert config.distill is None
    assert custom_config(make_teacher())["model"]["parameters"] == {"filters": [4]}

    methods = (MethodSettings(name="decoupled", non_target_weight=4),)
    distill = DistillSettings(alpha=0.25, temperature=3, methods=methods, generations=2)
    student = make_student(distill=distill, teacher_weights=(1.0, 2.5))
    assert told(student) == TrainingConfig(**CONFIG, distill=distill, teacher_weights=(1.0, 2.5))


def test_the_code_is_part_of_the_cache_key() -> None:
    assert custom_config(make_teacher())["code_digest"] == code_digest()
    assert custom_config(make_teacher())["builder_digest"] == ""


@pytest.mark.parametrize("settings", [{"control": False}, {"top_k": 3}], ids=str)
def test_what_does_not_concern_the_student_does_not_train_it_again(settings: Any) -> None:
    """A control is another node's; what top_k changes comes with the soft targets."""
    other = custom_config(make_student(distill=DistillSettings(**settings)))
    assert other == custom_config(make_student())


def test_a_teachers_share_does_not_train_it_again() -> None:
    teachers = (TeacherSettings(**MODEL.model_dump(), weight=weight) for weight in (1, 2))
    first, second = (custom_config(make_teacher(model=teacher)) for teacher in teachers)
    assert first == second == custom_config(make_teacher())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"data": DataSettings(features={"image": ImageFeature(size=32)})},
        {"augment": AugmentSettings(flip=True)},
        {"strategy": "mirrored"},
        {"views": 2},
        {"model": ModelSettings(model="separable_cnn", parameters={"filters": [8]})},
        {"model": MODEL.model_copy(update={"train": TrainSettings(epochs=1)})},
        {"model": ModelSettings(model="modules.code_digest:code_digest")},
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


def test_an_assistants_builder_is_part_of_the_students_cache_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "users_assistant.py"
    digests = []
    for text in ("VERSION = 1\n", "VERSION = 2\n"):
        file.write_text(text)
        trainers = graph("distill.assistants=[{model: 'users_assistant:build'}]")
        told_of = {name: custom_config(each) for name, each in trainers.items()}
        digests.append(told_of["Distiller"]["assistant_digests"])
        assert told_of["Control"]["assistant_digests"] == []
    assert digests[0] != digests[1] and "" not in digests[0] + digests[1]


def graph(*overrides: str) -> dict[str, Trainer]:
    pipeline = create_pipeline(
        load_config("digits", overrides), Places("/pipeline_root", "/pushed")
    )
    return {node.id: node for node in pipeline.components if isinstance(node, Trainer)}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("distill", DistillSettings(alpha=0.7)),
        ("distill", DistillSettings(methods=(MethodSettings(name="dist"),))),
        ("distill", DistillSettings(methods=(MethodSettings(name="soft_target", weight=2),))),
        ("distill", DistillSettings(generations=2)),
        ("distill", DistillSettings(soft_targets="online")),
        ("teacher_weights", (1.0, 2.0)),
    ],
)
def test_what_changes_the_distillation_changes_the_students_cache_key(
    name: str, change: Any
) -> None:
    assert custom_config(make_student(**{name: change})) != custom_config(make_student())


@pytest.mark.parametrize(
    "override",
    [
        "distill.alpha=0.75",
        "distill.temperature=9",
        "distill.methods=[{name: dist}]",
        "distill.generations=2",
        "distill.assistants=[{model: separable_cnn}]",
        "distill.soft_targets=online",
        "teacher.weight=2",
    ],
)
def test_the_objective_concerns_the_student_alone(override: str) -> None:
    before, after = graph(), graph(override)
    changed = [name for name in before if custom_config(before[name]) != custom_config(after[name])]
    assert changed == ["Distiller"]


def test_control_is_the_student_without_its_teacher() -> None:
    trainers = graph("seed=11")
    control, student = custom_config(trainers["Control"]), custom_config(trainers["Distiller"])
    assert isinstance(trainers["Control"], TeacherTrainer)
    assert control["seed"] == 11
    assert student["distill"] and student["teacher_weights"] == [1.0]
    assert control == student | {"distill": None, "teacher_weights": [], "teacher_models": []}
    assert control["model"] != custom_config(trainers["TeacherTrainer"])["model"]


def test_teachers_are_asked_and_the_control_is_not() -> None:
    config = load_config("digits", ["teacher.allow_weak=true"])
    places = Places(pipeline_root="/artifacts", push_destination="/pushed")
    nodes = {node.id: node for node in create_pipeline(config, places).components}
    asked = {name: told(nodes[name]).allow_weak for name in ("TeacherTrainer", "Control")}
    assert asked == {"TeacherTrainer": True, "Control": None}
