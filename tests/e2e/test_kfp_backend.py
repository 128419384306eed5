"""The local KFP backend on small pipelines that KFP's own compiler has compiled."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp_backend import Backend, Image
from kfp_components import (
    IMAGE,
    TASKS,
    at,
    compiled,
    output_text,
    sh,
    shell,
    show,
    words,
    write,
)


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
