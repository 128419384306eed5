"""The Trainer of the student."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tfx import types
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter

from components.artifacts import TeacherLogits
from components.run_parameters import Parameters, declared, given
from components.teacher_trainer import init_trainer, run_module
from components.teachers import TEACHER_INPUTS, teacher_channels
from components.training import TrainerExecutor
from modules.distill.training_config import TrainingConfig

STUDENT_PARAMETERS = ("temperature", "alpha", "epochs")
TEACHING_INPUTS = {
    **TEACHER_INPUTS,
    "soft_targets": ChannelParameter(type=TeacherLogits, optional=True),
}


class DistillerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec, with the teachers and their logits."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        **declared(*STUDENT_PARAMETERS),
    }
    INPUTS = {**standard_component_specs.TrainerSpec.INPUTS, **TEACHING_INPUTS}


class Distiller(Trainer):
    """TFX's Trainer that runs `modules.distill_trainer.run_fn`.

    Args:
      examples: Transformed examples; the splits train and unlabeled are read.
      transform_graph: Carries the class names and the preprocessing.
      config: The student, how it is trained, and the objective.
      teachers: One or more models to learn from, in the order of their weights.
      soft_targets: Their logits, computed before; None runs them in every step.
      hyperparameters: The search's winner, which goes before `config`; or None.
      parameters: What is left open until a run begins.
      module_file: A TFX module file whose `run_fn` trains instead; its `fn_args.custom_config` is
        `config`, with the directories of the teachers and their logits.
    """

    SPEC_CLASS = DistillerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        config: TrainingConfig,
        teachers: Sequence[types.BaseChannel],
        soft_targets: types.BaseChannel | None,
        hyperparameters: types.BaseChannel | None = None,
        parameters: Parameters = MappingProxyType({}),
        module_file: str | None = None,
    ):
        spec = DistillerSpec(
            examples=examples,
            transform_graph=transform_graph,
            **teacher_channels(teachers),
            soft_targets=soft_targets,
            hyperparameters=hyperparameters,
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            **run_module("modules.distill_trainer", module_file),
            custom_config=config.to_json(),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
            **given(parameters, *STUDENT_PARAMETERS),
        )
        init_trainer(self, spec)
