"""What a backend remembers of the runs before: artifacts, and the cache of executions."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values

Dialect = Literal["kubeflow", "vertex"]


@dataclass
class Outputs:
    """What a task has brought about, as later tasks are given it."""

    artifacts: dict[str, pb.RuntimeArtifact] = field(default_factory=dict)
    parameters: dict[str, Value] = field(default_factory=dict)


class MetadataStore:
    """In memory, so as long as the object; safe for the threads of a run."""

    def __init__(self, dialect: Dialect):
        self._dialect = dialect
        self._lock = threading.Lock()
        self._artifacts = 0
        self._cache: dict[tuple[str, str], Outputs] = {}

    def record(self, key: str, artifact: pb.RuntimeArtifact) -> pb.RuntimeArtifact:
        """Register an output; returns it as the tasks that consume it are given it."""
        with self._lock:
            self._artifacts += 1
            number = self._artifacts
        recorded = pb.RuntimeArtifact()
        recorded.CopyFrom(artifact)
        if self._dialect == "vertex":
            recorded.name = f"projects/0/locations/local/metadataStores/default/artifacts/{number}"
            return recorded
        recorded.name = str(number)
        # The open backend does not hand an artifact's type on.
        recorded.type.Clear()
        recorded.type.instance_schema = ""
        recorded.metadata.Clear()
        metadata = {name: _through_mlmd(each) for name, each in artifact.metadata.fields.items()}
        metadata.setdefault("display_name", key)
        metadata.setdefault("store_session_info", '{"Provider":"gs","Params":{"fromEnv":"true"}}')
        recorded.metadata.update(metadata)
        return recorded

    def cached(self, pipeline: str, fingerprint: str) -> Outputs | None:
        """The outputs of the newest execution with this fingerprint."""
        with self._lock:
            return self._cache.get((pipeline, fingerprint))

    def remember(self, pipeline: str, fingerprint: str, outputs: Outputs) -> None:
        """Serve this execution from now on."""
        with self._lock:
            self._cache[pipeline, fingerprint] = outputs


def _through_mlmd(value: Value) -> Any:
    """A metadata value after ML Metadata has stored it in its own types."""
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return int(value.bool_value)
    if kind == "list_value":
        return {"list": values.to_python(value)}
    if kind == "struct_value":
        return {"struct": values.to_python(value)}
    if kind in ("number_value", "string_value"):
        return values.to_python(value)
    raise ValueError("metadata values must not be null")


def fingerprint(
    task: pb.PipelineTaskSpec,
    component: pb.ComponentSpec,
    container: pb.PipelineDeploymentConfig.PipelineContainerSpec,
    executor_input: pb.ExecutorInput,
) -> str:
    """The key of a task in the cache: what the backend takes for all that the outcome depends on.

    Inputs (artifacts by their name in the metadata), the outputs' types, image and command line
    before placeholders are filled in; or the task's own cache key.
    """
    if task.caching_options.cache_key:
        own = f"{task.component_ref.name}\0{task.caching_options.cache_key}"
        return hashlib.sha256(own.encode()).hexdigest()
    key = {
        "inputArtifactNames": {
            name: [artifact.name for artifact in artifacts.artifacts]
            for name, artifacts in executor_input.inputs.artifacts.items()
        },
        "inputParameterValues": {
            name: values.to_python(value)
            for name, value in executor_input.inputs.parameter_values.items()
        },
        "outputArtifactsSpec": {
            name: {
                "type": json_format.MessageToDict(artifacts.artifacts[0].type),
                "metadata": json_format.MessageToDict(artifacts.artifacts[0].metadata),
            }
            for name, artifacts in executor_input.outputs.artifacts.items()
        },
        "outputParametersSpec": {
            name: values.type_name(spec)
            for name, spec in component.output_definitions.parameters.items()
        },
        "containerSpec": {
            "image": container.image,
            "cmdArgs": [*container.command, *container.args],
        },
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
