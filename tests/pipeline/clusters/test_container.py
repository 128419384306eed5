"""The entry point of containers, given what Kubeflow Pipelines' driver and launcher give."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from checkout import ROOT
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_records import recorded

from pipeline.clusters import container

NODES = sorted(recorded("kfp_digits"))
EXAMPLES = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}


def executor_input(**content: Any) -> Any:
    return json_format.ParseDict(content, pipeline_spec_pb2.ExecutorInput())


def artifacts(**uris: Any) -> dict[str, Any]:
    return {"artifacts": {name: {"artifacts": [each]} for name, each in uris.items()}}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(None, id="KFP's driver, nothing"),
        pytest.param({"instanceSchema": ""}, id="KFP's driver, an empty one"),
        pytest.param({"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}, id="kfp.local"),
        pytest.param({"schemaTitle": EXAMPLES["instanceSchema"]}, id="KFP without MLMD"),
        pytest.param(EXAMPLES, id="Vertex AI"),
    ],
)
def test_inputs_have_the_type_that_the_component_names(told: dict[str, Any] | None) -> None:
    """Engines tell it in four ways, of which TFX understands the last."""
    artifact = {"uri": "a"} | ({"type": told} if told else {})
    given = executor_input(inputs=artifacts(examples=artifact))
    definition = json_format.ParseDict(
        {"artifacts": {"examples": {"artifactType": EXAMPLES}}},
        pipeline_spec_pb2.ComponentInputsSpec(),
    )
    container.set_types(given, definition)
    (found,) = given.inputs.artifacts["examples"].artifacts
    assert json_format.MessageToDict(found.type) == EXAMPLES


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directories = f"minio://={tmp_path}/minio/,s3://={tmp_path}/s3/"
    monkeypatch.setenv(container.DIRECTORIES_VARIABLE, directories)
    return tmp_path


def test_urls_that_tfx_cannot_read_become_the_launchers_directories(launcher: Path) -> None:
    given = executor_input(
        inputs=artifacts(a={"uri": "minio://b/in"}, c={"uri": "gs://b/in"}),
        outputs=artifacts(a={"uri": "s3://b/out/x"}, c={"uri": "gs://b/out"}),
    )
    container.use_local_directories(given)
    uris = [
        {name: each.artifacts[0].uri for name, each in side.artifacts.items()}
        for side in (given.inputs, given.outputs)
    ]
    assert uris == [
        {"a": f"{launcher}/minio/b/in", "c": "gs://b/in"},
        {"a": f"{launcher}/s3/b/out/x", "c": "gs://b/out"},
    ]
    assert (launcher / "s3/b/out/x").is_dir()
    assert not (launcher / "minio").exists()


@pytest.mark.parametrize(
    ("uri", "output_file", "expected"),
    [
        ("gs://b/run/Task/model", "/gcs/b/out.json", "gs://b/run/Task/executor_output.json"),
        ("gs://b/run/Task/model", "gs://b/run/out.json", "gs://b/run/out.json"),
        ("/minio/b/run/Task/model", "/minio/b/run/out.json", "/minio/b/run/out.json"),
    ],
)
def test_temporary_files_are_where_all_workers_see_them(
    uri: str, output_file: str, expected: str
) -> None:
    given = executor_input(outputs=artifacts(model={"uri": uri}) | {"outputFile": output_file})
    container.use_remote_output(given)
    assert given.outputs.output_file == expected


EXECUTOR = """
import sys, tempfile, time
from tfx.dsl.components.base import base_executor
class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        tempfile.mkdtemp()
        print("at work", flush=True)
        {body}
"""


def started(directory: Path, body: str) -> subprocess.Popen[str]:
    """What the node of a compiled pipeline starts; it returns once this executor is at work."""
    (directory / "executors.py").write_text(EXECUTOR.format(body=body))
    (directory / "temporary").mkdir()
    arguments = {
        "executor_class_path": "executors.Executor",
        "json_serialized_inputs_spec_args": "{}",
        "json_serialized_invocation_args": json.dumps(
            {"outputs": {"outputFile": str(directory / "output.json")}}
        ),
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.clusters.container"),
            *(word for name, value in arguments.items() for word in (f"--{name}", value)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"PYTHONPATH": f"{ROOT}:{directory}", "TMPDIR": str(directory / "temporary")},
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != "at work\n":
        pass
    return process


def ended(process: subprocess.Popen[str], directory: Path) -> tuple[int, list[str]]:
    """Exit code and what was said of it; nothing may be left in the temporary directory."""
    _, shown = process.communicate(timeout=60)
    assert list((directory / "temporary").iterdir()) == [], shown
    return process.returncode, [line for line in shown.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "terminated; the next try of the node goes on from what is saved"),
        (signal.SIGINT, "interrupted; the next try of the node goes on from what is saved"),
    ],
)
def test_a_signal_to_a_container_is_one_line(tmp_path: Path, number: int, said: str) -> None:
    process = started(tmp_path, "time.sleep(60)")
    process.send_signal(number)
    assert ended(process, tmp_path) == (128 + number, [f"error: {said}"])


@pytest.mark.slow
def test_the_log_of_a_container_has_the_progress_of_a_training(tmp_path: Path) -> None:
    said = (
        'import logging; logging.getLogger("tfx_distill.training").info("epoch 1/2"); sys.exit(1)'
    )
    _, shown = started(tmp_path, said).communicate(timeout=60)
    assert "INFO:tfx_distill.training:epoch 1/2" in shown.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("sys.exit(0)", 1, "error: SystemExit: 0"),
        (
            "from modules.errors import DataError; raise DataError('7 is cut', damaged='/root/7')",
            1,
            "error: 7 is cut; the engine's cache would serve it again: give runtime.image another",
        ),
        ("import os; os.abort()", 134, "the process was ended by SIGABRT (Aborted), a fault in"),
    ],
)
def test_what_ends_an_executor_is_one_line(tmp_path: Path, body: str, code: int, said: str) -> None:
    found, lines = ended(started(tmp_path, body), tmp_path)
    assert found == code and len(lines) == 1 and said in lines[0]


@pytest.fixture
def recorded_node(launcher: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A node's arguments by flag; its log is where the launcher writes it."""
    words = recorded("kfp_digits")[request.param][2:]
    arguments = dict(zip(words[:6:2], words[1:6:2], strict=True))
    outputs = arguments["--json_serialized_invocation_args"]["outputs"]
    outputs["outputFile"] = f"{launcher}{outputs['outputFile']}"
    log = Path(outputs["outputFile"]).with_name("executor-logs-0")
    log.parent.mkdir(parents=True)
    log.write_text("a log")
    return arguments


