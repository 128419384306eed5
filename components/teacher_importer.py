"""A teacher from a Keras file, in place of one that is trained here."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec
from tfx.utils import path_utils

from components.brought_teachers import INPUTS, PARAMETERS, BroughtTeacher, labeled_examples
from modules.data.spec import read_spec
from modules.settings import TeacherSettings


class Executor(base_executor.BaseExecutor):
    """Executor of the TeacherImporter component."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the model as a Trainer would, so that the file is not needed any more."""
        # Keras takes seconds, and the graph is made of this module.
        from modules.export.saved_model import export
        from modules.judge.teacher import check_brought_teacher
        from modules.teachers.keras_file import load_teacher

        self._log_startup(input_dict, output_dict, exec_properties)
        settings = TeacherSettings.model_validate_json(exec_properties["teacher"])
        key = exec_properties["key"]
        graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        spec = read_spec(graph)
        model = load_teacher(settings, spec.by_name, spec.output, key)
        check_brought_teacher(
            lambda inputs, ids: model(inputs, training=False),
            labeled_examples(input_dict, spec),
            key,
            allow_weak=settings.allow_weak,
        )
        uri = artifact_utils.get_single_uri(output_dict["model"])
        export(model, settings, graph, path_utils.serving_model_dir(uri))


class TeacherImporterSpec(ComponentSpec):
    """A Keras file in, a Model out."""

    PARAMETERS = PARAMETERS
    INPUTS = INPUTS
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class TeacherImporter(base_component.BaseComponent):
    """Fits a Keras file to the data and writes it as TeacherTrainer writes its models.

    Args:
      transformed_examples: A teacher that is of no use on the labeled ones is refused.
      transform_graph: Says what the model is to take and answer.
      teacher: Which file.
    """

    SPEC_CLASS = TeacherImporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        transformed_examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        teacher: BroughtTeacher,
    ):
        super().__init__(
            TeacherImporterSpec(
                transformed_examples=transformed_examples,
                transform_graph=transform_graph,
                **teacher.parameters(),
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
