"""Reads a compiled pipeline, and refuses before anything runs what cannot be executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

# Every field that this package obeys or records; one that is set and not here is refused.
_KNOWN = {
    "PipelineSpec": "pipeline_info deployment_spec sdk_version schema_version components root "
    "default_pipeline_root",
    "PipelineInfo": "name",
    "ComponentSpec": "input_definitions output_definitions dag executor_label",
    "ComponentInputsSpec": "artifacts parameters",
    "ComponentInputsSpec.ArtifactSpec": "artifact_type is_optional description",
    "ComponentInputsSpec.ParameterSpec": "parameter_type default_value is_optional description "
    "literals",
    "ComponentOutputsSpec": "artifacts parameters",
    "ComponentOutputsSpec.ArtifactSpec": "artifact_type metadata description",
    "ComponentOutputsSpec.ParameterSpec": "parameter_type description",
    "ArtifactTypeSchema": "schema_title instance_schema schema_version",
    "DagSpec": "tasks outputs",
    "DagOutputsSpec": "artifacts parameters",
    "DagOutputsSpec.DagOutputArtifactSpec": "artifact_selectors",
    "DagOutputsSpec.ArtifactSelectorSpec": "producer_subtask output_artifact_key",
    "DagOutputsSpec.DagOutputParameterSpec": "value_from_parameter value_from_oneof",
    "DagOutputsSpec.ParameterSelectorSpec": "producer_subtask output_parameter_key",
    "DagOutputsSpec.ParameterSelectorsSpec": "parameter_selectors",
    "PipelineTaskSpec": "task_info inputs dependent_tasks caching_options component_ref "
    "trigger_policy retry_policy",
    "PipelineTaskInfo": "name",
    "ComponentRef": "name",
    "PipelineTaskSpec.CachingOptions": "enable_cache cache_key",
    "PipelineTaskSpec.TriggerPolicy": "strategy",
    "PipelineTaskSpec.RetryPolicy": "max_retry_count backoff_duration backoff_factor "
    "backoff_max_duration",
    "TaskInputsSpec": "parameters artifacts",
    "TaskInputsSpec.InputArtifactSpec": "task_output_artifact component_input_artifact",
    "TaskInputsSpec.InputArtifactSpec.TaskOutputArtifactSpec": "producer_task output_artifact_key",
    "TaskInputsSpec.InputParameterSpec": "task_output_parameter runtime_value "
    "component_input_parameter task_final_status",
    "TaskInputsSpec.InputParameterSpec.TaskOutputParameterSpec": "producer_task "
    "output_parameter_key",
    "TaskInputsSpec.InputParameterSpec.TaskFinalStatus": "producer_task",
    "ValueOrRuntimeParameter": "constant runtime_parameter",
    "PipelineDeploymentConfig": "executors",
    "PipelineDeploymentConfig.ExecutorSpec": "container importer",
    "PipelineDeploymentConfig.PipelineContainerSpec": "image command args lifecycle resources env",
    "PipelineDeploymentConfig.PipelineContainerSpec.EnvVar": "name value",
    "PipelineDeploymentConfig.PipelineContainerSpec.Lifecycle": "pre_cache_check",
    "PipelineDeploymentConfig.PipelineContainerSpec.Lifecycle.Exec": "command args",
    "PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec": "cpu_limit memory_limit "
    "cpu_request memory_request resource_cpu_limit resource_memory_limit resource_cpu_request "
    "resource_memory_request accelerator",
    "PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec.AcceleratorConfig": "type count "
    "resource_type resource_count",
    "PipelineDeploymentConfig.ImporterSpec": "artifact_uri type_schema metadata reimport",
}


class SpecError(ValueError):
    """The compiled pipeline is wrong, or asks for what this package does not do."""


@dataclass(frozen=True)
class Job:
    """What is submitted.

    Attributes:
      spec: The pipeline.
      deployment: Its executors.
      pipeline_root: The root that the file itself names, or "".
      parameters: The values that the file itself sets.
      platforms: The second document of a file for Kubeflow, by platform and executor label.
      managed: Whether the file is a PipelineJob, as Vertex AI takes them.
    """

    spec: pb.PipelineSpec
    deployment: pb.PipelineDeploymentConfig
    pipeline_root: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    platforms: dict[str, dict[str, Any]] = field(default_factory=dict)
    managed: bool = False

    @property
    def name(self) -> str:
        return self.spec.pipeline_info.name

    def executor(self, component: pb.ComponentSpec) -> pb.PipelineDeploymentConfig.ExecutorSpec:
        return self.deployment.executors[component.executor_label]


def load(path: Path) -> Job:
    """Read a pipeline spec (YAML or JSON) or a PipelineJob (JSON).

    Raises:
      SpecError: It does not parse into the published messages, or cannot be executed here.
    """
    return parse(Path(path).read_text(encoding="utf-8"))


def parse(text: str) -> Job:
    """As `load`, from the text of the file."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise SpecError("the file holds no pipeline")
    first, *rest = documents
    job = _managed_job(first) if "pipelineSpec" in first else _open_job(first, rest)
    if job.managed and rest:
        raise SpecError("a PipelineJob is one document")
    for message in (job.spec, job.deployment):
        for where, unknown in _unknown(message, type(message).__name__):
            raise SpecError(f"{where}: {unknown} is set, which this package does not execute")
    return job


