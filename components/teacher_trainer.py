"""Trainers that learn from the labels alone: the teacher, and the student's control."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.components.trainer import fn_args_utils
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.run_parameters import Parameters, declared, given, overlay_training
from modules.code_digest import builder_digest, code_digest
from modules.settings import AugmentSettings, DataSettings, ModelSettings, RuntimeSettings


@dataclass(frozen=True)
class Training:
    """What every Trainer of the pipeline is given.

    Attributes:
      examples: Transformed examples; only the split train is read.
      transform_graph: Carries the class names and the preprocessing.
      data: The input of the models.
      augment: The views of training images.
      views: How many views of an example there are; 0: another one in every epoch.
      runtime: Strategy, and where checkpoints are kept.
      seed: Of weights, order and views.
    """

    examples: types.BaseChannel
    transform_graph: types.BaseChannel
    data: DataSettings
    augment: AugmentSettings
    views: int
    runtime: RuntimeSettings
    seed: int


class TrainerExecutor(tfx_executor.GenericExecutor):
    """TFX's Trainer executor, which hands the values of the run to `run_fn`."""

    def _GetFnArgs(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> fn_args_utils.FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        fn_args.custom_config = overlay_training(fn_args.custom_config, exec_properties)
        return fn_args


class TeacherTrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec, with what may change from run to run."""

    PARAMETERS = {**standard_component_specs.TrainerSpec.PARAMETERS, **declared("epochs")}


class TeacherTrainer(Trainer):
    """TFX's Trainer that runs `modules.teacher_trainer.run_fn`.

    Args:
      training: What all Trainers are given.
      model: Which model, with which parameters, how trained.
      hyperparameters: The Tuner's winner, for the control: it is to be the same student, only
        without a teacher.
      parameters: What is left open until a run begins; a student's epochs are not its teacher's.
    """

    SPEC_CLASS = TeacherTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        *,
        training: Training,
        model: ModelSettings,
        hyperparameters: types.BaseChannel | None = None,
        parameters: Parameters = MappingProxyType({}),
    ):
        spec = TeacherTrainerSpec(
            examples=training.examples,
            transform_graph=training.transform_graph,
            hyperparameters=hyperparameters,
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            module_path="modules.teacher_trainer",
            custom_config=json_utils.dumps(training_config(model, training)),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
            **given(parameters, "epochs"),
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)


def training_config(model: ModelSettings, training: Training) -> dict[str, Any]:
    """The `custom_config` of a Trainer, as `modules.distill.trainer_task` reads it."""
    return {
        # A teacher's weight is the student's business, not its own training's.
        "model": model.model_dump_json(include=set(ModelSettings.model_fields)),
        "data": training.data.model_dump_json(),
        "augment": training.augment.model_dump_json(),
        "views": training.views,
        "strategy": training.runtime.strategy,
        "checkpoint_seconds": training.runtime.checkpoint_seconds,
        "seed": training.seed,
        # Parts of the cache's key: our code, and the user's builder.
        "code_digest": code_digest(),
        "builder_digest": builder_digest(model.model),
    }
