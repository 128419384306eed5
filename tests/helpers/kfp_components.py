"""Small components and pipelines, compiled by KFP's own compiler.

KFP reads annotations as types, so they must not be texts: no `from __future__ import annotations`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp_backend
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl
from kfp_backend import Job, Run

IMAGE = "example/image:1"


def sh(script: str, *arguments: Any) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, "sh"], args=[*arguments])


@dsl.container_component
def write(text: str, data: dsl.Output[dsl.Dataset]):
    return sh('mkdir "$2"; printf %s "$1" > "$2/text"', text, data.path)


@dsl.container_component
def join(
    first: dsl.Input[dsl.Dataset], second: dsl.Input[dsl.Dataset], joined: dsl.Output[dsl.Dataset]
):
    return sh('mkdir "$3"; cat "$1/text" "$2/text" > "$3/text"', first.uri, second.path, joined.uri)


@dsl.container_component
def measure(data: dsl.Input[dsl.Dataset], length: dsl.OutputPath(int)):
    return sh('wc -c < "$1/text" > "$2"', data.path, length)


@dsl.container_component
def show(
    text: str,
    number: float,
    whole: int,
    flag: bool,
    several: list,
    mapping: dict,
    shown: dsl.OutputPath(str),
):
    script = 'out=$1; shift; for each in "$@"; do echo "$each"; done > "$out"'
    return sh(script, shown, text, number, whole, flag, several, mapping)


@dsl.container_component
def shell(script: str):
    return sh('eval "$1"', script)


def compiled(pipeline: Any, tmp_path: Path, change: Callable[[dict], Any] | None = None) -> Job:
    """The pipeline as KFP's compiler writes it, with a change of the file's content."""
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    documents = list(yaml.safe_load_all(path.read_text()))
    if change:
        change(documents[0])
    return kfp_backend.parse(yaml.safe_dump_all(documents))


@dsl.pipeline(name="words")
def words(first: str = "ab", second: str = "cde") -> int:
    one, two = write(text=first), write(text=second)
    both = join(first=one.outputs["data"], second=two.outputs["data"])
    return measure(data=both.outputs["joined"]).outputs["length"]


def output_text(run: Run, task: str, key: str) -> str:
    return Path(run.tasks[task].outputs.artifacts[key].uri, "text").read_text()


@dsl.container_component
def read(data: dsl.Input[dsl.Dataset], given: dsl.OutputPath(str)):
    return sh(
        'printf %s "$2" > "$3"', data.uri, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, given
    )


@dsl.pipeline(name="imports")
def imports(uri: str = "/data/default"):
    fixed = dsl.importer(
        artifact_uri="/data/fixed", artifact_class=dsl.Dataset, metadata={"rows": 5, "ok": True}
    )
    named = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)
    read(data=fixed.output)
    read(data=named.output)


def given_to(run: Run, task: str) -> dict:
    given = json.loads(run.tasks[task].outputs.parameters["given"].string_value)
    return given["inputs"]["artifacts"]["data"]["artifacts"][0]


def managed(job: Job, **runtime: Any) -> Job:
    """The same pipeline as the PipelineJob that Vertex AI takes."""

    content = {
        "pipelineSpec": json_format.MessageToDict(job.spec),
        "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/root", **runtime},
    }
    return kfp_backend.parse(json.dumps(content))


def at(spec: dict, path: str) -> Any:
    for key in path.split("/"):
        spec = spec[key]
    return spec


TASKS, EXECUTORS = "root/dag/tasks", "deploymentSpec/executors"
