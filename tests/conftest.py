"""Fixtures that several packages' tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.local_runner import Outcome


class OneWorkerPerFile(LoadScopeScheduling):
    """Gives a worker whole files, and one worker all files that share the miniature run.

    The marks of `--dist loadgroup` have no effect under pytest 9.2 with xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _scope(self.config.rootpath / nodeid.partition("::")[0])


@cache
def _scope(file: Path) -> str:
    return "miniature_run" if "miniature_run" in file.read_text() else str(file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest scopes first, so that no worker waits for another one's at the end.

    `--no-loadscope-reorder` in pyproject.toml keeps this order.
    """
    items.sort(key=lambda item: _rank(item.path))


@cache
def _rank(file: Path) -> int:
    if _scope(file) == "miniature_run":
        return 0
    return 1 if "e2e" in file.parts else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerPerFile:
    """How `make test` distributes the tests."""
    return OneWorkerPerFile(config, log)


@dataclass
class MiniatureRun:
    """The whole pipeline on the digits, with models too small and trained too little to be good.

    A test that runs it again must leave the first run's artifacts as they are; what lies in
    `report` and `pushed` belongs to whoever ran last.
    """

    output: Path
    overrides: tuple[str, ...] = (
        "data.max_labels=null",
        "teacher.parameters={widths: [8, 16], blocks: 1}",
        "teacher.train.epochs=2",
        "student.train.epochs=3",
        "latency={processes: 3, blocks: 3, queries_per_block: 10}",
        "gate={min_accuracy: 0.2, max_tflite_accuracy_drop: 0.5, allow_below_control: true}",
        # After every epoch, so that a run can be killed at any time and taken up again.
        "runtime.checkpoint_seconds=0",
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
        """MLMD artifacts `node.key` of every node of the newest run."""
        with self._store() as store:
            return {
                f"{node}.{event.path.steps[0].key}": store.get_artifacts_by_id([event.artifact_id])[
                    0
                ]
                for node, execution in self._newest(store).items()
                for event in store.get_events_by_execution_ids([execution.id])
                if event.type == event.OUTPUT
            }

    def inputs(self, node: str, key: str) -> list[str]:
        """The uris that a node of the newest run was given under a key, in their order."""
        with self._store() as store:
            events = store.get_events_by_execution_ids([self._newest(store)[node].id])
            given = {
                event.path.steps[1].index: store.get_artifacts_by_id([event.artifact_id])[0].uri
                for event in events
                if event.type == event.INPUT and event.path.steps[0].key == key
            }
        return [given[index] for index in sorted(given)]

    def properties(self, node: str) -> dict[str, Any]:
        """The execution properties of a node in the newest run."""
        with self._store() as store:
            properties = self._newest(store)[node].custom_properties
            return {name: value.string_value for name, value in properties.items()}

    def states(self) -> dict[str, str]:
        """The state of every node in the newest run, for example COMPLETE or CACHED."""
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
        """The executions of the newest run; another run may have had other nodes."""
        newest = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
        executions = {}
        for execution in store.get_executions_by_context(newest.id):
            (node,) = (
                context.name.removeprefix("digits.")
                for context in store.get_contexts_by_execution(execution.id)
                if context.type == "node"
            )
            executions[node] = execution
        return executions


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


@pytest.fixture(scope="session")
def digits_dataset() -> Any:
    """What ExampleGen says of the digits."""
    from modules.data.spec import Dataset, OutputSpec

    classes = tuple(str(digit) for digit in range(10))
    return Dataset(output=OutputSpec(task="classification", size=10, classes=classes))


@pytest.fixture(scope="session")
def transformed_digits(digits_dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The first 200 digits as ExampleGen writes them, through Transform."""
    from transforming import transform

    from modules.data.sources.digits import digits
    from modules.data.splits import example_id
    from modules.settings import DataSettings

    rows = [
        {
            "image": image,
            "label": label,
            "class_name": str(label).encode(),
            "example_id": example_id(image),
        }
        for image, label in islice(digits(), 200)
    ]
    return transform(rows, DataSettings(), digits_dataset, tmp_path_factory.mktemp("digits"))