def _managed_job(document: dict[str, Any]) -> Job:
    message = _read(document, pb.PipelineJob())
    spec = _read(document["pipelineSpec"], pb.PipelineSpec())
    config = message.runtime_config
    if config.parameters:
        raise SpecError("runtimeConfig.parameters is of schema 2.0; use parameterValues")
    return Job(
        spec=spec,
        deployment=_read(json_format.MessageToDict(spec.deployment_spec), _deployment()),
        pipeline_root=config.gcs_output_directory or spec.default_pipeline_root,
        parameters={
            name: json_format.MessageToDict(value)
            for name, value in config.parameter_values.items()
        },
        managed=True,
    )


def _open_job(document: dict[str, Any], rest: list[dict[str, Any]]) -> Job:
    spec = _read(document, pb.PipelineSpec())
    if spec.schema_version != "2.1.0":
        raise SpecError(f"schemaVersion must be 2.1.0, got {spec.schema_version!r}")
    if len(rest) > 1:
        raise SpecError(f"the file has {1 + len(rest)} documents; at most two are known")
    platforms = {}
    for other in rest:
        for name, platform in _read(other, pb.PlatformSpec()).platforms.items():
            config = json_format.MessageToDict(platform.deployment_spec)
            platforms[name] = config.get("executors", {})
    return Job(
        spec=spec,
        deployment=_read(json_format.MessageToDict(spec.deployment_spec), _deployment()),
        pipeline_root=spec.default_pipeline_root,
        platforms=platforms,
    )


def _deployment() -> pb.PipelineDeploymentConfig:
    return pb.PipelineDeploymentConfig()


def _read(document: dict[str, Any], message: Any) -> Any:
    try:
        # Through JSON, since YAML's own types are more than JSON's.
        return json_format.Parse(json.dumps(document), message)
    except (json_format.ParseError, TypeError) as error:
        raise SpecError(f"not a {type(message).__name__}: {error}") from error


def _unknown(message: Message, where: str) -> Iterator[tuple[str, str]]:
    """Fields that are set and unknown, depth first, with the place of their message."""
    name = message.DESCRIPTOR.full_name.removeprefix("ml_pipelines.")
    if name.startswith("google.protobuf."):
        return
    if name not in _KNOWN:
        yield where, name
        return
    known = _KNOWN[name].split()
    for descriptor, value in message.ListFields():
        place = f"{where}.{descriptor.json_name}"
        if descriptor.name not in known:
            yield where, descriptor.json_name
        elif descriptor.message_type is None:
            continue
        elif descriptor.message_type.GetOptions().map_entry:
            for key, each in value.items():
                if isinstance(each, Message):
                    yield from _unknown(each, f"{place}[{key!r}]")
        elif descriptor.is_repeated:
            for each in value:
                yield from _unknown(each, place)
        else:
            yield from _unknown(value, place)


def schema_title(schema: pb.ArtifactTypeSchema) -> str:
    """The name of an artifact type, whichever way it is given."""
    if schema.WhichOneof("kind") == "schema_title":
        return str(schema.schema_title)
    content = yaml.safe_load(schema.instance_schema or "")
    title = content.get("title") if isinstance(content, dict) else None
    if not title:
        raise SpecError(f"an artifact type has no title: {schema!r}")
    return str(title)
