"""The Trainer that learns from the labels alone: of the teacher, and of the student's control."""

from __future__ import annotations

from types import MappingProxyType

from tfx import types
from tfx.components.trainer.component import Trainer
from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs

from components.run_parameters import Parameters, declared, given
from components.training import TrainerExecutor
from modules.distill.training_config import TrainingConfig


class TeacherTrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec, with what may change from run to run."""

    PARAMETERS = {**standard_component_specs.TrainerSpec.PARAMETERS, **declared("epochs")}


class TeacherTrainer(Trainer):
    """TFX's Trainer that runs `modules.teacher_trainer.run_fn`.

    Args:
      examples: Transformed examples; it learns from the split train alone.
      transform_graph: Carries the class names and the preprocessing.
      config: Which model, and how it is trained.
      hyperparameters: The search's winner, for the control: it is to be the same student, only
        without a teacher.
      parameters: What is left open until a run begins; a student's epochs are not its teacher's.
      module_file: A TFX module file whose `run_fn` trains instead; its `fn_args.custom_config` is
        `config`.
    """

    SPEC_CLASS = TeacherTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        config: TrainingConfig,
        hyperparameters: types.BaseChannel | None = None,
        parameters: Parameters = MappingProxyType({}),
        module_file: str | None = None,
    ):
        spec = TeacherTrainerSpec(
            examples=examples,
            transform_graph=transform_graph,
            hyperparameters=hyperparameters,
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            **run_module("modules.teacher_trainer", module_file),
            custom_config=config.to_json(),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
            **given(parameters, "epochs"),
        )
        init_trainer(self, spec)


def run_module(ours: str, module_file: str | None) -> dict[str, str]:
    """The execution property that names the module with `run_fn` or `tuner_fn`."""
    return {"module_file": module_file} if module_file else {"module_path": ours}


def init_trainer(component: base_component.BaseComponent, spec: types.ComponentSpec) -> None:
    """What the constructors of TFX's Trainer and Tuner do, which would build TFX's own spec."""
    base_component.BaseComponent.__init__(component, spec=spec)
    if spec.exec_properties.get("module_file"):
        udf_utils.add_user_module_dependency(component, "module_file", "module_path")
