"""What must hold in a pipeline before any of it is run: references, types, order."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.spec import Job, SpecError, schema_title

_ANY_ARTIFACT = "system.Artifact"
_STRATEGIES = pb.PipelineTaskSpec.TriggerPolicy.TriggerStrategy


def check(job: Job) -> None:
    """Check a whole pipeline.

    Raises:
      SpecError: The first thing that is wrong.
    """
    if not job.name:
        raise SpecError("pipelineInfo.name is empty")
    if job.spec.root.WhichOneof("implementation") != "dag":
        raise SpecError("the root must be a DAG")
    for name, component in job.spec.components.items():
        kind = component.WhichOneof("implementation")
        if kind is None:
            raise SpecError(f"component {name!r} is neither a DAG nor has it an executor")
        if kind == "executor_label":
            _check_executor(job, name, component)
    _check_dag(job, "root", job.spec.root, [])


def _check_executor(job: Job, name: str, component: pb.ComponentSpec) -> None:
    if component.executor_label not in job.deployment.executors:
        raise SpecError(f"component {name!r} has no executor {component.executor_label!r}")
    executor = job.executor(component)
    if executor.WhichOneof("spec") == "importer":
        if len(component.output_definitions.artifacts) != 1:
            raise SpecError(f"the importer {name!r} must have one output artifact")
        _check_value(executor.importer.artifact_uri, f"importer {name!r}")
    elif not executor.container.image or not executor.container.command:
        raise SpecError(f"the container of component {name!r} needs an image and a command")


def _check_value(value: pb.ValueOrRuntimeParameter, where: str) -> None:
    if value.WhichOneof("value") not in ("constant", "runtime_parameter"):
        raise SpecError(f"{where}: a constant or the name of a parameter is missing")


def _check_dag(job: Job, place: str, component: pb.ComponentSpec, above: list[str]) -> None:
    tasks = component.dag.tasks
    graph = {name: set(task.dependent_tasks) for name, task in tasks.items()}
    for name, needed in graph.items():
        for other in needed - set(tasks):
            raise SpecError(f"{place}.{name} depends on {other!r}, which is no task beside it")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise SpecError(f"the tasks of {place} wait for each other: {error.args[1]}") from error
    for name, task in tasks.items():
        reference = task.component_ref.name
        if reference not in job.spec.components:
            raise SpecError(f"{place}.{name} is of component {reference!r}, which is not defined")
        if reference in above:
            raise SpecError(f"{place}.{name} contains itself through component {reference!r}")
    for name, task in tasks.items():
        where, reference = f"{place}.{name}", task.component_ref.name
        used = job.spec.components[reference]
        _check_policy(job, where, task, used)
        _Inputs(job, where, task, used, component).check()
        if used.WhichOneof("implementation") == "dag":
            _check_dag(job, where, used, [*above, reference])
    _check_outputs(job, place, component)


def _check_policy(job: Job, where: str, task: pb.PipelineTaskSpec, used: pb.ComponentSpec) -> None:
    executes = used.WhichOneof("implementation") == "executor_label"
    container = executes and job.executor(used).WhichOneof("spec") == "container"
    if task.HasField("retry_policy") and not container:
        raise SpecError(f"{where}: retryPolicy is known for containers only")
    if task.trigger_policy.strategy not in _STRATEGIES.values():
        raise SpecError(f"{where}: trigger strategy {task.trigger_policy.strategy} is not known")


def component_of(job: Job, dag: pb.DagSpec, task: str) -> pb.ComponentSpec:
    """The component of a task of a DAG."""
    return job.spec.components[dag.tasks[task].component_ref.name]


def _fits(given: pb.ArtifactTypeSchema, wanted: pb.ArtifactTypeSchema) -> bool:
    titles = {schema_title(given), schema_title(wanted)}
    return len(titles) == 1 or _ANY_ARTIFACT in titles


class _Inputs:
    """The inputs of one task against its component, its siblings and the DAG around it."""

    def __init__(
        self,
        job: Job,
        where: str,
        task: pb.PipelineTaskSpec,
        used: pb.ComponentSpec,
        around: pb.ComponentSpec,
    ):
        self._job, self._where, self._task = job, where, task
        self._used, self._around = used, around

    def check(self) -> None:
        for kind in ("artifacts", "parameters"):
            defined = getattr(self._used.input_definitions, kind)
            given = getattr(self._task.inputs, kind)
            for key in given:
                if key not in defined:
                    raise SpecError(f"{self._where} is given {key!r}, which it does not define")
                self._check_one(kind, key, given[key], defined[key])
            for key, definition in defined.items():
                optional = definition.is_optional or (
                    kind == "parameters" and definition.HasField("default_value")
                )
                if key not in given and not optional:
                    raise SpecError(f"{self._where} is not given its input {key!r}")

    def _check_one(self, kind: str, key: str, source: Any, wanted: Any) -> None:
        where = f"{self._where}.{key}"
        form = source.WhichOneof("kind")
        if form == "runtime_value":
            if source.runtime_value.WhichOneof("value") != "constant":
                raise SpecError(f"{where}: a runtimeValue must be a constant")
            if "{{$" not in source.runtime_value.constant.string_value:
                values.check_type(where, source.runtime_value.constant, wanted)
        elif form in ("component_input_artifact", "component_input_parameter"):
            outer = getattr(self._around.input_definitions, kind)
            name = getattr(source, form)
            if name not in outer:
                raise SpecError(f"{where}: the DAG around it has no input {name!r}")
            self._compare(where, kind, outer[name], wanted)
        elif form in ("task_output_artifact", "task_output_parameter"):
            origin = getattr(source, form)
            name = getattr(origin, f"output_{kind[:-1]}_key")
            produced = getattr(self._producer(where, origin.producer_task), kind)
            if name not in produced:
                raise SpecError(f"{where}: {origin.producer_task!r} has no output {name!r}")
            self._compare(where, kind, produced[name], wanted)
        elif form == "task_final_status":
            self._producer(where, source.task_final_status.producer_task)
        else:
            raise SpecError(f"{where} has no source")

    def _producer(self, where: str, task: str) -> pb.ComponentOutputsSpec:
        # Only tasks that are named as dependencies have certainly finished.
        if task not in self._task.dependent_tasks:
            raise SpecError(f"{where} comes from {task!r}, which is not among the dependentTasks")
        return component_of(self._job, self._around.dag, task).output_definitions

    def _compare(self, where: str, kind: str, given: Any, wanted: Any) -> None:
        if kind == "artifacts":
            if not _fits(given.artifact_type, wanted.artifact_type):
                raise SpecError(
                    f"{where} must be {schema_title(wanted.artifact_type)}, "
                    f"but is given {schema_title(given.artifact_type)}"
                )
            return
        types = {values.type_name(given), values.type_name(wanted)}
        # Every value can be had as a text, and numbers are of one kind.
        if (
            len(types) > 1
            and values.type_name(wanted) != "STRING"
            and not all(name.startswith("NUMBER_") for name in types)
        ):
            raise SpecError(
                f"{where} must be {values.type_name(wanted)}, "
                f"but is given {values.type_name(given)}"
            )


def _check_outputs(job: Job, place: str, component: pb.ComponentSpec) -> None:
    defined = component.output_definitions
    for kind, selected in (
        ("artifacts", component.dag.outputs.artifacts),
        ("parameters", component.dag.outputs.parameters),
    ):
        for key, selection in selected.items():
            if key not in getattr(defined, kind):
                raise SpecError(f"{place} does not define its output {key!r}")
            for selector in selectors(selection):
                task = selector.producer_subtask
                name = output_key(selector)
                if task not in component.dag.tasks or name not in getattr(
                    component_of(job, component.dag, task).output_definitions, kind
                ):
                    raise SpecError(f"{place}.{key} comes from {task}.{name}, which is not there")


def selectors(selection: Any) -> Iterator[Any]:
    """The places of which the first that has a value gives an output of a DAG."""
    if isinstance(selection, pb.DagOutputsSpec.DagOutputArtifactSpec):
        yield from selection.artifact_selectors
    elif selection.WhichOneof("kind") == "value_from_parameter":
        yield selection.value_from_parameter
    else:
        yield from selection.value_from_oneof.parameter_selectors


def output_key(selector: Any) -> str:
    """Which output of its task a selector selects."""
    if isinstance(selector, pb.DagOutputsSpec.ArtifactSelectorSpec):
        return str(selector.output_artifact_key)
    return str(selector.output_parameter_key)
