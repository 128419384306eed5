"""Specification and wiring of the Exporter."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import TFLiteModels
from components.exporter.executor import MODELS, Executor
from modules.models.known import KnownModel
from modules.settings import DataSettings, ExportSettings, TFLiteVariant


class ExporterSpec(ComponentSpec):
    """Models and training examples in, TFLite files out."""

    PARAMETERS = {
        "export": ExecutionParameter(type=str),
        "models": ExecutionParameter(type=str),
        "needed": ExecutionParameter(type=str),
        "data": ExecutionParameter(type=str),
        "seed": ExecutionParameter(type=int),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "teacher_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "raw_examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {"tflite": ChannelParameter(type=TFLiteModels)}


class Exporter(base_component.BaseComponent):
    """Converts the student to the variants of `export.tflite`, the teacher to float32.

    The teacher's file is there to be timed against the student's; it is never pushed.

    Args:
      model: The student.
      teacher_model: The teacher, or None if it is no model.
      examples: Transformed examples; the split train calibrates and checks, all classes alike.
      raw_examples: Those before Transform; the first are the warm-up requests of a server.
      transform_graph: What the models take, with the vocabularies.
      models: What is known of the student, and of a teacher that is a model.
      export: Which variants.
      needed: Those of them that must be there; others that do not convert are left out.
      data: How the training examples are read.
      seed: Of the choice of examples.
      code_digest: Of this project's code, for the cache.
    """

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        teacher_model: types.BaseChannel | None,
        examples: types.BaseChannel,
        raw_examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        models: Sequence[KnownModel],
        export: ExportSettings,
        needed: Sequence[TFLiteVariant],
        data: DataSettings,
        seed: int,
        code_digest: str,
    ):
        super().__init__(
            ExporterSpec(
                model=model,
                teacher_model=teacher_model,
                examples=examples,
                raw_examples=raw_examples,
                transform_graph=transform_graph,
                models=MODELS.dump_json(list(models)).decode(),
                export=export.model_dump_json(),
                needed=json.dumps(list(needed)),
                data=data.model_dump_json(),
                seed=seed,
                code_digest=code_digest,
                tflite=types.Channel(type=TFLiteModels),
            )
        )
