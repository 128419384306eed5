"""Compiles the pipeline for Kubeflow Pipelines and for Vertex AI Pipelines."""

from __future__ import annotations

import json
from typing import Any, Literal

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_component_specs

from modules.errors import ConfigError
from pipeline.beam_arguments import beam_arguments
from pipeline.config import PipelineConfig
from pipeline.graph import Places, create_pipeline, uncached_nodes

Engine = Literal["kubeflow", "vertex"]

_COMMAND = ["python", "-m", "pipeline.container_entrypoint"]

_MODULE_FILE = standard_component_specs.MODULE_FILE_KEY
_MODULE_PATH = standard_component_specs.MODULE_PATH_KEY


def compile_pipeline(
    config: PipelineConfig, engine: Engine, *, allow_mutable_image: bool = False
) -> str:
    """The text of the file that an engine is given.

    Args:
      config: The experiment; `runtime.image` and `runtime.pipeline_root` must be set.
      engine: kubeflow: YAML of a pipeline spec 2.1. vertex: JSON of a PipelineJob.
      allow_mutable_image: Accept an image by a tag that may change.

    Raises:
      ConfigError: What the engine cannot run.
    """
    root, image = config.runtime.pipeline_root, config.runtime.image
    if not root or not image:
        raise ConfigError("runtime.image and runtime.pipeline_root must be set")
    places = Places(
        pipeline_root=root,
        push_destination=f"{root.rstrip('/')}/pushed",
        beam_arguments=beam_arguments(config.runtime, engine, root),
    )
    pipeline = create_pipeline(config, places)
    _use_code_of_image(pipeline)
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=_COMMAND, use_pipeline_spec_2_1=True
        )
    )
    job = runner.run(pipeline, write_out=False)
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    for name, task in spec.root.dag.tasks.items():
        if name in uncached_nodes(config):
            task.caching_options.enable_cache = False
    job["pipelineSpec"] = json_format.MessageToDict(spec)
    return _kubeflow_text(job) if engine == "kubeflow" else _vertex_text(job)


def _use_code_of_image(pipeline: Pipeline) -> None:
    """Module files become modules of the image: no wheel is built, nothing is written."""
    for component in pipeline.components:
        properties = component.spec.exec_properties
        if properties.get(_MODULE_FILE):
            name = properties[_MODULE_FILE].rsplit("/", 1)[1].removesuffix(".py")
            properties[_MODULE_FILE] = None
            properties[_MODULE_PATH] = f"modules.{name}"
        component._pip_dependencies = []


def _kubeflow_text(job: dict[str, Any]) -> str:
    spec = {
        **job["pipelineSpec"],
        "defaultPipelineRoot": job["runtimeConfig"]["gcsOutputDirectory"],
    }
    return yaml.safe_dump(spec, sort_keys=True)


def _vertex_text(job: dict[str, Any]) -> str:
    return json.dumps(job, indent=2, sort_keys=True) + "\n"
