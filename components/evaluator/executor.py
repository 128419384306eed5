"""TFX's Evaluator, then the measurements TFMA does not make, the gate and the report."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils, proto_utils

from components.evaluator.tfma_config import slice_numbers, tfma_config
from components.run_parameters import overlay
from modules.data.eval_split import EvalSplit
from modules.data.spec import read_spec
from modules.distill.hyperparameters import as_configured
from modules.files import LocalCopies
from modules.judge import evaluation, run_history
from modules.judge.answers import JudgedModels
from modules.judge.schema import ArtifactReference, Lineage
from modules.push import publish
from modules.report.files import write_report
from modules.search.results import SearchResults
from modules.settings import DataSettings, TeacherSettings
from modules.teachers.answer_store import AnswerStore

_LOG = logging.getLogger("tfx_distill.evaluation")
_LOADGEN_LOGS = "loadgen"
_MODEL_RUNS = {"teacher": "teacher_run", "student": "student_run", "control": "control_run"}
_KINDS = {
    "keras_file": "Keras file",
    "saved_model": "SavedModel",
    "onnx": "ONNX file",
    "answers": "answers file",
    "function": "function",
}

Artifacts = dict[str, list[types.Artifact]]


class Executor(tfx_executor.Executor):
    """Executor of the Evaluator component."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes TFMA's results and the report's files, and blesses or does not."""
        config = overlay(json.loads(exec_properties["config"]), exec_properties)
        rules = evaluation.Rules.model_validate(config)
        split = _eval_split(input_dict, rules.data)
        rules = rules.for_task(split.output.task)
        directory = artifact_utils.get_single_uri(output_dict[constants.EVALUATION_KEY])

        def run_tfma() -> dict[str, evaluation.SliceNumbers]:
            roles = ("teacher", "student") if input_dict.get("baseline_model") else ("student",)
            _LOG.info(
                "TFMA: %s, overall and by %s", " against ".join(roles[::-1]), _sliced_by(rules)
            )
            # Only here is it known what the task is.
            settings = tfma_config(
                rules.evaluate,
                split.output,
                weighted=split.weighted,
                baseline="teacher" in roles,
            )
            key, value = (
                standard_component_specs.EVAL_CONFIG_KEY,
                proto_utils.proto_to_json(settings),
            )
            super(Executor, self).Do(input_dict, output_dict, {**exec_properties, key: value})
            # TFMA gives a model without a baseline no name.
            names = {role: role for role in roles} if len(roles) > 1 else {"student": ""}
            return {
                role: slice_numbers(tfma.load_eval_result(directory, model_name=name))
                for role, name in names.items()
            }

        with LocalCopies() as local:
            written = local.to_write(directory)
            judged, images = evaluation.evaluate(
                _judged_models(input_dict, local),
                split,
                rules,
                _record(input_dict, exec_properties, config, split.labels, written),
                run_tfma,
            )
            write_report(judged, images, written)
        _bless(input_dict, output_dict, judged.gate.blessed)


def _judged_models(input_dict: Artifacts, copies: LocalCopies) -> JudgedModels:
    def local(key: str) -> str:
        return copies.to_read(artifact_utils.get_single_uri(input_dict[key]))

    def saved_model(key: str) -> str:
        return str(path_utils.serving_model_path(local(key)))

    return JudgedModels(
        teacher=saved_model("baseline_model") if input_dict.get("baseline_model") else None,
        student=saved_model("model"),
        control=saved_model("control_model") if input_dict.get("control_model") else None,
        tflite=local("tflite"),
        teacher_answers=local("teacher_answers") if input_dict.get("teacher_answers") else None,
    )


def _eval_split(input_dict: Artifacts, data: DataSettings) -> EvalSplit:
    def patterns(key: str) -> list[str]:
        uris = artifact_utils.get_split_uris(input_dict[key], "eval")
        return [io_utils.all_files_pattern(uri) for uri in uris]

    return EvalSplit(
        raw=patterns("examples"),
        transformed=patterns("transformed_examples"),
        spec=read_spec(artifact_utils.get_single_uri(input_dict["transform_graph"])),
        data=data,
    )


