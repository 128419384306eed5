"""The local KFP backend on small pipelines that KFP's own compiler has compiled."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp_backend
import pytest
import yaml
from kfp import compiler, dsl
from kfp_backend import Backend, Image, Job, Run, SpecError

# KFP reads annotations as types, so they must not be texts: no `from __future__ import annotations`
# here.

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


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "scratch", sleep=lambda seconds: None)


@pytest.fixture
def execute(backend: Backend, tmp_path: Path) -> Callable[..., Run]:
    def run(pipeline: Any, change: Any = None, **parameters: Any) -> Run:
        job = compiled(pipeline, tmp_path, change)
        return backend.run(job, pipeline_root=str(tmp_path / "root"), parameters=parameters)

    return run


@dsl.pipeline(name="words")
def words(first: str = "ab", second: str = "cde") -> int:
    one, two = write(text=first), write(text=second)
    both = join(first=one.outputs["data"], second=two.outputs["data"])
    return measure(data=both.outputs["joined"]).outputs["length"]


def output_text(run: Run, task: str, key: str) -> str:
    return Path(run.tasks[task].outputs.artifacts[key].uri, "text").read_text()


def test_artifacts_and_parameters_go_from_task_to_task(execute: Any, tmp_path: Path) -> None:
    run = execute(words, second="fghi")
    assert run.states == dict.fromkeys(["write", "write-2", "join", "measure"], "SUCCEEDED")
    assert output_text(run, "join", "joined") == "abfghi"
    assert run.outputs.parameters["Output"].number_value == 6
    uri = Path(run.tasks["join"].outputs.artifacts["joined"].uri)
    assert uri.relative_to(tmp_path / "root").parts[:3] == ("words", run.run_id, "join")
    assert [len(record.attempts) for record in run.tasks.values()] == [1] * 4


def test_the_same_run_again_is_served_from_the_cache(execute: Any) -> None:
    first, again = execute(words), execute(words)
    assert set(again.states.values()) == {"CACHED"}
    assert not any(record.attempts for record in again.tasks.values())
    assert again.tasks["join"].outputs == first.tasks["join"].outputs

    other = execute(words, second="x")
    assert other.states["write"] == "CACHED"
    assert other.states["write-2"] == other.states["join"] == "SUCCEEDED"


def test_another_image_and_another_command_are_not_served_from_the_cache(execute: Any) -> None:
    execute(words)

    def change_image(spec: dict) -> None:
        spec["deploymentSpec"]["executors"]["exec-measure"]["container"]["image"] = "other"

    def change_command(spec: dict) -> None:
        spec["deploymentSpec"]["executors"]["exec-measure"]["container"]["args"].append("")

    for change in (change_image, change_command):
        run = execute(words, change)
        assert run.states == {
            "write": "CACHED",
            "write-2": "CACHED",
            "join": "CACHED",
            "measure": "SUCCEEDED",
        }


def test_caching_is_switched_off_by_the_task(execute: Any) -> None:
    @dsl.pipeline(name="asked")
    def pipeline():
        write(text="a")

    def switch_off(spec: dict) -> None:
        at(spec, f"{TASKS}/write")["cachingOptions"] = {}

    # Neither does it look for an earlier execution, nor is it one for a later.
    changes = (switch_off, None, switch_off, None)
    states = [execute(pipeline, change).states["write"] for change in changes]
    assert states == ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "CACHED"]


def test_values_are_written_into_a_command_line_as_kfp_does(execute: Any) -> None:
    @dsl.pipeline(name="values")
    def pipeline(text: str = "a 'b'", number: float = 1e-7, several: list = [1, "a"]):  # noqa: B006
        show(text=text, number=number, whole=3, flag=True, several=several, mapping={"a": [1.5]})

    run = execute(pipeline)
    shown = run.tasks["show"].outputs.parameters["shown"].string_value
    assert shown.splitlines() == ["a 'b'", "0.0000001", "3", "true", '[1,"a"]', '{"a":[1.5]}']


def test_placeholders_in_a_constant_are_resolved(execute: Any) -> None:
    @dsl.pipeline(name="names")
    def pipeline():
        write(text=dsl.PIPELINE_TASK_NAME_PLACEHOLDER)

    def nest(spec: dict) -> None:
        constants = spec["root"]["dag"]["tasks"]["write"]["inputs"]["parameters"]["text"]
        constants["runtimeValue"]["constant"] = "{{$.outputs.artifacts['data'].uri}}!"
        container = spec["deploymentSpec"]["executors"]["exec-write"]["container"]
        container["args"] = ["{{$}}", "{{$.outputs.artifacts['data'].path}}"]

    assert output_text(execute(pipeline), "write", "data") == "write"
    run = execute(pipeline, nest)
    given = json.loads(output_text(run, "write", "data"))
    uri = run.tasks["write"].outputs.artifacts["data"].uri
    assert given["inputs"]["parameterValues"]["text"] == f"{uri}!"
    assert given["outputs"]["artifacts"]["data"]["artifacts"][0]["uri"] == uri


def test_an_argument_depends_on_an_optional_input(execute: Any) -> None:
    @dsl.container_component
    def optional(said: dsl.OutputPath(str), word: str = None):  # noqa: RUF013
        silence = dsl.IfPresentPlaceholder("word", then=["says", word], else_=["silent"])
        return dsl.ContainerSpec(
            image=IMAGE,
            command=["sh", "-ec", 'out=$1; shift; echo "$#:$*" > "$out"', "sh"],
            args=[said, silence],
        )

    @dsl.pipeline(name="present")
    def pipeline():
        optional(word="moo")
        optional()

    run = execute(pipeline)
    said = [run.tasks[name].outputs.parameters["said"].string_value for name in run.tasks]
    assert sorted(said) == ["1:silent\n", "2:says moo\n"]


def test_containers_share_nothing_with_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.container_component
    def look(seen: dsl.OutputPath(str)):
        return sh('{ env; echo "files=$(ls -A)"; } > "$1"', seen)

    @dsl.pipeline(name="look")
    def pipeline():
        look().set_env_variable("OWN", "2")

    monkeypatch.setenv("LEAK", "1")
    backend = Backend(tmp_path / "scratch", image=Image(environment={"BAKED": "3"}))
    run = backend.run(compiled(pipeline, tmp_path), pipeline_root=str(tmp_path))
    seen = run.tasks["look"].outputs.parameters["seen"].string_value.splitlines()
    names = {line.partition("=")[0] for line in seen} - {"PWD", "OLDPWD", "SHLVL", "_"}
    assert names == {"PATH", "HOME", "TMPDIR", "LANG", "OWN", "BAKED", "files"}
    assert {"OWN=2", "BAKED=3", "files="} <= set(seen)


def counting(counter: Path, fails: int) -> str:
    return f'echo >> {counter}; test "$(wc -l < {counter})" -gt {fails}'


@pytest.mark.parametrize(("fails", "state", "attempts"), [(2, "SUCCEEDED", 3), (3, "FAILED", 3)])
def test_a_failed_task_is_tried_again_as_its_policy_says(
    tmp_path: Path, fails: int, state: str, attempts: int
) -> None:
    @dsl.pipeline(name="retried")
    def pipeline():
        shaky = shell(script=counting(tmp_path / "count", fails))
        shaky.set_retry(2, backoff_duration="5s", backoff_factor=3)
        shell(script="true").after(shaky)

    observed, slept = [], []
    backend = Backend(
        tmp_path / "scratch",
        observer=lambda task, number: observed.append((task, number)),
        sleep=slept.append,
    )
    run = backend.run(compiled(pipeline, tmp_path), pipeline_root=str(tmp_path))
    record = run.tasks["shell"]
    assert run.state == record.state == state
    codes = [1, 1, 0] if state == "SUCCEEDED" else [1, 1, 1]
    assert [attempt.returncode for attempt in record.attempts] == codes
    assert slept == record.waits == [5, 15]
    assert [each for each in observed if each[0] == "shell"] == [("shell", n) for n in (1, 2, 3)]
    assert run.states["shell-2"] == ("SUCCEEDED" if state == "SUCCEEDED" else "SKIPPED")


def test_retries_end_with_the_policy_s_time(execute: Any) -> None:
    @dsl.pipeline(name="limited")
    def pipeline():
        shell(script="exit 3").set_retry(
            5, backoff_duration="5s", backoff_factor=2, backoff_max_duration="20s"
        )

    record = execute(pipeline).tasks["shell"]
    assert record.waits == [5, 10]
    assert record.problem.startswith("exit code 3, see ")


def test_the_limit_of_retries_includes_running_times_on_kubeflow(tmp_path: Path) -> None:
    slow = tmp_path / "slow"

    @dsl.pipeline(name="limited")
    def pipeline():
        shell(script=f"test ! -e {slow} || sleep 60; touch {slow}; exit 1").set_retry(
            3, backoff_max_duration="2s"
        )

    def shorten(spec: dict) -> None:
        at(spec, f"{TASKS}/shell/retryPolicy")["backoffMaxDuration"] = "0.001s"

    def leave_open(spec: dict) -> None:
        del at(spec, f"{TASKS}/shell/retryPolicy")["backoffMaxDuration"]

    backend = Backend(tmp_path / "scratch")
    run = backend.run(compiled(pipeline, tmp_path), pipeline_root=str(tmp_path))
    # A second attempt is killed when the limit is over, and there is none after it.
    assert [attempt.returncode for attempt in run.tasks["shell"].attempts] == [1, None]
    assert run.tasks["shell"].problem.startswith("killed after")

    # A limit that the first attempt has used up; Argo is given such a one where none is set.
    for change in (shorten, leave_open):
        slow.unlink()
        run = backend.run(compiled(pipeline, tmp_path, change), pipeline_root=str(tmp_path))
        assert [attempt.returncode for attempt in run.tasks["shell"].attempts] == [1]


def test_a_failure_is_logged_and_what_follows_is_skipped(execute: Any) -> None:
    @dsl.pipeline(name="failing")
    def pipeline():
        broken = shell(script="echo to the log; exit 7")
        shell(script="true").after(broken)

    run = execute(pipeline)
    assert run.state == "FAILED"
    assert run.states == {"shell": "FAILED", "shell-2": "SKIPPED"}
    (attempt,) = run.tasks["shell"].attempts
    assert attempt.returncode == 7
    assert attempt.log.read_text() == "to the log\n"
    assert "to the log" in run.problems()


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


def managed(job: Job, **runtime: Any) -> Job:
    """The same pipeline as the PipelineJob that Vertex AI takes."""
    from google.protobuf import json_format

    content = {
        "pipelineSpec": json_format.MessageToDict(job.spec),
        "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/root", **runtime},
    }
    return kfp_backend.parse(json.dumps(content))


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


@dsl.pipeline(name="branches")
def branches(kind: str = "long", limit: int = 3):
    length = measure(data=write(text="four").outputs["data"]).outputs["length"]
    with dsl.If(length > limit):
        shell(script="echo long")
    with dsl.If(kind == "short", name="asked"):
        nested = shell(script="echo short")
        shell(script="true").after(nested)


def test_conditions_decide_what_runs(execute: Any) -> None:
    assert execute(branches).states == {
        "write": "SUCCEEDED",
        "measure": "SUCCEEDED",
        "condition-1": "SUCCEEDED",
        "condition-1/shell": "SUCCEEDED",
        "condition-2": "NOT_TRIGGERED",
    }
    run = execute(branches, kind="short", limit=4)
    assert run.state == "SUCCEEDED"
    assert run.states["condition-1"] == "NOT_TRIGGERED"
    assert run.states["condition-2/shell-3"] == "SUCCEEDED"


def test_what_depends_on_a_task_that_was_not_triggered_is_skipped(execute: Any) -> None:
    @dsl.pipeline(name="omitted")
    def pipeline(go: bool = False):
        with dsl.If(go == True):  # noqa: E712
            shell(script="true")
        shell(script="true")

    def wait_for_condition(spec: dict) -> None:
        at(spec, f"{TASKS}/shell-2")["dependentTasks"] = ["condition-1"]

    run = execute(pipeline, wait_for_condition)
    assert run.states == {"condition-1": "NOT_TRIGGERED", "shell-2": "SKIPPED"}


def test_a_pipeline_within_a_pipeline_hands_its_outputs_on(execute: Any) -> None:
    @dsl.pipeline(name="inner")
    def inner(text: str, tail: str = "!") -> dsl.Dataset:
        one, two = write(text=text), write(text=tail)
        return join(first=one.outputs["data"], second=two.outputs["data"]).outputs["joined"]

    @dsl.pipeline(name="outer")
    def outer(text: str = "hello") -> int:
        return measure(data=inner(text=text).output).outputs["length"]

    run = execute(outer)
    assert run.state == "SUCCEEDED", run.problems()
    assert set(run.states) == {"inner", "inner/write", "inner/write-2", "inner/join", "measure"}
    assert run.outputs.parameters["Output"].number_value == len("hello!")


def test_an_exit_task_runs_after_a_failure_and_is_told(execute: Any) -> None:
    @dsl.container_component
    def last(status: dsl.PipelineTaskFinalStatus, said: dsl.OutputPath(str)):
        return sh('printf %s "$1" > "$2"', status, said)

    @dsl.pipeline(name="exit")
    def pipeline():
        with dsl.ExitHandler(last()):
            shell(script="exit 1")

    run = execute(pipeline)
    assert run.state == "FAILED"
    assert run.states["last"] == "SUCCEEDED", run.problems()
    said = json.loads(run.tasks["last"].outputs.parameters["said"].string_value)
    assert said["state"] == "FAILED"


@pytest.mark.parametrize(
    ("dialect", "independent"), [("kubeflow", "SKIPPED"), ("vertex", "SUCCEEDED")]
)
def test_what_does_not_depend_on_a_failure(tmp_path: Path, dialect: Any, independent: str) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    @dsl.pipeline(name="independent")
    def pipeline():
        shell(script=f"until test -e {begun}; do sleep 0.01; done; touch {ended}; exit 1")
        first = shell(script=f"touch {begun}; until test -e {ended}; do sleep 0.01; done; sleep 1")
        shell(script="true").after(first)

    job = compiled(pipeline, tmp_path)
    backend = Backend(tmp_path / "scratch", dialect=dialect)
    run = backend.run(managed(job) if dialect == "vertex" else job, pipeline_root=str(tmp_path))
    assert run.states == {"shell": "FAILED", "shell-2": "SUCCEEDED", "shell-3": independent}


def test_so_many_containers_run_at_a_time(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    script = f"touch {marks}/$$; ls {marks} | wc -l >> {tmp_path}/counts; sleep 0.1; rm {marks}/$$"

    @dsl.pipeline(name="parallel")
    def pipeline():
        for _ in range(5):
            shell(script=script).set_caching_options(False)

    job = compiled(pipeline, tmp_path)
    assert Backend(tmp_path / "scratch", workers=2).run(job, pipeline_root=str(tmp_path)).state
    assert max(int(line) for line in (tmp_path / "counts").read_text().split()) == 2


def test_resources_are_recorded(execute: Any) -> None:
    @dsl.pipeline(name="resources")
    def pipeline():
        task = shell(script="true").set_cpu_limit("2").set_memory_limit("4G")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)

    record = execute(pipeline).tasks["shell"]
    assert record.image == IMAGE
    assert record.resources["resourceCpuLimit"] == "2"
    assert record.resources["accelerator"]["resourceType"] == "nvidia.com/gpu"


def test_a_platform_document_is_recorded(execute: Any) -> None:
    from kfp import kubernetes

    @dsl.pipeline(name="platform")
    def pipeline():
        kubernetes.add_node_selector(shell(script="true"), "pool", "gpu")

    record = execute(pipeline).tasks["shell"]
    assert record.platform == {"kubernetes": {"nodeSelector": {"labels": {"pool": "gpu"}}}}


def parameter(name: str, **fields: Any) -> Callable[[dict], None]:
    def change(spec: dict) -> None:
        spec["root"]["inputDefinitions"]["parameters"][name].update(fields)

    return change


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"unknown": 1}, "no parameter 'unknown', only \\['kind', 'limit'\\]"),
        ({"kind": 3}, "'kind' must be STRING, got number_value 3"),
        ({"limit": "3"}, "'limit' must be NUMBER_INTEGER, got string_value '3'"),
        ({"limit": 2.5}, "'limit' must be NUMBER_INTEGER, got 2.5"),
    ],
)
def test_submitted_parameters_are_checked(
    execute: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        execute(branches, **parameters)


def test_a_parameter_without_value_must_be_submitted(execute: Any) -> None:
    @dsl.pipeline(name="needs")
    def pipeline(text: str):
        write(text=text)

    with pytest.raises(SpecError, match="needs the parameter 'text'"):
        execute(pipeline)
    assert output_text(execute(pipeline, text="x"), "write", "data") == "x"


def at(spec: dict, path: str) -> Any:
    for key in path.split("/"):
        spec = spec[key]
    return spec


TASKS, EXECUTORS = "root/dag/tasks", "deploymentSpec/executors"
BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown key": ("root", {"colour": "red"}, "no field named .colour."),
    "schema": ("", {"schemaVersion": "2.0.0"}, "schemaVersion must be 2.1.0"),
    "iterator": (
        f"{TASKS}/join",
        {"parameterIterator": {"itemInput": "x", "items": {"raw": "[1]"}}},
        r"tasks\['join'\]: parameterIterator is set, which this package does not execute",
    ),
    "resolver": (
        f"{EXECUTORS}/exec-join",
        {"resolver": {}, "container": None},
        r"executors\['exec-join'\]: resolver is set",
    ),
    "no such component": (f"{TASKS}/join/componentRef", {"name": "x"}, "'x', which is not defined"),
    "no such executor": ("components/comp-join", {"executorLabel": "x"}, "no executor 'x'"),
    "no command": (
        f"{EXECUTORS}/exec-join/container",
        {"command": []},
        "needs an image and a command",
    ),
    "no such task": (f"{TASKS}/join", {"dependentTasks": ["x"]}, "'x', which is no task"),
    "not waited for": (
        f"{TASKS}/join",
        {"dependentTasks": ["write"]},
        "'write-2', which is not among the dependentTasks",
    ),
    "circle": (f"{TASKS}/write", {"dependentTasks": ["measure"]}, "wait for each other"),
    "artifact type": (
        "components/comp-join/inputDefinitions/artifacts/first/artifactType",
        {"schemaTitle": "system.Model"},
        "join.first must be system.Model, but is given system.Dataset",
    ),
    "parameter type": (
        "components/comp-write/inputDefinitions/parameters/text",
        {"parameterType": "BOOLEAN"},
        "write.text must be BOOLEAN, but is given STRING",
    ),
    "no such output": (
        f"{TASKS}/measure/inputs/artifacts/data/taskOutputArtifact",
        {"outputArtifactKey": "x"},
        "'join' has no output 'x'",
    ),
    "no such input": (
        f"{TASKS}/write/inputs/parameters",
        {"x": {"runtimeValue": {"constant": 1}}},
        "is given 'x', which it does not define",
    ),
    "missing input": (f"{TASKS}/write", {"inputs": {}}, "is not given its input 'text'"),
    "no such parameter": (
        f"{TASKS}/write/inputs/parameters/text",
        {"componentInputParameter": "x"},
        "the DAG around it has no input 'x'",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_wrong_or_unknown_spec_is_refused_before_anything_runs(
    execute: Any, tmp_path: Path, what: str
) -> None:
    path, fields, message = BROKEN[what]

    def change(spec: dict) -> None:
        place = at(spec, path) if path else spec
        place.update(fields)

    with pytest.raises(SpecError, match=message):
        execute(words, change)
    assert not os.path.exists(tmp_path / "root")


def test_a_placeholder_that_stands_for_nothing_fails_the_task(execute: Any) -> None:
    def change(spec: dict) -> None:
        args = at(spec, f"{EXECUTORS}/exec-write/container/args")
        args[0] = "{{$.inputs.parameters['nothing']}}"

    run = execute(words, change)
    assert "['nothing']}} stands for nothing" in run.tasks["write"].problem
