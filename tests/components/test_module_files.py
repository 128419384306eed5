"""Module files: ours in TFX's own components, and a user's in ours, in one local run."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import modules.distill_trainer
import modules.preprocessing
import modules.teacher_trainer
import modules.tuner
from modules.data.spec import read_spec
from modules.distill.training_config import TrainingConfig
from modules.models.known import KnownModel
from modules.settings import (
    DistillSettings,
    GateSettings,
    ModelSettings,
    SearchPlan,
    TrainSettings,
)

pytestmark = pytest.mark.thorough

# A user's; what it is told is all that it leaves.
USERS = """
import os

def run_fn(fn_args):
    os.makedirs(fn_args.serving_model_dir)
    with open(os.path.join(fn_args.serving_model_dir, "told.json"), "w") as file:
        file.write(fn_args.custom_config.model_dump_json())
"""
STUDENT = ModelSettings(
    model="separable_cnn", parameters={"filters": [4]}, train=TrainSettings(epochs=1)
)


def file_of(module: ModuleType) -> str:
    assert module.__file__
    return module.__file__


@pytest.fixture(scope="module")
def configs(miniature_run: Any) -> dict[str, TrainingConfig]:
    """Of a training by the labels, of a distillation, and of a search."""
    common = {"model": STUDENT, "data": miniature_run.config().data}
    teacher = Path(miniature_run.uris["TeacherTrainer.model"], "Format-Serving")
    student = TrainingConfig(
        **common,
        distill=DistillSettings(),
        teacher_weights=(1.0,),
        teacher_dirs=(str(teacher),),
        teacher_models=(KnownModel.of(miniature_run.config().teacher),),
        soft_targets_dir=miniature_run.uris["SoftTargets.soft_targets"],
    )
    plan = SearchPlan(students=(STUDENT,), limits=GateSettings(), variants=("float32",))
    search = student.model_copy(
        update={"search": plan, "distill": DistillSettings(alpha="auto", temperature=2)}
    )
    return {"labels": TrainingConfig(**common), "distill": student, "search": search}


@pytest.fixture(scope="module")
def outputs(miniature_run: Any, configs: Any, tmp_path_factory: Any) -> dict[str, Path]:
    """Directories of the outputs of a run, by node."""
    from tfx.components import Transform
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import standard_artifacts

    from pipeline.beam_arguments import IN_MEMORY

    directory = tmp_path_factory.mktemp("module_files")

    def imported(key: str, kind: Any, **properties: Any) -> Any:
        uri = miniature_run.uris[key]
        node = Importer(source_uri=uri, artifact_type=kind, properties=properties)
        return node.with_id(key.replace(".", "-"))

    splits = '["train", "eval"]'
    given = {
        "raw": imported("ExampleGen.examples", standard_artifacts.Examples, split_names=splits),
        "schema": imported("SchemaGen.schema", standard_artifacts.Schema),
        "teacher": imported("TeacherTrainer.model", standard_artifacts.Model),
        "examples": imported(
            "Transform.transformed_examples", standard_artifacts.Examples, split_names=splits
        ),
        # The stock Transform's has no data_spec.json.
        "transform_graph": imported("Transform.transform_graph", standard_artifacts.TransformGraph),
    }
    channels = {name: node.outputs["result"] for name, node in given.items()}
    spec = read_spec(miniature_run.uris["Transform.transform_graph"])
    transform = Transform(
        examples=channels["raw"],
        schema=channels["schema"],
        module_file=file_of(modules.preprocessing),
        custom_config={"spec": spec.model_dump_json(), "preprocessing_fn": None},
        disable_statistics=True,
    )
    nodes = [transform, *make_nodes(channels, configs, directory)]
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="module_files",
            pipeline_root=str(directory / "root"),
            components=[*given.values(), *nodes],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(
                str(directory / "metadata.sqlite")
            ),
            beam_pipeline_args=list(IN_MEMORY),
        )
    )
    found = (directory / "root").glob("*/*/*")
    return {f"{path.parent.parent.name}.{path.parent.name}": path for path in found}


def make_nodes(channels: Any, configs: dict[str, TrainingConfig], directory: Path) -> list[Any]:
    from tfx.components import Trainer, Tuner
    from tfx.proto import trainer_pb2

    from components.distiller import Distiller
    from components.teacher_trainer import TeacherTrainer

    transformed = {name: channels[name] for name in ("examples", "transform_graph")}

    def told(name: str) -> dict[str, Any]:
        """What TFX's Trainer and Tuner ask for."""
        arguments = {
            "train_args": trainer_pb2.TrainArgs(),
            "eval_args": trainer_pb2.EvalArgs(),
            "custom_config": configs[name].model_dump(mode="json"),
        }
        return {**transformed, **arguments}

    users = directory / "users_module.py"
    users.write_text(USERS)
    by_path = Trainer(**told("labels"), run_fn="modules.teacher_trainer.run_fn")
    by_file = Trainer(**told("labels"), module_file=file_of(modules.teacher_trainer))
    student = Trainer(**told("distill"), module_file=file_of(modules.distill_trainer))
    tuner = Tuner(**told("search"), module_file=file_of(modules.tuner))
    own = {**transformed, "module_file": str(users)}
    return [
        by_path.with_id("ByPath"),
        by_file.with_id("ByFile"),
        student.with_id("Student"),
        tuner,
        TeacherTrainer(**own, config=configs["labels"]),
        Distiller(
            **own, config=configs["distill"], teachers=[channels["teacher"]], soft_targets=None
        ),
    ]


