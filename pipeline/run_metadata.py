"""What runs on this machine have written into ML Metadata: what is read and mended of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from modules.data.damage import damaged_file, speaks_of_damage
from modules.errors import DataError
from pipeline.graph import Places

_EXAMPLES = (("ExampleGen", "examples"), ("Transform", "transformed_examples"))
_FINISHED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


def close_interrupted(where: Places) -> None:
    """Mark as failed what a killed run has left `RUNNING`; we have the lock, so nobody runs it.

    Raises:
      DataError: The metadata cannot be read.
    """
    try:
        with metadata.Metadata(where.metadata) as handle:
            _close(handle.store)
    # ML Metadata raises RuntimeError and errors of its own.
    except Exception as error:
        reason = " ".join(str(error).split(" query: ")[0].split())
        raise DataError(
            f"{where.metadata.sqlite.filename_uri} must be the metadata of the runs here, but "
            f"cannot be read ({reason[:200]}); put back a copy of it, or move it and "
            f"{where.pipeline_root} away to begin anew (what was pushed stays)"
        ) from error


def _close(store: Any) -> None:
    left = [
        execution
        for execution in store.get_executions()
        if execution.last_known_state == metadata_store_pb2.Execution.RUNNING
    ]
    for execution in left:
        execution.last_known_state = metadata_store_pb2.Execution.FAILED
    if left:
        store.put_executions(left)


@contextmanager
def damage_named(pipeline_name: str, where: Places) -> Iterator[None]:
    """Turn an error that a damaged file of examples has caused into one that names the file."""
    try:
        yield
    except Exception as error:
        if speaks_of_damage(error):
            # A node that has not finished yet has no output.
            with metadata.Metadata(where.metadata) as handle, suppress(AttributeError, ValueError):
                for node, key in _EXAMPLES:
                    uri = latest_output(handle.store, pipeline_name, node, key).uri
                    if problem := damaged_file(uri):
                        raise DataError(f"{problem}; remove {uri} and run again") from error
        raise


def latest_output(store: Any, pipeline_name: str, node: str, key: str) -> Any:
    """The artifact of a node's newest finished execution, served from the cache or not."""
    context = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node}")
    executions = [
        execution
        for execution in store.get_executions_by_context(context.id)
        if execution.last_known_state in _FINISHED
    ]
    newest = max(executions, key=lambda execution: execution.id)
    (artifact_id,) = (
        event.artifact_id
        for event in store.get_events_by_execution_ids([newest.id])
        if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key
    )
    (artifact,) = store.get_artifacts_by_id([artifact_id])
    return artifact