@pytest.mark.slow
@pytest.mark.parametrize("recorded_node", NODES, indirect=True)
def test_what_kfp_gives_a_node_reaches_its_executor(
    recorded_node: dict[str, Any], launcher: Path
) -> None:
    """Recorded from KFP's own driver and launcher, in a run of the digits on s3://."""
    from recording_executor import RecordingExecutor

    arguments = recorded_node | {"--executor_class_path": "recording_executor.RecordingExecutor"}
    container.main(
        [
            word if isinstance(word, str) else json.dumps(word)
            for each in arguments.items()
            for word in each
        ]
    )
    invocation = arguments["--json_serialized_invocation_args"]
    definition = arguments["--json_serialized_inputs_spec_args"]
    inputs, outputs, properties = RecordingExecutor.given

    def title(schema: dict[str, str]) -> str:
        return yaml.safe_load(schema["instanceSchema"])["title"].removeprefix("tfx.")

    named = {
        key: title(each["artifactType"]) for key, each in definition.get("artifacts", {}).items()
    }
    assert {key: each.type_name for key, (each,) in inputs.items()} == {
        key: named[key] for key in invocation["inputs"].get("artifacts", ())
    }
    own = {
        key: each["artifacts"][0]
        for key, each in invocation["outputs"]["artifacts"].items()
        if key != "executor-logs"
    }
    assert {key: each.uri for key, (each,) in outputs.items()} == {
        key: each["uri"].replace("s3://", f"{launcher}/s3/") for key, each in own.items()
    }
    assert all(Path(each.uri).is_dir() for (each,) in outputs.values())
    assert properties == invocation["inputs"]["parameterValues"]
    written = json.loads(Path(invocation["outputs"]["outputFile"]).read_text())["artifacts"]
    assert {key: each["artifacts"][0]["uri"] for key, each in written.items()} == {
        key: each["uri"] for key, each in own.items()
    }


@pytest.mark.slow
def test_an_executor_runs_between_the_launchers_directories(launcher: Path) -> None:
    """The real ExampleGen, compiled, on a pipeline root that TFX cannot read."""
    from pipeline.clusters.compilation import compile_pipeline
    from pipeline.config import load_config

    config = load_config(
        "digits",
        [
            "data.max_labels=null",
            "runtime.image=x:1",
            "runtime.pipeline_root=minio://bucket/root",
            "push.destination=gs://bucket/models",
        ],
    )
    spec = yaml.safe_load(compile_pipeline(config, "kubeflow"))
    parameters = spec["root"]["dag"]["tasks"]["ExampleGen"]["inputs"]["parameters"]
    component = spec["components"]["ExampleGen"]
    output_file = launcher / "outputs" / "output_metadata.json"
    invocation = {
        "inputs": {
            "parameterValues": {
                name: value["runtimeValue"]["constant"] for name, value in parameters.items()
            }
        },
        "outputs": artifacts(
            examples={
                "uri": "minio://bucket/root/ExampleGen/examples",
                "type": component["outputDefinitions"]["artifacts"]["examples"]["artifactType"],
            }
        )
        | {"outputFile": str(output_file)},
    }
    args = spec["deploymentSpec"]["executors"]["ExampleGen_executor"]["container"]["args"]
    states = launcher / "minio" / "bucket" / "root" / "resume"
    for file in ("done/exported", "open/state.npz"):
        (states / file).parent.mkdir(parents=True)
        (states / file).touch()
    container.main([json.dumps(invocation) if each == "{{$}}" else each for each in args])

    assert [path.name for path in states.iterdir()] == ["open"]  # what was trained is published
    (examples,) = json.loads(output_file.read_text())["artifacts"]["examples"]["artifacts"]
    assert examples["uri"] == "minio://bucket/root/ExampleGen/examples"
    assert json.loads(examples["metadata"]["split_names"]) == ["train", "eval"]
    files = list((launcher / "minio/bucket/root/ExampleGen/examples").glob("Split-*/*"))
    counts = [sum(1 for _ in tf.data.TFRecordDataset(str(f), "GZIP")) for f in files]
    assert sum(counts) == 1797
