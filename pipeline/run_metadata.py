"""What runs on this machine have written into ML Metadata: what is read and mended of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from modules.data.damage import damaged_file, speaks_of_damage
from modules.errors import DataError, UserError
from pipeline.graph import Places

_RECORDS = (
    ("ExampleGen", "examples"),
    ("Transform", "transformed_examples"),
    ("SoftTargets", "soft_targets"),
)
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
def damage_mended(pipeline_name: str, where: Places) -> Iterator[None]:
    """Turn an error that a damaged artifact has caused into one that names it.

    The executions that offer the artifact to the cache are marked as failed, so that the next run
    makes it anew. Its files stay where they are.
    """
    try:
        yield
    except Exception as error:
        damaged, problem = getattr(error, "damaged", ""), str(next(iter(error.args), ""))
        with metadata.Metadata(where.metadata) as handle:
            if not damaged and speaks_of_damage(error):
                damaged, problem = _damaged_records(handle.store, pipeline_name)
            node = _forget(handle.store, damaged) if damaged else ""
        if node:
            kind = type(error) if isinstance(error, UserError) else DataError
            raise kind(f"{problem}; run again, which has {node} make it anew") from error
        raise


def _damaged_records(store: Any, pipeline_name: str) -> tuple[str, str]:
    """The directory of the first artifact with a damaged file, and what is wrong with the file."""
    # A node that has not finished yet has no output.
    with suppress(AttributeError, ValueError):
        for node, key in _RECORDS:
            uri = latest_output(store, pipeline_name, node, key).uri
            if problem := damaged_file(uri):
                return uri, problem
    return "", ""


def _forget(store: Any, directory: str) -> str:
    """Mark the executions that have an artifact as output; returns their node, "" without any.

    Args:
      store: ML Metadata.
      directory: The artifact's, or one within it.
    """
    ids = [
        artifact.id
        for artifact in store.get_artifacts()
        if artifact.uri and f"{directory}/".startswith(f"{artifact.uri.rstrip('/')}/")
    ]
    makers = {
        event.execution_id
        for event in store.get_events_by_artifact_ids(ids)
        if event.type == metadata_store_pb2.Event.OUTPUT
    }
    executions = store.get_executions_by_id(sorted(makers))
    for execution in executions:
        if execution.last_known_state in _FINISHED:
            execution.last_known_state = metadata_store_pb2.Execution.FAILED
    if not executions:
        return ""
    store.put_executions(executions)
    (name,) = (
        context.name
        for context in store.get_contexts_by_execution(executions[0].id)
        if context.type == "node"
    )
    return str(name.rpartition(".")[2])


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
