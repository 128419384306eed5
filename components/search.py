"""The search for the student and its objective."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.tuner import component as tfx_component
from tfx.components.tuner import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter
from tfx.utils import io_utils, json_utils

from components.distiller import STUDENT_PARAMETERS, TEACHING_INPUTS
from components.run_parameters import Parameters, declared, given
from components.teacher_trainer import init_trainer, run_module
from components.teachers import teacher_channels
from components.training import Artifacts, config_of_run
from modules.distill.training_config import TrainingConfig

_CONFIG = standard_component_specs.CUSTOM_CONFIG_KEY


HYPERPARAMETERS_FILE, RESULTS_FILE = "best_hyperparameters.txt", "tuner_results.json"


class Executor(tfx_executor.Executor):
    """TFX's Tuner executor; `tuner_fn` is told the values of the run and where the teachers lie."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Search, and write the best hyperparameters and what became of all candidates."""
        custom_config = json_utils.loads(exec_properties[_CONFIG])
        config = config_of_run(custom_config, input_dict, exec_properties)
        output_dir = artifact_utils.get_single_uri(output_dict["best_hyperparameters"])
        config = config.model_copy(update={"output_dir": output_dir})
        # It brings TensorFlow, which a graph does not need.
        from modules.search.student_search import StudentSearch

        tuner = tfx_executor.search(
            input_dict,
            # TFX's function takes text, and parses it for `tuner_fn`.
            {**exec_properties, _CONFIG: config.to_json()},
            self._get_tmp_dir(),
            print_tuning_summary=False,
        )
        if not isinstance(tuner, StudentSearch):
            # A KerasTuner tuner of the user's own module file.
            tfx_executor.write_best_hyperparameters(tuner, output_dict)
            return
        (best,) = tuner.get_best_hyperparameters()
        results = artifact_utils.get_single_uri(output_dict["tuner_results"])
        found = json.dumps(best.get_config())
        io_utils.write_string_file(f"{output_dir}/{HYPERPARAMETERS_FILE}", found)
        io_utils.write_string_file(f"{results}/{RESULTS_FILE}", tuner.results().model_dump_json())
        tuner.finish()


class SearchSpec(standard_component_specs.TunerSpec):
    """TFX's TunerSpec, with the teachers and their logits."""

    PARAMETERS = {
        **standard_component_specs.TunerSpec.PARAMETERS,
        **declared(*STUDENT_PARAMETERS),
        "module_path": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {**standard_component_specs.TunerSpec.INPUTS, **TEACHING_INPUTS}


class Search(tfx_component.Tuner):
    """TFX's Tuner that runs `modules.tuner.tuner_fn`.

    Its output `best_hyperparameters` is what `Distiller` and the control take.

    Args:
      examples: Transformed examples; the splits train and unlabeled are read.
      transform_graph: Carries the class names and the preprocessing.
      config: The Distiller's, with what is searched in `search`.
      teachers: One or more models to learn from, in the order of their weights.
      soft_targets: Their logits, computed before; None runs them in every step.
      parameters: What is left open until a run begins.
      module_file: A TFX module file whose `tuner_fn` searches instead; its
        `fn_args.custom_config` is a dumped TrainingConfig.
    """

    SPEC_CLASS = SearchSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        config: TrainingConfig,
        teachers: Sequence[types.BaseChannel],
        soft_targets: types.BaseChannel | None,
        parameters: Parameters = MappingProxyType({}),
        module_file: str | None = None,
    ):
        spec = SearchSpec(
            examples=examples,
            transform_graph=transform_graph,
            **teacher_channels(teachers),
            soft_targets=soft_targets,
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            **run_module("modules.tuner", module_file),
            custom_config=config.to_json(),
            best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
            tuner_results=types.Channel(type=standard_artifacts.TunerResults),
            **given(parameters, *STUDENT_PARAMETERS),
        )
        init_trainer(self, spec)
