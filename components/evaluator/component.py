"""Specification and wiring of the Evaluator."""

from __future__ import annotations

from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import component as tfx_evaluator
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils

from components.artifacts import TFLiteModels
from components.evaluator.executor import Executor
from modules.preprocessing import CLASS_NAME, LABEL
from modules.serving import SIGNATURE


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's EvaluatorSpec, with what is judged beside TFMA's metrics."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        "config": ExecutionParameter(type=str),
        "code_digest": ExecutionParameter(type=str),
    }
    INPUTS = {
        **standard_component_specs.EvaluatorSpec.INPUTS,
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "control_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "tflite": ChannelParameter(type=TFLiteModels),
    }


class Evaluator(tfx_evaluator.Evaluator):
    """Outputs `evaluation` (TFMA's results, report.json, report.md) and the usual `blessing`.

    Args:
      examples: Raw examples; the split eval is judged on.
      transformed_examples: The same after Transform, for the TFLite files.
      transform_graph: Carries the class names.
      model: The student, TFMA's candidate.
      baseline_model: The teacher, TFMA's baseline.
      control_model: The student trained without the teacher, or None.
      tflite: The Exporter's files.
      config: The PipelineConfig as JSON; `latency`, `gate`, `push` and `seed` are obeyed, the
        whole of it goes into the report.
      code_digest: Of this project's code, for the cache.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transformed_examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        control_model: types.BaseChannel | None,
        tflite: types.BaseChannel,
        config: str,
        code_digest: str,
    ):
        optional: dict[str, Any] = {"control_model": control_model} if control_model else {}
        spec = EvaluatorSpec(
            examples=examples,
            transformed_examples=transformed_examples,
            transform_graph=transform_graph,
            model=model,
            baseline_model=baseline_model,
            tflite=tflite,
            eval_config=tfma_config(),
            example_splits=json_utils.dumps(["eval"]),
            fairness_indicator_thresholds=json_utils.dumps(None),
            config=config,
            code_digest=code_digest,
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            **optional,
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)


def tfma_config() -> config_pb2.EvalConfig:
    """Student as candidate, teacher as baseline; overall and for every class.

    It has no thresholds: the gate decides, and on more than TFMA measures.
    """

    def model_spec(name: str, **options: Any) -> config_pb2.ModelSpec:
        return config_pb2.ModelSpec(
            name=name,
            signature_name=SIGNATURE,
            prediction_key="probabilities",
            label_key=LABEL,
            **options,
        )

    metrics = ("ExampleCount", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
    return config_pb2.EvalConfig(
        model_specs=[model_spec("student"), model_spec("teacher", is_baseline=True)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=[CLASS_NAME]),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[config_pb2.MetricConfig(class_name=name) for name in metrics]
            )
        ],
    )
