"""What tasks of the local KFP backend are given, and what they leave behind."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp_backend import Backend, SpecError
from kfp_components import IMAGE, compiled, given_to, imports, managed, read, sh, words, write


def test_importers_make_artifacts_of_uris(execute: Any) -> None:
    run = execute(imports, uri="/data/other")
    assert given_to(run, "read-2")["uri"] == "/data/other"
    fixed = given_to(run, "read")
    assert fixed["uri"] == "/data/fixed"
    # As the open backend hands an artifact on.
    assert fixed["type"] == {"instanceSchema": ""}
    session = fixed["metadata"].pop("store_session_info")
    assert json.loads(session)
    assert fixed["metadata"] == {"rows": 5.0, "ok": 1.0, "display_name": "artifact"}
    assert fixed["name"].isdigit()


def test_a_pipeline_job_sets_parameters_and_artifacts_keep_their_types(tmp_path: Path) -> None:
    job = managed(compiled(imports, tmp_path), parameterValues={"uri": "/data/job"})
    backend = Backend(tmp_path / "scratch", dialect="vertex")
    run = backend.run(job)
    assert given_to(run, "read-2")["uri"] == "/data/job"
    assert given_to(run, "read")["type"] == {
        "schemaTitle": "system.Dataset",
        "schemaVersion": "0.0.1",
    }
    assert given_to(run, "read")["metadata"] == {"rows": 5.0, "ok": True}


@dsl.container_component
def grow(old: dsl.Input[dsl.Dataset], new: dsl.Output[dsl.Dataset], tries: str):
    copy = 'mkdir -p "$2"; cp "$1"/* "$2"; date +%N > "$2/$(date +%N)"; '
    return sh(copy + 'echo >> "$3"; test "$(wc -l < "$3")" -gt 1', old.path, new.path, tries)


@pytest.mark.parametrize(("dialect", "files"), [("kubeflow", 2), ("vertex", 3)])
def test_artifacts_lie_in_a_bucket(tmp_path: Path, dialect: Any, files: int) -> None:
    @dsl.pipeline(name="bucket")
    def pipeline():
        data = write(text="a").outputs["data"]
        grow(old=data, tries=str(tmp_path / "tries")).set_retry(1)

    job = compiled(pipeline, tmp_path)
    job = managed(job) if dialect == "vertex" else job
    backend = Backend(tmp_path / "scratch", dialect=dialect)
    run = backend.run(job, pipeline_root="gs://bucket/root")
    assert run.state == "SUCCEEDED", run.problems()
    uri = run.tasks["grow"].outputs.artifacts["new"].uri
    assert uri.startswith(f"gs://bucket/root/bucket/{run.run_id}/grow/")
    # What a failed attempt has left is there only where the bucket itself is written to.
    assert len(run.tasks["grow"].attempts) == 2
    assert len(list(backend.path(uri).iterdir())) == files


def test_the_open_backend_puts_a_log_of_each_attempt_among_the_outputs(tmp_path: Path) -> None:
    @dsl.container_component
    def look(tries: str, given: dsl.OutputPath(str)):
        said = 'echo >> "$1"; echo "try $(wc -l < "$1")"; test "$(wc -l < "$1")" -gt 1'
        return sh(
            f'{said}; printf %s "$3" > "$2"',
            *(tries, given, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER),
        )

    @dsl.pipeline(name="logs")
    def pipeline():
        look(tries=str(tmp_path / "tries")).set_retry(1)

    backend = Backend(tmp_path / "scratch", sleep=lambda seconds: None)
    run = backend.run(compiled(pipeline, tmp_path), pipeline_root="s3://bucket/root")
    assert run.state == "SUCCEEDED", run.problems()
    outputs = run.tasks["look"].outputs
    given = json.loads(outputs.parameters["given"].string_value)["outputs"]
    (log,) = given["artifacts"]["executor-logs"]["artifacts"]
    assert log["type"] == {"schemaTitle": "system.Artifact"}
    assert log["uri"] == outputs.artifacts["executor-logs"].uri
    assert log["uri"].endswith("/executor-logs-1")
    assert backend.path(log["uri"]).read_text() == "try 2\n"
    # The attempt that failed has left its own.
    assert backend.path(log["uri"]).with_name("executor-logs-0").read_text() == "try 1\n"
    local = log["uri"].replace("s3://", "/s3/").removesuffix("executor-logs-1")
    assert given["outputFile"].endswith(f"{local}output_metadata.json")


def test_a_pipeline_root_must_be_known(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'ftp://x' must begin with gs://, s3://, minio://"):
        backend.run(compiled(words, tmp_path), pipeline_root="ftp://x")


def test_only_vertex_asks_a_component_before_the_cache(tmp_path: Path) -> None:
    @dsl.pipeline(name="checked")
    def pipeline():
        write(text="a")

    source = tmp_path / "source"
    report = '{"parameterValues": {"state": "%s"}}'

    def hook(spec: dict) -> None:
        container = spec["deploymentSpec"]["executors"]["exec-write"]["container"]
        script = f'printf \'{report}\' "$(cat {source})" > "$(echo "$1" | sed \'{_OUTPUT}\')"'
        container["lifecycle"] = {
            "preCacheCheck": {"command": ["sh", "-ec", script, "sh"], "args": ["{{$}}"]}
        }

    job = compiled(pipeline, tmp_path, hook)
    states = {}
    for dialect, variant in (("kubeflow", job), ("vertex", managed(job))):
        backend = Backend(tmp_path / dialect, dialect=dialect)
        records = []
        for content in ("1", "1", "2"):
            source.write_text(content)
            records.append(backend.run(variant, pipeline_root=str(tmp_path)).tasks["write"])
        states[dialect] = [record.state for record in records]
        assert [bool(each.pre_cache_check) for each in records] == [dialect == "vertex"] * 3
    assert states == {
        "kubeflow": ["SUCCEEDED", "CACHED", "CACHED"],
        "vertex": ["SUCCEEDED", "CACHED", "SUCCEEDED"],
    }


# The outputFile in an ExecutorInput.
_OUTPUT = r's/.*"outputFile": "\([^"]*executor_output.json\)".*/\1/'


def test_what_an_executor_says_of_its_outputs_is_read_back(execute: Any) -> None:
    script = (
        "import json, os, sys; given = json.loads(sys.argv[1]); "
        "json.dump({'parameterValues': {'length': 4}, 'artifacts': {'data': {'artifacts': "
        "[{'uri': '/elsewhere', 'metadata': {'rows': 2, 'ok': True, 'names': ['a']}}]}}}, "
        "open(given['outputs']['outputFile'], 'w'))"
    )

    @dsl.container_component
    def tell(data: dsl.Output[dsl.Dataset], length: dsl.OutputPath(int)):
        return dsl.ContainerSpec(
            image=IMAGE,
            command=["python", "-c", script],
            args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
        )

    @dsl.pipeline(name="tell")
    def pipeline():
        read(data=tell().outputs["data"])

    run = execute(pipeline)
    assert run.state == "SUCCEEDED", run.problems()
    assert run.tasks["tell"].outputs.parameters["length"].number_value == 4
    given = given_to(run, "read")
    assert given["uri"] == "/elsewhere"
    # ML Metadata has no truth values and wraps lists.
    assert given["metadata"]["ok"] == given["metadata"]["rows"] - 1 == 1
    assert given["metadata"]["names"] == {"list": ["a"]}


@pytest.mark.parametrize("content", ["no json", '{"unknown": 1}'])
def test_an_output_file_that_does_not_parse_fails_the_task(execute: Any, content: str) -> None:
    @dsl.container_component
    def tell(content: str):
        script = f'printf %s "$1" > "$(echo "$2" | sed \'{_OUTPUT_METADATA}\')"'
        return sh(script, content, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER)

    @dsl.pipeline(name="tell")
    def pipeline():
        tell(content=content)

    run = execute(pipeline)
    assert "is not an ExecutorOutput" in run.tasks["tell"].problem


_OUTPUT_METADATA = r's/.*"outputFile": "\([^"]*output_metadata.json\)".*/\1/'


def test_a_parameter_that_was_not_written_fails_the_task(execute: Any) -> None:
    @dsl.container_component
    def nothing(length: dsl.OutputPath(int)):
        return sh("true", length)

    @dsl.container_component
    def text(length: dsl.OutputPath(int)):
        return sh('echo many > "$1"', length)

    @dsl.pipeline(name="nothing")
    def pipeline():
        nothing()

    @dsl.pipeline(name="text")
    def other():
        text()

    assert "'length' was not written" in execute(pipeline).tasks["nothing"].problem
    assert "must be NUMBER_INTEGER, got 'many" in execute(other).tasks["text"].problem
