"""Runs one attempt of a container as a process of its own, and reads back what it has left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.driver import LOG_OUTPUT, DriverError, with_defaults
from kfp_backend.placeholders import command_line
from kfp_backend.spec import SpecError
from kfp_backend.storage import Storage
from kfp_backend.store import Dialect, Outputs

Container = pb.PipelineDeploymentConfig.PipelineContainerSpec


@dataclass(frozen=True)
class Image:
    """What stands for a container image.

    Attributes:
      path: PATH inside it; `python` is looked up there.
      environment: The variables that it sets; `{disk}` in a value is the container's own disk.
      name: Of an image that Docker has, to run real containers of it instead of processes here.
      volume: The directory that those have in common with this machine, and all that they have.
    """

    path: str = os.pathsep.join(
        [os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"]
    )
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    volume: Path = Path()

    def docker(self, command: list[str], environment: Mapping[str, str], disk: Path) -> list[str]:
        """What runs a command in a container, whose id is in the file `id` of its disk."""
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        return [
            *("docker", "run", "--rm", "--network=none", f"--cidfile={disk / 'id'}"),
            *(f"--volume={self.volume}:{self.volume}", f"--workdir={disk / 'work'}"),
            *(*variables, f"--entrypoint={command[0]}", self.name, *command[1:]),
        ]


@dataclass(frozen=True)
class Platform:
    """What all containers have in common.

    Attributes:
      image: What every image stands for.
      storage: Of the artifacts.
      dialect: Whose behavior is followed.
    """

    image: Image
    storage: Storage
    dialect: Dialect


@dataclass
class Attempt:
    """One process.

    Attributes:
      command: The resolved command line.
      log: The file of its standard output and error.
      returncode: Of the process; None if it was not started or is still running.
      seconds: That it took.
      problem: Why the attempt failed; empty if it did not.
    """

    command: list[str] = field(default_factory=list)
    log: Path = Path(os.devnull)
    returncode: int | None = None
    seconds: float = 0.0
    problem: str = ""


class Launcher:
    """Runs the attempts of one task.

    Args:
      platform: Where containers run.
      component: Of the task.
      container: Of the component.
      home: An empty directory; each attempt has its disk below it.
    """

    def __init__(
        self, platform: Platform, component: pb.ComponentSpec, container: Container, home: Path
    ):
        self._image, self._storage = platform.image, platform.storage
        self._dialect = platform.dialect
        self._component, self._container, self._home = component, container, home

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        executor_input: pb.ExecutorInput,
        *,
        retry: int = 0,
        deadline: float | None = None,
    ) -> tuple[Attempt, pb.ExecutorInput, pb.ExecutorOutput]:
        """Run a command for the first or another time, at most for so many seconds.

        Returns:
          The attempt; what it was given, with the files of this attempt; what it has left.
        """
        disk = self._home / name
        for folder in ("work", "tmp/kfp/outputs", "tmp/kfp_outputs"):
            (disk / folder).mkdir(parents=True)
        given = with_defaults(self._component, executor_input)
        attempt, output = Attempt(log=disk / "log.txt"), pb.ExecutorOutput()
        try:
            self._place_files(given, disk)
            log = self._open_log(given, disk, retry)
            attempt.command = command_line(
                arguments, given, lambda uri: self._storage.local_path(uri, disk)
            )
            begin = time.monotonic()
            try:
                attempt.returncode = self._execute(attempt, disk, deadline)
            finally:
                attempt.seconds = time.monotonic() - begin
                self._publish_log(log, attempt, disk)
            if attempt.returncode:
                attempt.problem = f"exit code {attempt.returncode}, see {attempt.log}"
            else:
                output = self._collect(given, disk)
        except subprocess.TimeoutExpired:
            attempt.problem = f"killed after {attempt.seconds:.0f} s, see {attempt.log}"
        except (DriverError, SpecError, OSError) as error:
            attempt.problem = str(error)
        return attempt, given, output

    def _place_files(self, given: pb.ExecutorInput, disk: Path) -> None:
        """Outputs that a container writes to its own disk; each attempt has a new one."""
        for name, parameter in given.outputs.parameters.items():
            parameter.output_file = str(disk / "tmp" / "kfp" / "outputs" / name)
        if self._dialect == "kubeflow":
            given.outputs.output_file = self._output_file(given.outputs.output_file, disk)
        self._storage.attach(disk)
        for artifacts in given.inputs.artifacts.values():
            for artifact in artifacts.artifacts:
                self._storage.download(artifact.uri, disk)
        for artifacts in given.outputs.artifacts.values():
            # The parent directory is there, the artifact itself is the container's to make.
            local = Path(self._storage.local_path(artifacts.artifacts[0].uri, disk))
            local.parent.mkdir(parents=True, exist_ok=True)

    def _execute(self, attempt: Attempt, disk: Path, deadline: float | None) -> int:
        environment = self._environment(disk)
        if not self._image.name:
            environment["PATH"] = self._image.path
            return _execute(attempt.command, attempt.log, environment, disk / "work", deadline)
        command = self._image.docker(attempt.command, environment, disk)
        return _execute(command, attempt.log, os.environ, disk / "work", deadline)

    def _output_file(self, uri: str, disk: Path) -> str:
        """Where the task's outputs are locally; on the container's own disk in any case."""
        local = Path(self._storage.local_path(uri, disk))
        folder = local.parent if disk in local.parents else disk / "tmp" / "kfp_outputs"
        return str(folder / "output_metadata.json")

    def _open_log(self, given: pb.ExecutorInput, disk: Path, retry: int) -> str:
        """The URI of this attempt's log; the file is there before the command begins."""
        if LOG_OUTPUT not in given.outputs.artifacts:
            return ""
        (log,) = given.outputs.artifacts[LOG_OUTPUT].artifacts
        log.uri += f"-{retry}"
        Path(self._storage.local_path(log.uri, disk)).touch()
        return str(log.uri)

    def _publish_log(self, uri: str, attempt: Attempt, disk: Path) -> None:
        """The log is kept whether the command succeeds or not."""
        if uri:
            shutil.copyfile(attempt.log, self._storage.local_path(uri, disk))
            self._storage.upload(uri, disk)

    def _environment(self, disk: Path) -> dict[str, str]:
        own = {each.name: each.value for each in self._container.env}
        return {
            "HOME": str(disk / "work"),
            "TMPDIR": str(disk / "tmp"),
            "LANG": "C.UTF-8",
            **{
                name: value.replace("{disk}", str(disk))
                for name, value in self._image.environment.items()
            },
            **own,
        }

    def _collect(self, given: pb.ExecutorInput, disk: Path) -> pb.ExecutorOutput:
        """The executor's own output file, and the files of parameters that it does not name."""
        output = read_output(self._storage.path(given.outputs.output_file))
        for artifacts in given.outputs.artifacts.values():
            self._storage.upload(artifacts.artifacts[0].uri, disk)
        for name, parameter in given.outputs.parameters.items():
            if name in output.parameter_values:
                continue
            spec = self._component.output_definitions.parameters[name]
            try:
                text = Path(parameter.output_file).read_text(encoding="utf-8")
            except OSError as error:
                raise DriverError(f"the output parameter {name!r} was not written") from error
            output.parameter_values[name].CopyFrom(values.from_text(name, text, spec))
        return output


