"""The Trainer of the student."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.trainer import fn_args_utils
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import json_utils, path_utils

from components.artifacts import SoftTargets
from components.run_parameters import Parameters, declared, given
from components.teacher_trainer import (
    TrainerExecutor,
    Training,
    training_config,
)
from components.teachers import TEACHER_INPUTS, teacher_channels, teacher_uris
from modules.settings import DistillSettings, ModelSettings

Artifacts = dict[str, list[types.Artifact]]

STUDENT_PARAMETERS = ("temperature", "alpha", "epochs")
TEACHING_INPUTS = {
    **TEACHER_INPUTS,
    "soft_targets": ChannelParameter(type=SoftTargets, optional=True),
}


def knowledge_paths(input_dict: Artifacts) -> dict[str, Any]:
    """Where the teachers' knowledge lies, as `modules.distill.trainer_task` reads it."""
    return {
        "teacher_dirs": [path_utils.serving_model_path(uri) for uri in teacher_uris(input_dict)],
        "soft_targets_dir": next(
            (artifact.uri for artifact in input_dict.get("soft_targets", [])), None
        ),
    }


def student_config(
    model: ModelSettings,
    training: Training,
    distill: DistillSettings,
    teacher_weights: list[float],
) -> dict[str, Any]:
    """The `custom_config` of whoever trains a taught student."""
    return training_config(model, training) | {
        "distill": distill.model_dump_json(exclude={"control", "top_k"}),
        "teacher_weights": teacher_weights,
    }


class Executor(TrainerExecutor):
    """The executor of the student's Trainers, which also hands on the teachers' knowledge."""

    def _GetFnArgs(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> fn_args_utils.FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        fn_args.custom_config |= knowledge_paths(input_dict)
        return fn_args


class DistillerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec, with the teachers and their knowledge."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        **declared(*STUDENT_PARAMETERS),
    }
    INPUTS = {**standard_component_specs.TrainerSpec.INPUTS, **TEACHING_INPUTS}


class Distiller(Trainer):
    """TFX's Trainer with `modules.distill_trainer` as its module.

    Args:
      training: What all Trainers are given.
      model: The student.
      distill: The objective.
      teachers: One or more models to learn from, in the order of their weights.
      teacher_weights: Their shares.
      soft_targets: Their knowledge, computed before; None runs them in every step.
      hyperparameters: The Tuner's winner, which goes before `model` and `distill`; or None.
      parameters: What is left open until a run begins.
    """

    SPEC_CLASS = DistillerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        training: Training,
        model: ModelSettings,
        distill: DistillSettings,
        teachers: Sequence[types.BaseChannel],
        teacher_weights: list[float],
        soft_targets: types.BaseChannel | None,
        hyperparameters: types.BaseChannel | None = None,
        parameters: Parameters = MappingProxyType({}),
    ):
        config = student_config(model, training, distill, teacher_weights)
        spec = DistillerSpec(
            examples=training.examples,
            transform_graph=training.transform_graph,
            **teacher_channels(teachers),
            **given(parameters, *STUDENT_PARAMETERS),
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            module_path="modules.distill_trainer",
            custom_config=json_utils.dumps(config),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
            soft_targets=soft_targets,
            hyperparameters=hyperparameters,
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)
