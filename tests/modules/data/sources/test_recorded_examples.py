"""Examples that are found by who made them, in a metadata store that TFX wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.orchestration import metadata
from tfx.orchestration.portable import execution_publish_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_artifacts

from modules.data.sources.recorded_examples import latest_examples
from modules.errors import ConfigError
from modules.settings import RecordedExamples
from pipeline.config import load_config

Record = Callable[..., str]


def context(kind: str, name: str) -> pipeline_pb2.ContextSpec:
    spec = pipeline_pb2.ContextSpec()
    spec.type.name = kind
    spec.name.field_value.string_value = name
    return spec


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "metadata.sqlite"


@pytest.fixture
def record(store: Path, tmp_path: Path) -> Record:
    """A function that records an artifact as TFX's launcher does; returns its URI."""
    from tfx.orchestration.portable.mlmd import context_lib

    number = iter(range(100))

    def run(node: str, key: str = "examples", kind: Any = standard_artifacts.Examples) -> str:
        connection = metadata.sqlite_metadata_connection_config(str(store))
        contexts = pipeline_pb2.NodeContexts(
            contexts=[context("pipeline", "penguin"), context("node", f"penguin.{node}")]
        )
        made: types.Artifact = kind()
        made.uri = str(tmp_path / f"{node}-{next(number)}")
        with metadata.Metadata(connection) as handle:
            found = context_lib.prepare_contexts(handle, contexts)
            of_type = metadata_type(node)
            execution = execution_publish_utils.register_execution(handle, of_type, found)
            execution_publish_utils.publish_succeeded_execution(
                handle, execution.id, found, {key: [made]}
            )
        return made.uri

    return run


def metadata_type(name: str) -> Any:
    from ml_metadata.proto import metadata_store_pb2

    return metadata_store_pb2.ExecutionType(name=name)


def test_the_newest_raw_examples_are_taken(store: Path, record: Record) -> None:
    record("CsvExampleGen")
    newest = record("CsvExampleGen")
    record("Transform", key="transformed_examples")
    record("Trainer", kind=standard_artifacts.Model)
    recorded = RecordedExamples(metadata=str(store), pipeline="penguin")
    assert latest_examples(recorded) == newest


def test_of_several_nodes_one_is_chosen(store: Path, record: Record) -> None:
    first, _ = record("CsvExampleGen"), record("ImportExampleGen")
    recorded = {"metadata": str(store), "pipeline": "penguin"}
    with pytest.raises(ConfigError, match=r"node must be set.*: CsvExampleGen, ImportExampleGen;"):
        latest_examples(RecordedExamples(**recorded))
    assert latest_examples(RecordedExamples(**recorded, node="CsvExampleGen")) == first
    with pytest.raises(ConfigError, match="no node with examples 'Trainer'"):
        latest_examples(RecordedExamples(**recorded, node="Trainer"))


def test_a_configuration_names_what_was_found(store: Path, record: Record) -> None:
    found = record("CsvExampleGen")
    data = f"data={{source: examples, produced_by: {{metadata: {store}, pipeline: penguin}}}}"
    config = load_config("digits", [data])
    assert (config.data.path, config.data.produced_by) == (found, None)
    with pytest.raises(ConfigError, match=r"data.path and data.produced_by are two ways"):
        load_config("digits", [data, "data.path=/x"])
    with pytest.raises(ConfigError, match=r"data.produced_by must not be set when data.source is"):
        load_config("digits", [data, "data.source=csv", "data.path=/x"])


def test_what_is_not_there_is_told(store: Path, record: Record, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metadata must be .*, but there is no file"):
        latest_examples(RecordedExamples(metadata=str(store), pipeline="penguin"))
    record("Trainer", kind=standard_artifacts.Model)
    with pytest.raises(ConfigError, match=r"no pipeline 'pengiun'; did you mean 'penguin'\?"):
        latest_examples(RecordedExamples(metadata=str(store), pipeline="pengiun"))
    with pytest.raises(ConfigError, match="'penguin' has made no examples yet"):
        latest_examples(RecordedExamples(metadata=str(store), pipeline="penguin"))
    (tmp_path / "text").write_text("no database, but a file of text\n" * 100)
    with pytest.raises(ConfigError, match=r"text is none \(.*\); fix the path"):
        latest_examples(RecordedExamples(metadata=str(tmp_path / "text"), pipeline="penguin"))
