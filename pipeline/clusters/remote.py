"""What Kubeflow Pipelines and Vertex AI Pipelines have in common for the command line."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from modules.errors import ConfigError
from pipeline.clusters.definitions import Definition

# A server that is up answers the slowest request, an upload, well within the second.
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0


@dataclass(frozen=True)
class RemotePipeline:
    """A pipeline that an engine knows.

    Attributes:
      name: What it is created, run and deleted by.
      place: Its id on the server, or the file that defines it.
      created: When it was created.
    """

    name: str
    place: str
    created: datetime | None


@dataclass(frozen=True)
class RemoteTask:
    """One node of a run, with the engine's word for its state."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RemoteRun:
    """A run on a server.

    Attributes:
      run_id: What `run status` and `run terminate` are given.
      name: Its name for people.
      state: The engine's own word, for example RUNNING or PIPELINE_STATE_RUNNING.
      created: When it was created.
      link: Its page.
      error: Why it failed, or empty.
      tasks: Its nodes, where the server was asked for one run.
    """

    run_id: str
    name: str
    state: str
    created: datetime | None
    link: str
    error: str = ""
    tasks: tuple[RemoteTask, ...] = ()


class Server(Protocol):
    """An engine as the command line sees it; every method raises `UserError` with one line."""

    def check_name(self, name: str, *, new: bool) -> None:
        """Refuses a new pipeline's name that is taken, and one to update that is not there."""

    def create(self, definition: Definition) -> RemotePipeline:
        """A new pipeline; its name must be free."""

    def update(self, definition: Definition) -> RemotePipeline:
        """A new version of a pipeline that is there."""

    def delete(self, name: str) -> None:
        """Deletes a pipeline with all its versions; its runs stay."""

    def pipelines(self) -> list[RemotePipeline]:
        """All pipelines, by name."""

    def submit(self, name: str, assignments: Sequence[str]) -> RemoteRun:
        """Runs the newest version, with runtime parameters given as `NAME=VALUE`."""

    def runs(self, name: str) -> list[RemoteRun]:
        """The runs of a pipeline, newest first."""

    def status(self, run_id: str) -> RemoteRun:
        """One run with its nodes."""

    def terminate(self, run_id: str) -> None:
        """Asks for the end of a run."""


def sentence(text: object) -> str:
    """An error's text as part of one line."""
    return " ".join(str(text).split()).rstrip(".") or type(text).__name__


@contextmanager
def libraries_silent(shown: bool) -> Iterator[None]:
    """The clients log tracebacks of what they then raise, or put up with; a line says enough."""
    before = logging.root.manager.disable
    if not shown:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def typed_parameters(spec: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Runtime parameters in the types of a pipeline spec's root inputs.

    Args:
      spec: The pipeline spec.
      assignments: `NAME=VALUE` each; of two with one name the last counts.

    Raises:
      ConfigError: There is no such parameter, or the value is of another type.
    """
    known = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    values = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise ConfigError(
                f"--runtime_parameter needs NAME=VALUE, got {assignment!r}; for example "
                "--runtime_parameter temperature=4"
            )
        if name not in known:
            raise ConfigError(
                f"--runtime_parameter: {name!r} must be one of the pipeline's parameters, which "
                f"are {', '.join(sorted(known)) or 'none'}"
            )
        kind = known[name].get("parameterType") or known[name].get("type", "STRING")
        values[name] = _typed(name, text, kind)
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        return _PARSERS[kind](text)
    except ValueError as error:
        raise ConfigError(
            f"--runtime_parameter {name}: must be {_WORDS[kind]}, got {text!r}"
        ) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _structure(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return parse


_PARSERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "INT": int,
    "NUMBER_INTEGER": int,
    "DOUBLE": _finite,
    "NUMBER_DOUBLE": _finite,
    "BOOLEAN": _structure(bool),
    "LIST": _structure(list),
    "STRUCT": _structure(dict),
}
_WORDS = {
    "INT": "a whole number",
    "NUMBER_INTEGER": "a whole number",
    "DOUBLE": "a number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}
