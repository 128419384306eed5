"""How the Trainers and the search are told what to do in this run."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor as tfx_executor
from tfx.components.trainer import fn_args_utils
from tfx.utils import path_utils

from components.artifacts import split_patterns
from components.run_parameters import with_run_values
from components.teachers import teachers_of
from modules.data.splits import UNLABELED
from modules.distill.training_config import TrainingConfig

Artifacts = dict[str, list[types.Artifact]]


def config_of_run(
    custom_config: dict[str, Any], input_dict: Artifacts, exec_properties: dict[str, Any]
) -> TrainingConfig:
    """The configuration with the values of the run, and where everything to learn from lies.

    Args:
      custom_config: A dumped TrainingConfig.
      input_dict: `examples`, models under the names of `components.teachers`, and `soft_targets`,
        if any.
      exec_properties: With the values of the run.

    Raises:
      ConfigError: A value that the configuration could not have had either.
    """
    config = TrainingConfig.model_validate(custom_config)
    soft_targets = input_dict.get("soft_targets")
    return config.model_copy(
        update={
            "model": with_run_values("student", config.model, exec_properties),
            "search": config.search
            and config.search.model_copy(
                update={
                    "students": tuple(
                        with_run_values("student", each, exec_properties)
                        for each in config.search.students
                    )
                }
            ),
            "distill": config.distill
            and with_run_values("distill", config.distill, exec_properties),
            "teacher_dirs": tuple(
                path_utils.serving_model_path(each.uri) for each in teachers_of(input_dict)
            ),
            "soft_targets_dir": soft_targets[0].uri if soft_targets else None,
            "unlabeled_files": split_patterns(input_dict["examples"], UNLABELED)
            if config.unlabeled
            else (),
        }
    )


class TrainerExecutor(tfx_executor.GenericExecutor):
    """TFX's Trainer executor; the `custom_config` that `run_fn` is given is a TrainingConfig."""

    def _GetFnArgs(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> fn_args_utils.FnArgs:
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        fn_args.custom_config = config_of_run(fn_args.custom_config, input_dict, exec_properties)
        return fn_args
