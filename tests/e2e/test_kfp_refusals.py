"""What the local KFP backend does not run, and says so."""

import os
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp_backend import SpecError
from kfp_components import EXECUTORS, TASKS, at, output_text, show, words, write


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
    @dsl.pipeline(name="typed")
    def pipeline(kind: str = "long", limit: int = 3):
        show(text=kind, number=0.5, whole=limit, flag=True, several=[], mapping={})

    with pytest.raises(SpecError, match=message):
        execute(pipeline, **parameters)


def test_a_parameter_without_value_must_be_submitted(execute: Any) -> None:
    @dsl.pipeline(name="needs")
    def pipeline(text: str):
        write(text=text)

    with pytest.raises(SpecError, match="needs the parameter 'text'"):
        execute(pipeline)
    assert output_text(execute(pipeline, text="x"), "write", "data") == "x"


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown key": ("root", {"color": "red"}, "no field named .color."),
    "schema": ("", {"schemaVersion": "2.0.0"}, "schemaVersion must be 2.1.0"),
    "condition": (
        f"{TASKS}/join",
        {"triggerPolicy": {"condition": "1 == 1"}},
        r"tasks\['join'\].*: condition is set, which this package does not execute",
    ),
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
