"""Specification and wiring of SoftTargets."""

from __future__ import annotations

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import TeacherLogits
from components.soft_targets.beam_executor import BeamExecutor
from components.soft_targets.executor import MODELS, REQUEST, Executor
from components.teachers import ANSWER_INPUTS, TEACHER_INPUTS, teacher_channels
from modules.models.known import KnownModel
from modules.settings import AugmentSettings, DataSettings, DistillSettings
from modules.teachers.soft_targets import Request


class SoftTargetsSpec(ComponentSpec):
    """Teachers and training examples in, their logits out."""

    PARAMETERS = {
        "request": ExecutionParameter(type=str),
        "models": ExecutionParameter(type=str),
        "data": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        **TEACHER_INPUTS,
        **ANSWER_INPUTS,
    }
    OUTPUTS = {"soft_targets": ChannelParameter(type=TeacherLogits)}


class SoftTargets(base_component.BaseComponent):
    """Runs the teachers over the training and the unlabeled examples, every view of them, once.

    What it computes depends on teachers, examples and views alone, so that TFX's cache serves
    every student, temperature and alpha tried with the same teachers.

    Args:
      examples: Transformed examples; the splits train and unlabeled are answered.
      transform_graph: Says what is in them.
      teachers: One or more models or answers, in the order of their weights.
      models: What is known of each teacher; None of answers.
      distill: `views` and `top_k` are obeyed.
      augment: How views are made.
      data: Settings of the examples.
      seed: Of the views.
      code_digest: Of this project's code, for the cache.
      on_beam: Whether Beam's workers ask the teachers, instead of the node's own process.
    """

    SPEC_CLASS = SoftTargetsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        teachers: Sequence[types.BaseChannel],
        models: Sequence[KnownModel | None],
        distill: DistillSettings,
        augment: AugmentSettings,
        data: DataSettings,
        seed: int,
        code_digest: str,
        on_beam: bool = False,
    ):
        request = Request(
            views=distill.views if augment.active else 0,
            augment=augment,
            seed=seed,
            top_k=distill.top_k,
        )
        super().__init__(
            SoftTargetsSpec(
                examples=examples,
                transform_graph=transform_graph,
                **teacher_channels(teachers),
                request=REQUEST.dump_json(request).decode(),
                models=MODELS.dump_json(list(models)).decode(),
                data=data.model_dump_json(),
                code_digest=code_digest,
                soft_targets=types.Channel(type=TeacherLogits),
            ),
            custom_executor_spec=executor_spec.BeamExecutorSpec(BeamExecutor) if on_beam else None,
        )
