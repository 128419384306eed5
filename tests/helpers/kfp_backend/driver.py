"""From a task and what ran before it to the ExecutorInput of its container."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.struct_pb2 import Value
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.checks import output_key, selectors
from kfp_backend.spec import Job, SpecError
from kfp_backend.store import Dialect, Outputs

# The key of the log among a task's outputs.
LOG_OUTPUT = "executor-logs"


class DriverError(RuntimeError):
    """The inputs of a task cannot be had at run time; the task fails."""


@dataclass(frozen=True)
class RunIdentity:
    """What a run is called.

    Attributes:
      run_id: Part of every URI.
      root: `<pipeline root>/<pipeline>/<run id>`.
    """

    run_id: str
    root: str


@dataclass
class Scope:
    """A DAG that is being executed: its own inputs, and its tasks as they finish."""

    component: pb.ComponentSpec
    inputs: pb.ExecutorInput.Inputs
    outputs: dict[str, Outputs] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


def root_inputs(job: Job, overrides: Mapping[str, Any]) -> pb.ExecutorInput.Inputs:
    """The inputs of the root: what was submitted, else what the file sets, else the defaults.

    Raises:
      SpecError: An unknown parameter, a missing one, or one of another type.
    """
    defined = job.spec.root.input_definitions.parameters
    for name in overrides:
        if name not in defined:
            raise SpecError(f"the pipeline has no parameter {name!r}, only {sorted(defined)}")
    inputs = pb.ExecutorInput.Inputs()
    for name, spec in defined.items():
        submitted = {**job.parameters, **overrides}
        if name in submitted:
            inputs.parameter_values[name].CopyFrom(values.to_value(submitted[name]))
        elif spec.HasField("default_value"):
            inputs.parameter_values[name].CopyFrom(spec.default_value)
        elif spec.is_optional:
            continue
        else:
            raise SpecError(f"the pipeline needs the parameter {name!r}")
        values.check_type(name, inputs.parameter_values[name], spec)
    return inputs


def resolve_inputs(
    task_name: str, component: pb.ComponentSpec, scope: Scope, run: RunIdentity, pipeline: str
) -> pb.ExecutorInput.Inputs:
    """The inputs of one task.

    An input that is left out is not filled in here, except in a DAG: the launcher does it.

    Raises:
      DriverError: An input was never produced, or is of another type than declared.
    """
    task = scope.component.dag.tasks[task_name]
    defined = component.input_definitions
    constants = {
        "{{$.pipeline_job_name}}": pipeline,
        "{{$.pipeline_job_resource_name}}": f"{pipeline}-{run.run_id}",
        "{{$.pipeline_job_uuid}}": run.run_id,
        "{{$.pipeline_task_name}}": task_name,
    }
    inputs = pb.ExecutorInput.Inputs()
    for name, source in task.inputs.parameters.items():
        value = _parameter(source, scope, constants)
        if value is None:
            if defined.parameters[name].is_optional:
                continue
            raise DriverError(f"the input {name!r} has no value")
        wanted = defined.parameters[name]
        if values.type_name(wanted) == "STRING":
            value = Value(string_value=values.to_text(value))
        try:
            values.check_type(name, value, wanted)
        except SpecError as error:
            raise DriverError(str(error)) from error
        inputs.parameter_values[name].CopyFrom(value)
    if component.WhichOneof("implementation") == "dag":
        _fill_in(component, inputs)
    for name, source in task.inputs.artifacts.items():
        artifact = _artifact(source, scope)
        if artifact is not None:
            inputs.artifacts[name].artifacts.append(artifact)
        elif not defined.artifacts[name].is_optional:
            raise DriverError(f"the input {name!r} was not produced")
    return inputs


def _parameter(source: Any, scope: Scope, constants: Mapping[str, str]) -> Value | None:
    form = source.WhichOneof("kind")
    if form == "runtime_value":
        value: Value = source.runtime_value.constant
        text = value.string_value
        if text in constants:
            return Value(string_value=constants[text])
        # Placeholders of the launcher stay; it fills them in wherever they turn up.
        return value
    if form == "component_input_parameter":
        return scope.inputs.parameter_values.get(source.component_input_parameter)
    if form == "task_output_parameter":
        origin = source.task_output_parameter
        produced = scope.outputs.get(origin.producer_task, Outputs())
        return produced.parameters.get(origin.output_parameter_key)
    producer = source.task_final_status.producer_task
    return values.to_value({"state": scope.states[producer], "pipelineTaskName": producer})


def _artifact(source: Any, scope: Scope) -> pb.RuntimeArtifact | None:
    if source.WhichOneof("kind") == "component_input_artifact":
        given = scope.inputs.artifacts.get(source.component_input_artifact)
        return given.artifacts[0] if given else None
    origin = source.task_output_artifact
    produced = scope.outputs.get(origin.producer_task, Outputs())
    return produced.artifacts.get(origin.output_artifact_key)


def _fill_in(component: pb.ComponentSpec, inputs: pb.ExecutorInput.Inputs) -> None:
    for name, spec in component.input_definitions.parameters.items():
        if name not in inputs.parameter_values and spec.HasField("default_value"):
            inputs.parameter_values[name].CopyFrom(spec.default_value)


def with_defaults(
    component: pb.ComponentSpec, executor_input: pb.ExecutorInput
) -> pb.ExecutorInput:
    """A copy in which the component's own defaults stand for inputs that were left out."""
    filled = pb.ExecutorInput()
    filled.CopyFrom(executor_input)
    _fill_in(component, filled.inputs)
    return filled


def provision_outputs(
    task_name: str, component: pb.ComponentSpec, run: RunIdentity, dialect: Dialect
) -> pb.ExecutorInput.Outputs:
    """Where a task is to put its outputs: `<run's root>/<task>/<random>/<key>`.

    The open backend adds the log, unless an administrator has switched that off. The files of
    parameters and of the executor's own output are the launcher's business.
    """
    outputs = pb.ExecutorInput.Outputs()
    base = f"{run.root}/{task_name}/{uuid.uuid4()}"
    for name, spec in component.output_definitions.artifacts.items():
        artifact = outputs.artifacts[name].artifacts.add()
        artifact.name = name
        artifact.uri = f"{base}/{name}"
        artifact.type.CopyFrom(spec.artifact_type)
        if spec.HasField("metadata"):
            artifact.metadata.CopyFrom(spec.metadata)
    if dialect == "kubeflow":
        log = outputs.artifacts[LOG_OUTPUT].artifacts.add(name=LOG_OUTPUT)
        log.uri = f"{base}/{LOG_OUTPUT}"
        log.type.schema_title = "system.Artifact"
    for name in component.output_definitions.parameters:
        outputs.parameters[name].output_file = ""
    outputs.output_file = f"{base}/executor_output.json"
    return outputs


def dag_outputs(scope: Scope) -> Outputs:
    """What a DAG hands on of what its tasks have produced."""
    collected = Outputs()
    declared = scope.component.dag.outputs
    for kind in ("artifacts", "parameters"):
        for name, selection in getattr(declared, kind).items():
            for selector in selectors(selection):
                produced = scope.outputs.get(selector.producer_subtask)
                found = getattr(produced, kind, {}).get(output_key(selector))
                if found is not None:
                    getattr(collected, kind)[name] = found
                    break
    return collected
