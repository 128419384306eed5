"""The answers of a teacher that is no Keras model: a function, a file of answers, another format.

It is asked the raw examples of all splits, once. Nothing later needs the teacher itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec
from tfx.utils import io_utils

from components.artifacts import TeacherAnswers
from components.brought_teachers import INPUTS, PARAMETERS, BroughtTeacher, labeled_examples
from modules.data.spec import read_spec
from modules.files import LocalCopies
from modules.settings import TeacherSettings
from modules.teachers.answer_store import AnswerStore
from modules.teachers.answers_file import read_answers
from modules.teachers.asking import Collection, Journal, Teacher
from modules.teachers.function import FunctionTeacher
from modules.teachers.labels import Conversion, label_map
from modules.teachers.raw_features import RawReader
from modules.teachers.signatures import OnnxTeacher, SavedModelTeacher

_LOG = logging.getLogger("tfx_distill.teacher")
_STATE_DIRECTORY = "asked"
# What changes nothing in an answer as it was given.
_NOT_THE_ANSWER = {
    "weight", "labels", "returns", "batch_size", "retries", "calls_per_minute", "allow_weak",
}  # fmt: skip


class Executor(base_executor.BaseExecutor):
    """Executor of the AnswerCollector component."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact as `modules.teachers.answer_store` describes it.

        Raises:
          DataError: An example has no answer, or one that cannot be used.
          ModelError: The teacher is of no use.
        """
        # Keras takes seconds, and the graph is made of this module.
        from modules.judge.teacher import check_brought_teacher

        self._log_startup(input_dict, output_dict, exec_properties)
        settings = TeacherSettings.model_validate_json(exec_properties["teacher"])
        key, digest = exec_properties["key"], exec_properties["teacher_digest"]
        graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        spec, transform_output = read_spec(graph), tft.TFTransformOutput(graph)
        reader = RawReader(
            transform_output.raw_feature_spec(), transform_output.raw_metadata.schema, spec
        )
        labels = label_map(settings.labels, spec.output, key)
        conversion = Conversion(spec.output, labels, settings.returns, key)
        splits = _files(input_dict)
        uri = artifact_utils.get_single_uri(output_dict["answers"])
        with LocalCopies() as copies:
            store = AnswerStore(copies.to_write(uri))
            collection = Collection(store, reader, conversion)
            returned: str = settings.returns
            if settings.kind == "answers":
                returned = read_answers(settings.name, store, conversion)
            else:
                teacher = _teacher(settings, reader.names, key, copies)
                journal = Journal(_state_directory(uri, settings, digest))
                collection.ask(teacher, splits, journal, settings.batch_size)
                _LOG.info("%s examples asked", f"{collection.asked:,}")
            collection.require(splits, f"{key}.{settings.kind}")
            if returned == "probabilities":
                _LOG.info("%s: its probabilities are turned into logits", key)
            check_brought_teacher(
                lambda inputs, ids: store.logits(ids.numpy()),
                labeled_examples(input_dict, spec),
                key,
                allow_weak=settings.allow_weak,
            )
            store.describe({"kind": settings.kind, "name": settings.name, "returned": returned})


def _teacher(settings: TeacherSettings, names: list[str], key: str, copies: LocalCopies) -> Teacher:
    if settings.kind == "function":
        return FunctionTeacher(settings, key)
    path = copies.to_read(settings.name)
    kind = SavedModelTeacher if settings.kind == "saved_model" else OnnxTeacher
    return kind(settings, path, names, key)


def _files(input_dict: dict[str, list[types.Artifact]]) -> dict[str, list[str]]:
    """Files of raw examples by split."""
    artifact = artifact_utils.get_single_instance(input_dict["examples"])
    found = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        uri = artifact_utils.get_split_uri([artifact], split)
        found[split] = sorted(tf.io.gfile.glob(io_utils.all_files_pattern(uri)))
    return found


def _state_directory(uri: str, settings: TeacherSettings, digest: str) -> str:
    """Where the answers of this very teacher are kept, shared by all executions of the node.

    Neither our own code nor the data are part of its name: what was paid for stays paid for.
    """
    described = json.dumps([settings.model_dump(mode="json", exclude=_NOT_THE_ANSWER), digest])
    node_dir = os.path.dirname(os.path.dirname(uri.rstrip("/")))
    name = hashlib.sha256(described.encode()).hexdigest()[:32]
    return os.path.join(node_dir, _STATE_DIRECTORY, name)


class AnswerCollectorSpec(ComponentSpec):
    """Raw examples in, answers out."""

    PARAMETERS = PARAMETERS
    INPUTS = {**INPUTS, "examples": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"answers": ChannelParameter(type=TeacherAnswers)}


class AnswerCollector(base_component.BaseComponent):
    """Asks a teacher all raw examples and keeps what it answers.

    Args:
      examples: Raw examples; all splits are asked.
      transformed_examples: A teacher that is of no use on the labeled ones is refused.
      transform_graph: Says what is in the examples and what the classes are.
      teacher: Who is asked, and how.
    """

    SPEC_CLASS = AnswerCollectorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transformed_examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        teacher: BroughtTeacher,
    ):
        super().__init__(
            AnswerCollectorSpec(
                examples=examples,
                transformed_examples=transformed_examples,
                transform_graph=transform_graph,
                **teacher.parameters(),
                answers=types.Channel(type=TeacherAnswers),
            )
        )
