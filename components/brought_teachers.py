"""What TeacherImporter and AnswerCollector have in common: a teacher that was not trained here."""

from __future__ import annotations

from dataclasses import dataclass

from tfx import types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.artifacts import split_patterns
from modules.data.examples import ExampleData
from modules.data.spec import DataSpec
from modules.data.splits import TRAIN
from modules.settings import DataSettings, TeacherSettings

PARAMETERS = {
    name: ExecutionParameter(type=str)
    for name in ("teacher", "key", "teacher_digest", "code_digest")
}
INPUTS = {
    "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
    "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
}


@dataclass(frozen=True)
class BroughtTeacher:
    """A teacher as the configuration names it.

    Attributes:
      settings: Which, and how it is understood.
      key: Its place in the configuration, for messages.
      digest: Of the content of its files or its code, for the cache.
      code_digest: Of this project's code, for the cache.
    """

    settings: TeacherSettings
    key: str
    digest: str
    code_digest: str

    def parameters(self) -> dict[str, str]:
        """The execution properties."""
        return {
            "teacher": self.settings.model_dump_json(exclude={"weight"}, exclude_defaults=True),
            "key": self.key,
            "teacher_digest": self.digest,
            "code_digest": self.code_digest,
        }


def labeled_examples(input_dict: dict[str, list[types.Artifact]], spec: DataSpec) -> ExampleData:
    """The training examples, on which the teacher is tried."""
    patterns = split_patterns(input_dict["transformed_examples"], TRAIN)
    return ExampleData(patterns, spec, DataSettings())
