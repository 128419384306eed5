"""From Model, TeacherAnswers and Examples artifacts to a TeacherLogits artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import split_patterns
from components.teachers import teachers_of
from modules.data.examples import ExampleData
from modules.data.spec import DataSpec, read_spec
from modules.data.splits import TRAIN, UNLABELED
from modules.files import LocalCopies
from modules.models import storage
from modules.models.known import KnownModel
from modules.settings import DataSettings
from modules.teachers import soft_targets
from modules.teachers.answer_store import AnswerStore

REQUEST = TypeAdapter(soft_targets.Request)
MODELS = TypeAdapter(list[KnownModel | None])


@dataclass(frozen=True)
class Job:
    """What is computed of which artifacts; it can be sent to other processes.

    Attributes:
      teachers: Their artifacts' URIs, and what is known of them; None of answers.
      spec: What is in the examples.
      data: Settings of the examples.
      request: What is asked.
      directory: Of the TeacherLogits artifact.
    """

    teachers: tuple[tuple[str, KnownModel | None], ...]
    spec: DataSpec
    data: DataSettings
    request: soft_targets.Request
    directory: str

    @classmethod
    def of(
        cls,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Job:
        """The job that an executor is given."""
        models = MODELS.validate_json(exec_properties["models"])
        uris = (artifact.uri for artifact in teachers_of(input_dict))
        return cls(
            teachers=tuple(zip(uris, models, strict=True)),
            spec=read_spec(artifact_utils.get_single_uri(input_dict["transform_graph"])),
            data=DataSettings.model_validate_json(exec_properties["data"]),
            request=REQUEST.validate_json(exec_properties["request"]),
            directory=artifact_utils.get_single_uri(output_dict["soft_targets"]),
        )

    def load_teachers(self, copies: LocalCopies) -> list[soft_targets.Teacher]:
        """The teachers; what they read is local as long as `copies` is open."""
        return [_teacher(uri, known, copies) for uri, known in self.teachers]


def examples_of(input_dict: dict[str, list[types.Artifact]], job: Job) -> ExampleData:
    """The examples that are answered."""
    labeled, unlabeled = (
        split_patterns(input_dict["examples"], split) for split in (TRAIN, UNLABELED)
    )
    return ExampleData(labeled, job.spec, job.data, unlabeled_patterns=unlabeled)


class Executor(base_executor.BaseExecutor):
    """Executor of the SoftTargets component in the node's own process."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact as `modules.teachers.cache` describes it."""
        self._log_startup(input_dict, output_dict, exec_properties)
        job = Job.of(input_dict, output_dict, exec_properties)
        with LocalCopies() as copies:
            soft_targets.compute(
                job.load_teachers(copies), examples_of(input_dict, job), job.request, job.directory
            )


def _teacher(uri: str, known: KnownModel | None, copies: LocalCopies) -> soft_targets.Teacher:
    if known is None:
        return AnswerStore(copies.to_read(uri))
    directory = storage.keras_directory(path_utils.serving_model_path(uri))
    return storage.load_model(directory, known)
