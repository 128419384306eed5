"""TFX's Evaluator, then the measurements TFMA does not make, the gate and the report."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

from modules import evaluation, report
from modules.preprocessing import class_names
from modules.settings import DataSettings, GateSettings, LatencySettings

_LOG = logging.getLogger("tfx_distill.evaluation")

Artifacts = dict[str, list[types.Artifact]]


class Executor(tfx_executor.Executor):
    """Executor of the Evaluator component."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes TFMA's results, report.json and report.md, and blesses or does not."""
        _LOG.info("TFMA: student against teacher, overall and by class")
        super().Do(input_dict, output_dict, exec_properties)
        directory = artifact_utils.get_single_uri(output_dict[constants.EVALUATION_KEY])
        result = evaluation.evaluate(
            _subjects(input_dict), _eval_split(input_dict, exec_properties), _rules(exec_properties)
        )
        evaluation.check_against_tfma(result, tfma_accuracy(directory))
        report.write_report(result, directory)
        _bless(input_dict, output_dict, result.gate.blessed)


def tfma_accuracy(directory: str) -> dict[str, float]:
    """The overall accuracy by model name, from TFMA's results."""
    accuracies = {}
    for name in ("student", "teacher"):
        result = tfma.load_eval_result(directory, model_name=name)
        overall = next(metrics for slice_key, metrics in result.slicing_metrics if not slice_key)
        accuracies[name] = overall[""][""]["sparse_categorical_accuracy"]["doubleValue"]
    return accuracies


def _subjects(input_dict: Artifacts) -> evaluation.Subjects:
    def saved_model(key: str) -> str:
        return path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[key]))

    return evaluation.Subjects(
        teacher=saved_model("baseline_model"),
        student=saved_model("model"),
        control=saved_model("control_model") if input_dict.get("control_model") else None,
        tflite=artifact_utils.get_single_uri(input_dict["tflite"]),
    )


def _eval_split(input_dict: Artifacts, exec_properties: dict[str, Any]) -> evaluation.EvalSplit:
    def patterns(key: str) -> list[str]:
        uris = artifact_utils.get_split_uris(input_dict[key], "eval")
        return [io_utils.all_files_pattern(uri) for uri in uris]

    graph = tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
    config = json.loads(exec_properties["config"])
    return evaluation.EvalSplit(
        raw=patterns("examples"),
        transformed=patterns("transformed_examples"),
        data=DataSettings.model_validate(config["data"]),
        labels=class_names(graph),
    )


def _rules(exec_properties: dict[str, Any]) -> evaluation.Rules:
    config = json.loads(exec_properties["config"])
    return evaluation.Rules(
        latency=LatencySettings.model_validate(config["latency"]),
        gate=GateSettings.model_validate(config["gate"]),
        push_tflite=[config["push"]["tflite"]],
        seed=config["seed"],
        config=config,
    )


def _bless(input_dict: Artifacts, output_dict: Artifacts, blessed: bool) -> None:
    """Marks the ModelBlessing as TFX's Evaluator does."""
    blessing = artifact_utils.get_single_instance(
        output_dict[standard_component_specs.BLESSING_KEY]
    )
    for role, uri_key, id_key in (
        (
            "model",
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY,
        ),
        (
            "baseline_model",
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY,
        ),
    ):
        model = artifact_utils.get_single_instance(input_dict[role])
        blessing.set_string_custom_property(uri_key, model.uri)
        blessing.set_int_custom_property(id_key, model.id)
    file_name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, file_name), "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE,
    )
