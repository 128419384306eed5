"""What a node's container runs: TFX's own entry point, for Kubeflow Pipelines as for Vertex AI.

TFX's takes for granted what Vertex AI does. Three things are different on Kubeflow Pipelines 2:

- What its drivers tell as the types of input artifacts is nothing, `system.Artifact`, or a text in
  the wrong place. The component's definition has them.
- Artifacts at minio:// and s3:// URLs, which TFX cannot read, are copied into and out of local
  directories by the launcher that wraps this command. TFX is given those directories.
- The launcher adds an output of its own, the log, which it writes while this command runs.

Linux lets the first process of a container ignore SIGTERM, unless it has a handler. So it waits for
another one that does the work, as on a user's machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from modules.errors import UserError, reason_of
from pipeline.terminal.exits import explain
from pipeline.terminal.supervision import ending, exit_code, interruption, supervised

# Where the launcher keeps the content of URLs, by their scheme; the variable names other places.
DIRECTORIES_VARIABLE = "TFX_DISTILL_ARTIFACT_DIRECTORIES"
_DIRECTORIES = "minio://=/minio/,s3://=/s3/"
_REMOTE_OUTPUT = "executor_output.json"
_GOES_ON = "the next try of the node goes on from what is saved"
# A file, whose type TFX does not know.
_LOG_OUTPUT = "executor-logs"


def attempt(argv: Sequence[str]) -> int:
    """Run one executor; returns the exit code, and says in one line what has gone wrong."""
    logging.basicConfig()
    logging.getLogger("tfx_distill").setLevel(logging.INFO)  # the progress of trainings
    try:
        main(argv)
    # A user's code may even call sys.exit.
    except BaseException as raised:
        # Beam makes a RuntimeError of an interrupt.
        error = interruption() or raised
        logging.getLogger("pipeline").error("the node ends with an error", exc_info=raised)
        if isinstance(error, KeyboardInterrupt):
            return explain(f"{ending(error)}; {_GOES_ON}", exit_code(error))
        return explain(_said_of(error))
    return 0


def _said_of(error: BaseException) -> str:
    if not isinstance(error, UserError):
        return reason_of(error)
    if error.damaged:
        # The engines look neither at files nor at the state of what they serve from their caches.
        return (
            f"{error.args[0]}; the engine's cache would serve it again: give runtime.image another "
            "tag, and all nodes are run anew"
        )
    return str(error)


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
    executor_input.outputs.artifacts.pop(_LOG_OUTPUT, None)
    set_types(executor_input, definition)
    use_local_directories(executor_input)
    use_remote_output(executor_input)
    args.json_serialized_invocation_args = json_format.MessageToJson(executor_input)

    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    from modules.distill.saved_states import discard_exported, node_directory

    kubeflow_v2_run_executor.main((args, beam_arguments))
    publish_output(executor_input.outputs.output_file, output_file)
    for artifact in _artifacts(executor_input.outputs.artifacts.values()):
        discard_exported(node_directory(artifact.uri))


def launcher_directories() -> dict[str, str]:
    """Local directories by scheme, for example `/minio/` by `minio://`."""
    pairs = os.environ.get(DIRECTORIES_VARIABLE, _DIRECTORIES).split(",")
    return dict(pair.split("=", 1) for pair in pairs)


def set_types(
    executor_input: pipeline_spec_pb2.ExecutorInput,
    definition: pipeline_spec_pb2.ComponentInputsSpec,
) -> None:
    """Give input artifacts the types of the component's definition, whatever the engine says."""
    for name, artifacts in executor_input.inputs.artifacts.items():
        for artifact in artifacts.artifacts:
            artifact.type.CopyFrom(definition.artifacts[name].artifact_type)


def use_local_directories(executor_input: pipeline_spec_pb2.ExecutorInput) -> None:
    """Replace URLs by the launcher's directories; local output directories are made."""
    directories = launcher_directories()
    for artifact in _artifacts(executor_input.inputs.artifacts.values()):
        artifact.uri = _replaced(artifact.uri, directories)
    for artifact in _artifacts(executor_input.outputs.artifacts.values()):
        artifact.uri = _replaced(artifact.uri, directories)
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
    urls = {directory: scheme for scheme, directory in launcher_directories().items()}
    for artifacts in content.get("artifacts", {}).values():
        for artifact in artifacts["artifacts"]:
            artifact["uri"] = _replaced(artifact["uri"], urls)
            # A blessing names the models that it is about.
            metadata = artifact.get("metadata", {})
            for name, value in metadata.items():
                if isinstance(value, str):
                    metadata[name] = _replaced(value, urls)
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
    sys.exit(supervised(lambda: attempt(sys.argv[1:]), remedy=_GOES_ON))
