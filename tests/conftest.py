"""Fixtures that several packages' tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.local_runner import Outcome

# pytest puts this directory first on sys.path, where tests/components would be taken for the
# package components.
sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass
class MiniatureRun:
    """The whole pipeline on the digits, with models too small and trained too little to be good.

    A test that runs it again must leave the first run's artifacts as they are; what lies in
    `report` and `pushed` belongs to whoever ran last.
    """

    output: Path
    overrides: tuple[str, ...] = (
        "teacher.parameters={widths: [8, 16], blocks: 1}",
        "teacher.train.epochs=2",
        "student.train.epochs=3",
        "latency={blocks: 5, queries_per_block: 10}",
        "gate={min_accuracy: 0.2, min_speedup: 0.01, max_tflite_accuracy_drop: 0.5}",
    )
    uris: dict[str, str] = field(default_factory=dict)
    outcome: Outcome | None = None
    blessing: Any = None

    def config(self, *changes: str) -> PipelineConfig:
        """The run's configuration with further overrides."""
        from pipeline.config import load_config

        return load_config("digits", [*self.overrides, *changes])

    def run(self, *changes: str) -> Outcome:
        """Run the pipeline in the same output directory."""
        from pipeline import local_runner

        return local_runner.run(self.config(*changes), self.output)

    def artifacts(self) -> dict[str, Any]:
        """MLMD artifacts `node.key` of every node's newest execution."""
        with self._store() as store:
            return {
                f"{node}.{event.path.steps[0].key}": store.get_artifacts_by_id([event.artifact_id])[
                    0
                ]
                for node, execution in self._newest(store).items()
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type == event.OUTPUT
            }

    def states(self) -> dict[str, str]:
        """The state of every node's newest execution, for example COMPLETE or CACHED."""
        with self._store() as store:
            return {
                node: execution.State.Name(execution.last_known_state)
                for node, execution in self._newest(store).items()
            }

    @contextmanager
    def _store(self) -> Iterator[Any]:
        from tfx.orchestration import metadata

        from pipeline.local_runner import places

        with metadata.Metadata(places(self.output).metadata) as handle:
            yield handle.store

    def _newest(self, store: Any) -> dict[str, Any]:
        return {
            context.name.removeprefix("digits."): max(
                store.get_executions_by_context(context.id), key=lambda execution: execution.id
            )
            for context in store.get_contexts_by_type("node")
        }


@pytest.fixture(scope="session")
def miniature_run(tmp_path_factory: pytest.TempPathFactory) -> MiniatureRun:
    """One finished miniature run; `uris` are its artifacts' by `node.key`."""
    this = MiniatureRun(tmp_path_factory.mktemp("miniature") / "run")
    this.outcome = this.run()
    artifacts = this.artifacts()
    this.uris = {name: artifact.uri for name, artifact in artifacts.items()}
    this.blessing = artifacts["Evaluator.blessing"]
    return this


@pytest.fixture(scope="session")
def read_examples() -> Callable[[str], list[Any]]:
    """A function from the directory of a split to its `tf.train.Example`s, in order."""

    def read(directory: str) -> list[Any]:
        import tensorflow as tf

        files = sorted(str(path) for path in Path(directory).iterdir())
        records = tf.data.TFRecordDataset(files, compression_type="GZIP")
        return [tf.train.Example.FromString(record) for record in records.as_numpy_iterator()]

    return read
