"""What Argo Workflows does with the tasks of a pipeline: driver, container, the next one."""

from __future__ import annotations

import itertools
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import s3fs
from checkout import ROOT
from google.protobuf import json_format
from kfp_backend.checks import component_of
from kfp_backend.spec import Job
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from s3_server import ACCESS_KEY, SECRET_KEY, s3_server
from s3_server import environment as s3_environment

from kfp_engine.grpc_servers import grpc_server
from kfp_engine.kubernetes import kubernetes
from kfp_engine.pods import DRIVER, Pods

# What the image has under these names; it also tells the test what has come of the command.
_COMMANDS = {"python": sys.executable, "sh": "/bin/sh"}
_COMMAND = """#!/bin/sh
[ -e /left/arguments ] || printf '%s\\0' "$@" > /left/arguments
exec {program} "$@"
"""


class PodFailedError(RuntimeError):
    """A driver or a container has ended with another exit code than 0."""


@dataclass
class Task:
    """What became of a task.

    Attributes:
      cached: Whether the driver found it in the cache, and nothing ran.
      arguments: Of the container's command, with the placeholders filled in.
      left: The directory in which the pod has left its log.
    """

    cached: bool
    arguments: list[str] = field(default_factory=list)
    left: Path = Path(os.devnull)

    @property
    def executor_input(self) -> dict[str, Any]:
        """The ExecutorInput that the container was given."""
        flag = "--json_serialized_invocation_args"
        return json.loads(self.arguments[self.arguments.index(flag) + 1])


@dataclass
class Engine:
    """Runs pipelines of one DAG; what it has run is known to the next run.

    Attributes:
      pods: Starts them.
      addresses: Arguments that name the servers to a driver.
      metadata: A client of ML Metadata.
      files: The object store.
    """

    pods: Pods
    addresses: list[str]
    metadata: metadata_store.MetadataStore
    files: s3fs.S3FileSystem
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(
        self, job: Job, *, pipeline_root: str, parameters: Mapping[str, Any] | None = None
    ) -> dict[str, Task]:
        """Run one task after the other; returns them by name.

        Raises:
          PodFailedError: With the end of its log.
        """
        bucket = pipeline_root.partition("://")[2].partition("/")[0]
        if not self.files.exists(bucket):
            self.files.mkdir(bucket)
        run = str(uuid.uuid4())
        common = [
            *("--pipeline_name", job.name, "--run_id", run, "--run_name", f"{job.name}-{run[:5]}"),
            *("--run_display_name", job.name, *self.addresses),
        ]
        root = self._root(job, common, pipeline_root, parameters or {})
        graph = {name: set(task.dependent_tasks) for name, task in job.spec.root.dag.tasks.items()}
        return {
            name: self._task(job, name, [*common, "--dag_execution_id", root])
            for name in TopologicalSorter(graph).static_order()
        }

    def _root(
        self, job: Job, common: list[str], pipeline_root: str, parameters: Mapping[str, Any]
    ) -> str:
        """The number of the execution that stands for the whole DAG."""
        defaults = {
            name: json_format.MessageToDict(each.default_value)
            for name, each in job.spec.root.input_definitions.parameters.items()
            if each.HasField("default_value")
        }
        values = {**defaults, **job.parameters, **parameters}
        config = {"gcsOutputDirectory": pipeline_root, "parameterValues": values}
        left = self._pod(
            "root-driver",
            [
                *(self._driver, "--type", "ROOT_DAG", *common),
                *("--component", json_format.MessageToJson(job.spec.root)),
                *("--runtime_config", json.dumps(config)),
                *("--execution_id_path", "/left/execution"),
                *("--iteration_count_path", "/left/iterations"),
                *("--condition_path", "/left/condition"),
            ],
        )
        return (left / "execution").read_text()

    def _task(self, job: Job, name: str, common: list[str]) -> Task:
        component = component_of(job, job.spec.root.dag, name)
        platform = job.platforms.get("kubernetes", {}).get(component.executor_label, {})
        container = job.executor(component).container
        left = self._pod(
            f"{name}-driver",
            [
                *(self._driver, "--type", "CONTAINER", *common, "--task_name", name),
                *("--component", json_format.MessageToJson(component)),
                *("--task", json_format.MessageToJson(job.spec.root.dag.tasks[name])),
                *("--container", json_format.MessageToJson(container)),
                *("--kubernetes_config", json.dumps(platform)),
                *("--cached_decision_path", "/left/cached"),
                *("--condition_path", "/left/condition"),
                *("--pod_spec_patch_path", "/left/pod"),
            ],
        )
        if (left / "cached").read_text() == "true":
            return Task(cached=True)
        (main,) = json.loads((left / "pod").read_text())["containers"]
        return self._container(name, main)

    def _container(self, name: str, main: dict[str, Any]) -> Task:
        """Start what the driver says; variables in the command are Kubernetes' to fill in."""
        own = {"KFP_POD_NAME": f"{name.lower()}-0", "KFP_POD_UID": str(uuid.uuid4())}
        command = [*main["command"], *main["args"]]
        for variable, value in own.items():
            command = [word.replace(f"$({variable})", value) for word in command]
        said = {each["name"]: each.get("value", "") for each in main.get("env", ())}
        # The index of the attempt is Argo's, for tasks that have retries.
        left = self._pod(name, command, {**said, **own, "KFP_RETRY_INDEX": "0"})
        arguments = (left / "arguments").read_text().split("\0")[:-1]
        return Task(False, arguments, left)

    def _pod(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> Path:
        code, left = self.pods.run(f"{next(self._numbers):03}-{name}", command, environment)
        if code:
            end = (left / "log.txt").read_text(errors="replace")[-3000:]
            raise PodFailedError(f"{name}: exit code {code}\n{end}")
        return left

    @property
    def _driver(self) -> str:
        return str(self.pods.programs / DRIVER)


@contextmanager
def engine(programs: Path, scratch: Path) -> Iterator[Engine]:
    """Start all servers; they stop with the context.

    Args:
      programs: The directory of KFP's programs.
      scratch: An empty directory.
    """
    store, account, image = (scratch / name for name in ("store", "account", "image"))
    for directory in (store, account, image):
        directory.mkdir()
    for name, program in _COMMANDS.items():
        (image / name).write_text(_COMMAND.format(program=program))
        (image / name).chmod(0o755)
    with ExitStack() as stack:
        endpoint = stack.enter_context(s3_server(store))
        port = stack.enter_context(grpc_server(scratch / "metadata.sqlite"))
        cluster = stack.enter_context(kubernetes(account, endpoint))
        environment = {
            **cluster,
            # Nodes find the credentials of a push destination as s3fs does.
            **s3_environment(endpoint),
            "PATH": f"/image:{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
        }
        servers = [
            *("--mlmd_server_address", "127.0.0.1", "--mlmd_server_port", str(port)),
            *("--ml_pipeline_server_address", "127.0.0.1", "--ml_pipeline_server_port", str(port)),
            *("--http_proxy", "", "--https_proxy", "", "--no_proxy", ""),
        ]
        files = s3fs.S3FileSystem(
            key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=endpoint, skip_instance_cache=True
        )
        client = metadata_store_pb2.MetadataStoreClientConfig(host="127.0.0.1", port=port)
        metadata = metadata_store.MetadataStore(client)
        yield Engine(Pods(programs, scratch, account, image, environment), servers, metadata, files)
