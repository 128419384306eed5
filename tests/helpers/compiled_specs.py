"""What is compiled for the engines, held against the published messages."""

from __future__ import annotations

import json
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.clusters.compilation import compile_pipeline
from pipeline.config import load_config

ROOT = "gs://bucket/pipelines"
IMAGE = "registry/acme/tfx-distill:1.0"
GIVEN = [f"runtime.image={IMAGE}", f"runtime.pipeline_root={ROOT}"]


def text(engine: Any, *overrides: str) -> str:
    return compile_pipeline(load_config("digits", [*GIVEN, *overrides]), engine)


def parsed(engine: str, content: str) -> tuple[Any, Any]:
    """The pipeline spec and its deployment, held against the published messages."""
    if engine == "kubeflow":
        spec = next(yaml.safe_load_all(content))
    else:
        job = json_format.ParseDict(json.loads(content), pipeline_spec_pb2.PipelineJob())
        spec = json_format.MessageToDict(job.pipeline_spec)
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.ParseDict(
        json_format.MessageToDict(message.deployment_spec),
        pipeline_spec_pb2.PipelineDeploymentConfig(),
    )
    return message, deployment


def compiled(engine: str, *overrides: str) -> tuple[Any, Any]:
    return parsed(engine, text(engine, *overrides))


def containers_of(spec: Any, deployment: Any) -> dict[str, Any]:
    return {
        name: deployment.executors[component.executor_label].container
        for name, component in spec.components.items()
    }


def constants(task: Any) -> dict[str, Any]:
    return {
        name: json_format.MessageToDict(value.runtime_value.constant)
        for name, value in task.inputs.parameters.items()
        if value.WhichOneof("kind") == "runtime_value"
    }


def from_outside(task: Any) -> dict[str, str]:
    """The run parameters that a task takes, by the names of its own."""
    return {
        name: value.component_input_parameter
        for name, value in task.inputs.parameters.items()
        if value.WhichOneof("kind") == "component_input_parameter"
    }
