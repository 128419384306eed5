"""What the local KFP backend runs, tries again and leaves out."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp_backend import Backend
from kfp_components import TASKS, at, compiled, join, managed, measure, sh, shell, write


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
