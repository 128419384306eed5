"""A container task: the cache, then as many attempts as its retry policy allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend.launcher import Container, Launcher, merge_output
from kfp_backend.records import Run, TaskRecord
from kfp_backend.retries import Retries
from kfp_backend.spec import Job
from kfp_backend.store import Outputs, fingerprint

if TYPE_CHECKING:
    from kfp_backend.backend import Backend


class ContainerTask:
    """Executes one task of a run."""

    def __init__(
        self,
        backend: Backend,
        job: Job,
        run: Run,
        task: pb.PipelineTaskSpec,
        component: pb.ComponentSpec,
    ):
        self._backend, self._job, self._run = backend, job, run
        self._task, self._component = task, component
        self._container: Container = job.executor(component).container

    def run(self, name: str, given: pb.ExecutorInput) -> TaskRecord:
        label = self._component.executor_label
        record = TaskRecord(
            "SUCCEEDED",
            image=self._container.image,
            resources=json_format.MessageToDict(self._container.resources),
            platform={
                platform: executors[label]
                for platform, executors in self._job.platforms.items()
                if label in executors
            },
            inputs=given.inputs,
        )
        launcher = Launcher(
            self._backend.platform,
            self._component,
            self._container,
            self._backend.home / self._run.run_id / name,
        )
        if not self._pre_cache_check(launcher, record, given):
            return record
        key = fingerprint(self._task, self._component, self._container, given)
        if self._task.caching_options.enable_cache:
            cached = self._backend.store.cached(self._job.name, key)
            if cached:
                record.state, record.outputs = "CACHED", cached
                return record
        self._attempts(name, launcher, record, given)
        if record.state == "SUCCEEDED" and self._task.caching_options.enable_cache:
            self._backend.store.remember(self._job.name, key, record.outputs)
        return record

    def _pre_cache_check(
        self, launcher: Launcher, record: TaskRecord, given: pb.ExecutorInput
    ) -> bool:
        """Let the component itself add to the cache's key; only Vertex AI knows of it."""
        hook = self._container.lifecycle.pre_cache_check
        if self._backend.platform.dialect == "kubeflow" or not hook.command:
            return True
        with self._backend.slots:
            attempt, _, output = launcher.run("pre_cache_check", [*hook.command, *hook.args], given)
        record.pre_cache_check, record.problem = attempt, attempt.problem
        if attempt.problem:
            record.state = "FAILED"
            return False
        for name, value in output.parameter_values.items():
            given.inputs.parameter_values[name].CopyFrom(value)
        for name, artifact in merge_output(given, output).artifacts.items():
            given.outputs.artifacts[name].artifacts[0].CopyFrom(artifact)
        return True

    def _attempts(
        self, name: str, launcher: Launcher, record: TaskRecord, given: pb.ExecutorInput
    ) -> None:
        arguments = [*self._container.command, *self._container.args]
        retries = Retries(self._task.retry_policy, self._backend.platform.dialect)
        pause: float | None = 0.0
        while pause is not None:
            if record.attempts:
                record.waits.append(pause)
                self._backend.sleep(pause)
            number = len(record.attempts) + 1
            with self._backend.slots:
                self._backend.observer(name, number)
                attempt, placed, output = launcher.run(
                    f"attempt-{number}",
                    arguments,
                    given,
                    retry=number - 1,
                    deadline=retries.deadline,
                )
            record.attempts.append(attempt)
            if not attempt.problem:
                attempt.problem = self._publish(record, placed, output)
            record.problem = attempt.problem
            if not record.problem:
                return
            pause = retries.after(attempt.seconds)
        record.state = "FAILED"

    def _publish(
        self, record: TaskRecord, placed: pb.ExecutorInput, output: pb.ExecutorOutput
    ) -> str:
        """Record the outputs; returns why that cannot be done, else nothing."""
        merged = merge_output(placed, output)
        try:
            record.outputs = Outputs(
                {
                    key: self._backend.store.record(key, artifact)
                    for key, artifact in merged.artifacts.items()
                },
                merged.parameters,
            )
        except ValueError as error:
            return f"the outputs cannot be recorded: {error}"
        return ""
