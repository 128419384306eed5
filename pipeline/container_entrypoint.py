"""What every node's container runs: TFX's entry point, given what it takes for granted.

    python -m pipeline.container_entrypoint --executor_class_path=… (the arguments are TFX's)

TFX wrote its entry point for Vertex AI. On Kubeflow Pipelines it fails on the first input: their
backend hands an artifact on without its type. The component's own declaration has it.

And it hands executors the URIs of an object store, which nothing but TFX's own file functions can
open, and of those not even they know `minio://`. Both engines keep the artifacts in local
directories, too: Kubeflow copies inputs there and outputs from there, Vertex AI mounts the bucket.
So executors work on local paths, and the URIs are put back into what is reported. Only what a Beam
runner does elsewhere still needs the URIs themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.utils import import_utils

# Where both engines keep what lies in an object store; another place for each comes from here.
MOUNTS_VARIABLE = "TFX_DISTILL_MOUNTS"
_MOUNTS = "gs://=/gcs/,s3://=/s3/,minio://=/minio/"
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner")


def main(arguments: Sequence[str]) -> None:
    """Run one executor.

    Args:
      arguments: TFX's, then Beam's.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    given, beam_arguments = parser.parse_known_args(arguments)
    executor_input = json.loads(given.json_serialized_invocation_args)
    add_types(executor_input, json.loads(given.json_serialized_inputs_spec_args))
    mounts = {} if _is_elsewhere(given.executor_class_path, beam_arguments) else mount_points()
    local = translate(executor_input, mounts)
    given.json_serialized_invocation_args = json.dumps(local)
    kubeflow_v2_run_executor.main((given, beam_arguments))
    _put_uris_back(local["outputs"]["outputFile"], mounts)


def add_types(executor_input: dict[str, Any], inputs_spec: dict[str, Any]) -> None:
    """Give every input artifact without a type the one that its component declares."""
    declared = inputs_spec.get("artifacts", {})
    for key, artifacts in executor_input.get("inputs", {}).get("artifacts", {}).items():
        for artifact in artifacts.get("artifacts", []):
            if not any(artifact.get("type", {}).values()):
                artifact["type"] = declared[key]["artifactType"]


def mount_points() -> dict[str, str]:
    """Local prefixes by the beginnings of URIs, for example `/gcs/` by `gs://`."""
    text = os.environ.get(MOUNTS_VARIABLE, _MOUNTS)
    pairs = (pair.partition("=") for pair in text.split(","))
    return {prefix: directory for prefix, _, directory in pairs}


def translate(executor_input: dict[str, Any], mounts: dict[str, str]) -> dict[str, Any]:
    """A copy with local paths for the URIs of artifacts; parameters stay as they are."""
    local: dict[str, Any] = json.loads(json.dumps(executor_input))
    for direction in ("inputs", "outputs"):
        for artifacts in local.get(direction, {}).get("artifacts", {}).values():
            for artifact in artifacts.get("artifacts", []):
                artifact["uri"] = _replace_prefix(artifact["uri"], mounts)
    outputs = local["outputs"]
    outputs["outputFile"] = _replace_prefix(outputs["outputFile"], mounts)
    return local


def _replace_prefix(text: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if text.startswith(old):
            return new + text.removeprefix(old)
    return text


def _is_elsewhere(executor_class_path: str, beam_arguments: Sequence[str]) -> bool:
    """Whether other machines read and write the artifacts of this node."""
    runners = [each.partition("=")[2] for each in beam_arguments if each.startswith("--runner=")]
    if not runners or runners[-1] in _LOCAL_RUNNERS:
        return False
    return issubclass(import_utils.import_class_by_path(executor_class_path), BaseBeamExecutor)


def _put_uris_back(output_file: str, mounts: dict[str, str]) -> None:
    """Replace local paths in what TFX reports on its outputs, metadata included."""
    with open(output_file, encoding="utf-8") as file:
        report = json.load(file)
    back = {directory: prefix for prefix, directory in mounts.items()}
    for artifacts in report.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", []):
            artifact["uri"] = _replace_prefix(artifact["uri"], back)
            for key, value in artifact.get("metadata", {}).items():
                if isinstance(value, str):
                    artifact["metadata"][key] = _replace_prefix(value, back)
    with open(output_file, "w", encoding="utf-8") as file:
        json.dump(report, file)


if __name__ == "__main__":
    main(sys.argv[1:])
