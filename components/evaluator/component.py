"""Specification and wiring of the Evaluator."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from tfx import types
from tfx.components.evaluator import component as tfx_evaluator
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils

from components.artifacts import TeacherAnswers, TFLiteModels
from components.evaluator.executor import Executor
from components.evaluator.tfma_config import tfma_config
from components.run_parameters import RUN_PARAMETERS, Parameters, declared, given
from modules.settings import EvaluateSettings


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's EvaluatorSpec, with what is judged beside TFMA's metrics."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        "config": ExecutionParameter(type=str),
        "compare_with_pushed": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
        **declared(*RUN_PARAMETERS),
    }
    INPUTS = {
        **standard_component_specs.EvaluatorSpec.INPUTS,
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "control_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "tflite": ChannelParameter(type=TFLiteModels),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "teacher_answers": ChannelParameter(type=TeacherAnswers, optional=True),
        "teacher_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
        "student_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "control_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
        "hyperparameters": ChannelParameter(type=standard_artifacts.HyperParameters, optional=True),
        "search": ChannelParameter(type=standard_artifacts.TunerResults, optional=True),
    }


@dataclass(frozen=True)
class EvaluatorInputs:
    """The artifacts that the Evaluator is given.

    Attributes:
      examples: Raw examples; the split eval is judged on.
      transformed_examples: The same after Transform, for the TFLite files.
      transform_graph: Carries the class names.
      model: The student, TFMA's candidate.
      baseline_model: The teacher, TFMA's baseline; None if it is no model.
      tflite: The Exporter's files.
      statistics: Of the raw examples.
      anomalies: What ExampleValidator found in them.
      teacher_run: TensorBoard's logs of the teacher's training; None if it was not trained here.
      student_run: Of the student's.
      teacher_answers: What a teacher that is no model answered, or None.
      control_model: The student trained without the teacher, or None.
      control_run: TensorBoard's logs of its training, or None.
      hyperparameters: The search's winner, or None.
      search: All its candidates, or None.
    """

    examples: types.BaseChannel
    transformed_examples: types.BaseChannel
    transform_graph: types.BaseChannel
    model: types.BaseChannel
    baseline_model: types.BaseChannel | None
    tflite: types.BaseChannel
    statistics: types.BaseChannel
    anomalies: types.BaseChannel
    teacher_run: types.BaseChannel | None
    student_run: types.BaseChannel
    teacher_answers: types.BaseChannel | None = None
    control_model: types.BaseChannel | None = None
    control_run: types.BaseChannel | None = None
    hyperparameters: types.BaseChannel | None = None
    search: types.BaseChannel | None = None


class Evaluator(tfx_evaluator.Evaluator):
    """Outputs `evaluation` (TFMA's results and the report's files) and the usual `blessing`.

    Args:
      inputs: What it is given.
      evaluate: Slices and top-k, for TFMA.
      config: The PipelineConfig as JSON; `evaluate`, `latency`, `gate`, `push` and `seed` are
        obeyed, the whole of it goes into the report.
      compare_with_pushed: The push destination, if the gate compares with the last pushed
        student; else empty.
      code_digest: Of this project's code, for the cache.
      parameters: What is left open until a run begins; the report's configuration shows it.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        inputs: EvaluatorInputs,
        evaluate: EvaluateSettings,
        config: str,
        compare_with_pushed: str,
        code_digest: str,
        parameters: Parameters = MappingProxyType({}),
    ):
        channels = {name: channel for name, channel in vars(inputs).items() if channel is not None}
        spec = EvaluatorSpec(
            **channels,
            eval_config=tfma_config(evaluate),
            example_splits=json_utils.dumps(["eval"]),
            fairness_indicator_thresholds=json_utils.dumps(None),
            config=config,
            compare_with_pushed=compare_with_pushed,
            code_digest=code_digest,
            **given(parameters, *RUN_PARAMETERS),
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)