def test_transform_makes_what_ours_makes(
    outputs: Any, miniature_run: Any, read_examples: Any
) -> None:
    made = read_examples(f"{outputs['Transform.transformed_examples']}/Split-eval")
    ours = miniature_run.uris["Transform.transformed_examples"]
    assert len(made) > 300
    assert made == read_examples(f"{ours}/Split-eval")


@pytest.mark.parametrize("node", ["ByPath", "ByFile", "Student"])
def test_trainers_leave_a_model_that_answers(
    outputs: Any, miniature_run: Any, read_examples: Any, node: str
) -> None:
    import tensorflow as tf

    raw = read_examples(f"{miniature_run.uris['ExampleGen.examples']}/Split-eval")[:5]
    model = tf.saved_model.load(str(outputs[f"{node}.model"] / "Format-Serving"))
    serialized = tf.constant([example.SerializeToString() for example in raw])
    answers = model.signatures["serving_default"](examples=serialized)
    assert answers["logits"].shape == (5, 10)
    np.testing.assert_allclose(answers["probabilities"].numpy().sum(-1), 1, rtol=1e-5)


def test_the_tuner_searches_what_its_configuration_says(outputs: Any) -> None:
    (file,) = outputs["Tuner.best_hyperparameters"].iterdir()
    winner = json.loads(file.read_text())["values"]
    assert winner["temperature"] == 2 and winner["alpha"] in (0, 0.1, 0.5, 1)
    (file,) = outputs["Tuner.tuner_results"].iterdir()
    tried = json.loads(file.read_text())
    assert {each["alpha"] for each in tried} == {0, 0.1, 0.5, 1}
    assert all(each["score"] >= 0 for each in tried)


@pytest.mark.parametrize(("node", "name"), [("TeacherTrainer", "labels"), ("Distiller", "distill")])
def test_a_users_module_is_told_the_typed_configuration(
    outputs: Any, configs: Any, miniature_run: Any, node: str, name: str
) -> None:
    file = outputs[f"{node}.model"] / "Format-Serving" / "told.json"
    told = TrainingConfig.model_validate_json(file.read_text())
    # Where the teachers and their logits lie, our executors say.
    assert told == configs[name].model_copy(update={"soft_targets_dir": None})
