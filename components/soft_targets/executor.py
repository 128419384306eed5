"""From Model, TeacherAnswers and Examples artifacts to a TeacherLogits artifact."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import split_patterns
from components.teachers import teachers_of
from modules.data.examples import ExampleData
from modules.data.spec import read_spec
from modules.data.splits import TRAIN, UNLABELED
from modules.files import LocalCopies
from modules.models import storage
from modules.models.known import KnownModel
from modules.settings import DataSettings
from modules.teachers import soft_targets
from modules.teachers.answer_store import AnswerStore

REQUEST = TypeAdapter(soft_targets.Request)
MODELS = TypeAdapter(list[KnownModel | None])


class Executor(base_executor.BaseExecutor):
    """Executor of the SoftTargets component."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact as `modules.teachers.cache` describes it."""
        self._log_startup(input_dict, output_dict, exec_properties)
        labeled, unlabeled = (
            split_patterns(input_dict["examples"], split) for split in (TRAIN, UNLABELED)
        )
        spec = read_spec(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        data = DataSettings.model_validate_json(exec_properties["data"])
        models = MODELS.validate_json(exec_properties["models"])
        with LocalCopies() as copies:
            soft_targets.compute(
                [
                    _teacher(artifact, known, copies)
                    for artifact, known in zip(teachers_of(input_dict), models, strict=True)
                ],
                ExampleData(labeled, spec, data, unlabeled_patterns=unlabeled),
                REQUEST.validate_json(exec_properties["request"]),
                artifact_utils.get_single_uri(output_dict["soft_targets"]),
            )


def _teacher(
    artifact: types.Artifact, known: KnownModel | None, copies: LocalCopies
) -> soft_targets.Teacher:
    if known is None:
        return AnswerStore(copies.to_read(artifact.uri))
    directory = storage.keras_directory(path_utils.serving_model_path(artifact.uri))
    return storage.load_model(directory, known)
