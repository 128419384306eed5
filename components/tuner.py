"""The search for the student's hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.tuner import component as tfx_component
from tfx.components.tuner import executor as tfx_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import json_utils

from components.distiller import (
    STUDENT_PARAMETERS,
    TEACHING_INPUTS,
    Artifacts,
    knowledge_paths,
    student_config,
)
from components.run_parameters import Parameters, declared, given, overlay_training
from components.teacher_trainer import Training
from components.teachers import teacher_channels
from modules.settings import DistillSettings, ModelSettings, TuneSettings

_CONFIG = standard_component_specs.CUSTOM_CONFIG_KEY


class Executor(tfx_executor.Executor):
    """TFX's Tuner executor, which hands the paths of the teachers' knowledge to `tuner_fn`."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Search, and write the best hyperparameters and the results of all trials."""
        config = overlay_training(json_utils.loads(exec_properties[_CONFIG]), exec_properties)
        config |= knowledge_paths(input_dict)
        tuner = tfx_executor.search(
            input_dict,
            {**exec_properties, _CONFIG: json_utils.dumps(config)},
            self._get_tmp_dir(),
            print_tuning_summary=False,
        )
        tfx_executor.write_best_hyperparameters(tuner, output_dict)


class TunerSpec(standard_component_specs.TunerSpec):
    """TFX's TunerSpec, with the teachers and their knowledge."""

    PARAMETERS = {**standard_component_specs.TunerSpec.PARAMETERS, **declared(*STUDENT_PARAMETERS)}
    INPUTS = {**standard_component_specs.TunerSpec.INPUTS, **TEACHING_INPUTS}


class Tuner(tfx_component.Tuner):
    """TFX's Tuner with `modules/search/trials.py` as its module file.

    Its output `best_hyperparameters` is what `Distiller` and the control take.

    Args:
      training: What all Trainers are given.
      model: The student.
      distill: The objective.
      teachers: One or more models to learn from, in the order of their weights.
      teacher_weights: Their shares.
      soft_targets: Their knowledge, computed before; None runs them in every step.
      tune: What is searched.
      parameters: What is left open until a run begins.
    """

    SPEC_CLASS = TunerSpec
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
        tune: TuneSettings,
        parameters: Parameters = MappingProxyType({}),
    ):
        config = student_config(model, training, distill, teacher_weights)
        spec = TunerSpec(
            examples=training.examples,
            transform_graph=training.transform_graph,
            **teacher_channels(teachers),
            **given(parameters, *STUDENT_PARAMETERS),
            soft_targets=soft_targets,
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            tuner_fn="modules.tuner.tuner_fn",
            custom_config=json_utils.dumps(config | {"tune": tune.model_dump_json()}),
            best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
            tuner_results=types.Channel(type=standard_artifacts.TunerResults),
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)
