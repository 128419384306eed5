"""What a node's container runs: TFX's own entry point, for Kubeflow Pipelines as for Vertex AI.

TFX's takes for granted what Vertex AI does. Two things are different on Kubeflow Pipelines 2:

- Its driver does not tell the types of input artifacts. The component's definition has them.
- Artifacts at minio:// and s3:// URLs, which TFX cannot read, are copied into and out of local
  directories by the launcher that wraps this command. TFX is given those directories.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

# URLs by scheme, and the directories where the launcher keeps their content.
_LAUNCHER_DIRECTORIES = {"minio://": "/minio/", "s3://": "/s3/"}
_REMOTE_OUTPUT = "executor_output.json"


def main(argv: Sequence[str]) -> None:
    """Run one executor and leave its output where the engine expects it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("executor_class_path", "json_serialized_invocation_args"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    args, beam_arguments = parser.parse_known_args(argv)

    executor_input = pipeline_spec_pb2.ExecutorInput()
    json_format.Parse(
        args.json_serialized_invocation_args, executor_input, ignore_unknown_fields=True
    )
    definition = pipeline_spec_pb2.ComponentInputsSpec()
    json_format.Parse(args.json_serialized_inputs_spec_args, definition)
    output_file = executor_input.outputs.output_file
    add_types(executor_input, definition)
    use_local_directories(executor_input)
    use_remote_output(executor_input)
    args.json_serialized_invocation_args = json_format.MessageToJson(executor_input)

    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    kubeflow_v2_run_executor.main((args, beam_arguments))
    publish_output(executor_input.outputs.output_file, output_file)


def add_types(
    executor_input: pipeline_spec_pb2.ExecutorInput,
    definition: pipeline_spec_pb2.ComponentInputsSpec,
) -> None:
    """Give input artifacts without a type that of the component's definition."""
    for name, artifacts in executor_input.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            if not (artifact.type.schema_title or artifact.type.instance_schema):
                artifact.type.CopyFrom(definition.artifacts[name].artifact_type)


def use_local_directories(executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    """Replace URLs by the launcher's directories; local output directories are made."""
    for artifact in _artifacts(executor_input.inputs.artifacts.values()):
        artifact.uri = _replaced(artifact.uri, _LAUNCHER_DIRECTORIES)
    for artifact in _artifacts(executor_input.outputs.artifacts.values()):
        artifact.uri = _replaced(artifact.uri, _LAUNCHER_DIRECTORIES)
        if "://" not in artifact.uri:
            os.makedirs(artifact.uri, exist_ok=True)


def use_remote_output(executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    """Let TFX write its output beside the artifacts.

    It keeps temporary files in the same directory, which Beam workers on other machines share.
    """
    outputs = executor_input.outputs
    if "://" in outputs.output_file:
        return
    for artifact in _artifacts(outputs.artifacts.values()):
        if "://" in artifact.uri:
            outputs.output_file = f"{artifact.uri.rstrip('/').rpartition('/')[0]}/{_REMOTE_OUTPUT}"
            return


def publish_output(written: str, expected: str) -> None:
    """Put TFX's output, with the URLs that the engine knows, where the engine reads it."""
    from tfx.dsl.io import fileio

    with fileio.open(written, "r") as file:
        content = json.load(file)
    urls = {directory: scheme for scheme, directory in _LAUNCHER_DIRECTORIES.items()}
    changed = False
    for artifacts in content.get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            url = _replaced(artifact["uri"], urls)
            changed |= url != artifact["uri"]
            artifact["uri"] = url
    if changed or written != expected:
        fileio.makedirs(os.path.dirname(expected))
        with fileio.open(expected, "w") as file:
            json.dump(content, file)


def _artifacts(
    lists: Iterable[pipeline_spec_pb2.ArtifactList],
) -> Iterable[pipeline_spec_pb2.RuntimeArtifact]:
    return (artifact for each in lists for artifact in each.artifacts)


def _replaced(text: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if text.startswith(old):
            return new + text.removeprefix(old)
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
