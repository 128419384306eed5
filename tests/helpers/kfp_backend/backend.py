"""Walks the DAG of a pipeline and keeps a record of what it has done."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend.checks import check, component_of
from kfp_backend.container_task import ContainerTask
from kfp_backend.driver import (
    DriverError,
    RunIdentity,
    Scope,
    dag_outputs,
    provision_outputs,
    resolve_inputs,
    root_inputs,
)
from kfp_backend.launcher import Image, Platform
from kfp_backend.records import Run, TaskRecord
from kfp_backend.spec import Job, SpecError
from kfp_backend.storage import Storage
from kfp_backend.store import Dialect, MetadataStore, Outputs

_SUCCEEDED = ("SUCCEEDED", "CACHED")
Observer = Callable[[str, int], None]


class Backend:
    """A KFP installation on this machine: it remembers executions from one run to the next.

    Args:
      home: A directory for the containers' disks, and for the buckets in `buckets`.
      image: What every image stands for.
      dialect: Whose behavior is followed where the two known backends differ.
      workers: Containers that run at a time.
      observer: Called with the task's name and the attempt's number (from 1) before each attempt.
      sleep: Waits between attempts.
    """

    def __init__(
        self,
        home: Path,
        *,
        image: Image | None = None,
        dialect: Dialect = "kubeflow",
        workers: int = 2,
        observer: Observer = lambda task, number: None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.home = Path(home)
        storage = Storage(self.home / "buckets", mounted=dialect == "vertex")
        self.platform = Platform(image or Image(), storage, dialect)
        self.observer, self.sleep = observer, sleep
        self.store = MetadataStore(dialect)
        self.slots = threading.BoundedSemaphore(workers)

    def path(self, uri: str) -> Path:
        """Where an artifact lies."""
        return self.platform.storage.path(uri)

    def run(
        self,
        job: Job,
        *,
        pipeline_root: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Run:
        """Execute a pipeline; tasks that fail are in the record, not raised.

        Args:
          job: The pipeline.
          pipeline_root: Instead of the one that the file names.
          parameters: Instead of what the file sets or defaults to.

        Raises:
          SpecError: The pipeline or the request is wrong; nothing was run.
        """
        dialect = self.platform.dialect
        if job.managed != (dialect == "vertex"):
            raise SpecError(
                f"{dialect} takes {'a pipeline spec' if job.managed else 'a PipelineJob'}"
            )
        check(job)
        root = pipeline_root or job.pipeline_root
        self.platform.storage.path(root)
        inputs = root_inputs(job, parameters or {})
        run = Run(run_id=str(uuid.uuid4()))
        identity = RunIdentity(run.run_id, f"{root.rstrip('/')}/{job.name}/{run.run_id}")
        execution = _Execution(self, job, run, identity)
        scope = Scope(job.spec.root, inputs)
        run.state = "SUCCEEDED" if execution.run_dag(scope, "") else "FAILED"
        run.outputs = dag_outputs(scope)
        return run


class _Execution:
    """One run of one pipeline."""

    def __init__(self, backend: Backend, job: Job, run: Run, identity: RunIdentity):
        self._backend, self._job, self._run = backend, job, run
        self._identity = identity
        self._failed = threading.Event()

    def run_dag(self, scope: Scope, prefix: str) -> bool:
        """Run the tasks of a DAG, each as soon as all it depends on has finished."""
        tasks = dict(scope.component.dag.tasks)
        running: dict[Future[TaskRecord], str] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(tasks))) as pool:
            while tasks or running:
                for name in _ready(tasks, scope):
                    task = tasks.pop(name)
                    running[pool.submit(self._run_task, name, task, scope, prefix)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name, record = running.pop(future), future.result()
                    self._run.tasks[prefix + name] = record
                    scope.states[name], scope.outputs[name] = record.state, record.outputs
        return "FAILED" not in scope.states.values()

    def _run_task(
        self, name: str, task: pb.PipelineTaskSpec, scope: Scope, prefix: str
    ) -> TaskRecord:
        always = task.trigger_policy.strategy == 2  # ALL_UPSTREAM_TASKS_COMPLETED
        succeeded = all(scope.states[other] in _SUCCEEDED for other in task.dependent_tasks)
        # The open backend starts nothing more once a task has failed.
        over = self._failed.is_set() and self._backend.platform.dialect == "kubeflow"
        if not always and (over or not succeeded):
            return TaskRecord("SKIPPED")
        try:
            record = self._trigger(name, task, scope, prefix)
        except (DriverError, SpecError) as error:
            record = TaskRecord("FAILED", problem=str(error))
        if record.state == "FAILED":
            self._failed.set()
        return record

    def _trigger(
        self, name: str, task: pb.PipelineTaskSpec, scope: Scope, prefix: str
    ) -> TaskRecord:
        component = component_of(self._job, scope.component.dag, name)
        inputs = resolve_inputs(name, component, scope, self._identity, self._job.name)
        if component.WhichOneof("implementation") == "dag":
            inner = Scope(component, inputs)
            succeeded = self.run_dag(inner, f"{prefix}{name}/")
            state = "SUCCEEDED" if succeeded else "FAILED"
            return TaskRecord(state, inputs=inputs, outputs=dag_outputs(inner))
        if self._job.executor(component).WhichOneof("spec") == "importer":
            return TaskRecord("SUCCEEDED", inputs=inputs, outputs=self._import(component, inputs))
        dialect = self._backend.platform.dialect
        outputs = provision_outputs(name, component, self._identity, dialect)
        given = pb.ExecutorInput(inputs=inputs, outputs=outputs)
        return ContainerTask(self._backend, self._job, self._run, task, component).run(
            prefix + name, given
        )

    def _import(self, component: pb.ComponentSpec, inputs: pb.ExecutorInput.Inputs) -> Outputs:
        importer = self._job.executor(component).importer
        if importer.artifact_uri.WhichOneof("value") == "constant":
            uri = importer.artifact_uri.constant.string_value
        else:
            uri = inputs.parameter_values[importer.artifact_uri.runtime_parameter].string_value
        if not uri:
            raise DriverError("the importer has no URI")
        artifact = pb.RuntimeArtifact(uri=uri, type=importer.type_schema)
        artifact.metadata.CopyFrom(importer.metadata)
        (key,) = component.output_definitions.artifacts
        return Outputs(artifacts={key: self._backend.store.record(key, artifact)})


def _ready(tasks: Mapping[str, pb.PipelineTaskSpec], scope: Scope) -> Iterator[str]:
    for name in sorted(tasks):
        if all(other in scope.states for other in tasks[name].dependent_tasks):
            yield name