def _sliced_by(rules: evaluation.Rules) -> str:
    return ", ".join(" x ".join(features) for features in rules.evaluate.slices) or "nothing"


def _record(
    input_dict: Artifacts,
    exec_properties: dict[str, Any],
    config: dict[str, Any],
    labels: Sequence[str],
    directory: str,
) -> evaluation.Record:
    """What the nodes before have left behind."""

    def by_split(key: str, file_name: str) -> dict[str, str]:
        artifact = artifact_utils.get_single_instance(input_dict[key])
        return {
            name: os.path.join(artifact_utils.get_split_uri([artifact], name), file_name)
            for name in artifact_utils.decode_split_names(artifact.split_names)
        }

    pushed_to = _pushed_to(exec_properties)
    tuned = input_dict.get("hyperparameters")
    runs = {
        role: artifact_utils.get_single_uri(input_dict[key])
        for role, key in _MODEL_RUNS.items()
        if input_dict.get(key)
    }
    counts = {role: run_history.learned_from(uri) for role, uri in runs.items()}
    return evaluation.Record(
        curves={role: run_history.training_curves(uri) for role, uri in runs.items()},
        learned_from={role: each for role, each in counts.items() if each},
        data=run_history.summarize_data(
            by_split("statistics", "FeatureStats.pb"),
            by_split("anomalies", "SchemaDiff.pb"),
            list(labels),
        ),
        lineage=Lineage(
            artifacts=[
                ArtifactReference(role=key, type=each.type_name, id=each.id, uri=each.uri)
                for key, artifacts in sorted(input_dict.items())
                for each in artifacts
            ],
            code_digest=exec_properties["code_digest"],
        ),
        tuned=_tuned(artifact_utils.get_single_uri(tuned)) if tuned else {},
        search=_search(input_dict),
        pushed=publish.last_pushed(pushed_to) if pushed_to else None,
        config=config,
        log_dir=os.path.join(directory, _LOADGEN_LOGS),
        teacher_origin=_teacher_origin(input_dict, config),
    )


def _teacher_origin(input_dict: Artifacts, config: dict[str, Any]) -> str:
    """Where a teacher that was not trained here comes from; empty for one that was."""
    teacher = TeacherSettings.model_validate(config["teacher"])
    if teacher.kind == "model":
        return ""
    returned: str = teacher.returns
    if input_dict.get("teacher_answers"):
        with LocalCopies() as copies:
            uri = artifact_utils.get_single_uri(input_dict["teacher_answers"])
            returned = AnswerStore(copies.to_read(uri)).description()["returned"]
    origin = f"The teacher is the {_KINDS[teacher.kind]} {teacher.name}"
    if returned == "probabilities":
        origin += ", whose probabilities were turned into logits"
    if not teacher.is_model:
        origin += "; it answered every example once, and there is no model to time"
    return f"{origin}."


def _pushed_to(exec_properties: dict[str, Any]) -> str:
    """Where the last pushed student is that the gate compares with; "" if it does not."""
    configured: str = exec_properties["compare_with_pushed"]
    return configured and (exec_properties.get("push_destination") or configured)


def _search(input_dict: Artifacts) -> SearchResults | None:
    """The candidates of our own search; a module file of the user has other results."""
    if not input_dict.get("search"):
        return None
    uri = artifact_utils.get_single_uri(input_dict["search"])
    content = json.loads(io_utils.read_string_file(os.path.join(uri, "tuner_results.json")))
    return SearchResults.model_validate(content) if isinstance(content, dict) else None


def _tuned(directory: str) -> dict[str, Any]:
    """The values that the search has found, by their keys in the configuration."""
    text = io_utils.read_string_file(os.path.join(directory, "best_hyperparameters.txt"))
    return as_configured(json.loads(text)["values"])


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
        if not input_dict.get(role):
            continue
        model = artifact_utils.get_single_instance(input_dict[role])
        blessing.set_string_custom_property(uri_key, model.uri)
        blessing.set_int_custom_property(id_key, model.id)
    file_name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(blessing.uri, file_name), "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE,
    )
