"""What Kubeflow Pipelines and Vertex AI Pipelines have in common for the command line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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
