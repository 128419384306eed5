"""What is known about a run afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend import values
from kfp_backend.launcher import Attempt
from kfp_backend.store import Outputs


@dataclass
class TaskRecord:
    """What became of a task.

    Attributes:
      state: SUCCEEDED, CACHED, FAILED or SKIPPED (what it depends on did not succeed, or the run
        had failed).
      attempts: The processes, oldest first; none if it was served from the cache.
      pre_cache_check: The process that ran before the cache was asked, or None.
      waits: Seconds between the attempts that the retry policy asks for.
      image: Of the container.
      resources: That the container asks for; recorded, not enforced.
      platform: What the platform document says about it, for example a node selector.
      inputs: That it was given.
      outputs: That it has left.
      problem: Why it failed; empty if it did not.
    """

    state: str
    attempts: list[Attempt] = field(default_factory=list)
    pre_cache_check: Attempt | None = None
    waits: list[float] = field(default_factory=list)
    image: str = ""
    resources: dict[str, Any] = field(default_factory=dict)
    platform: dict[str, Any] = field(default_factory=dict)
    inputs: pb.ExecutorInput.Inputs = field(default_factory=pb.ExecutorInput.Inputs)
    outputs: Outputs = field(default_factory=Outputs)
    problem: str = ""

    def parameter(self, name: str) -> Any:
        """The value of an input parameter."""
        return values.to_python(self.inputs.parameter_values[name])


@dataclass
class Run:
    """What became of a pipeline; tasks in a nested DAG are called `dag/task`."""

    run_id: str
    state: str = "RUNNING"
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)

    @property
    def states(self) -> dict[str, str]:
        """The state of every task."""
        return {name: record.state for name, record in self.tasks.items()}

    def problems(self) -> str:
        """One line for each task that failed, with the end of its log."""
        lines = []
        for name, record in self.tasks.items():
            if record.problem:
                log = record.attempts[-1].log if record.attempts else Path("/dev/null")
                tail = log.read_text(errors="replace")[-2000:]
                lines.append(f"{name}: {record.problem}\n{tail}")
        return "\n".join(lines)