def read_output(path: Path) -> pb.ExecutorOutput:
    """What an executor says about its outputs; nothing if it has written no file.

    Raises:
      DriverError: The file is not an ExecutorOutput.
    """
    output = pb.ExecutorOutput()
    if path.exists():
        try:
            json_format.Parse(path.read_text(encoding="utf-8"), output)
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise DriverError(f"{path} is not an ExecutorOutput: {error}") from error
    return output


def merge_output(given: pb.ExecutorInput, output: pb.ExecutorOutput) -> Outputs:
    """The outputs as provisioned, with what the executor says about them."""
    merged = Outputs()
    for name, artifacts in given.outputs.artifacts.items():
        artifact = pb.RuntimeArtifact()
        artifact.CopyFrom(artifacts.artifacts[0])
        if name in output.artifacts:
            for said in output.artifacts[name].artifacts[:1]:
                artifact.uri = said.uri or artifact.uri
                for key, value in said.metadata.fields.items():
                    artifact.metadata.fields[key].CopyFrom(value)
        merged.artifacts[name] = artifact
    for name, value in output.parameter_values.items():
        merged.parameters[name] = value
    return merged


def _execute(
    command: list[str],
    log_file: Path,
    environment: Mapping[str, str],
    directory: Path,
    deadline: float | None,
) -> int:
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
        try:
            return process.wait(deadline)
        finally:
            # A container ends with everything that was started in it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
