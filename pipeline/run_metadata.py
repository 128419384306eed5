"""What runs on this machine have written into ML Metadata: what is read and mended of it."""

from __future__ import annotations

import datetime
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
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
_LOG = logging.getLogger("tfx_distill.run")
_FINISHED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


def set_aside_damaged(where: Places) -> None:
    """Move a damaged database out of the way, with the artifacts that nothing else describes.

    A new database numbers executions from 1 again, and TFX would write into the directories of old
    ones. So artifacts whose database is gone are moved, too. The caller has the lock.

    Raises:
      DataError: The database was damaged. The next run begins anew.
    """
    file = Path(where.metadata.sqlite.filename_uri)
    aside = f"damaged-{datetime.datetime.now():%Y%m%dT%H%M%S}"
    if problem := _damage(file):
        moved = [file.rename(f"{file}.{aside}")]
        for suffix in ("-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.rename(f"{file}{suffix}", f"{file}.{aside}{suffix}")
        moved += _artifacts_moved(where, aside)
        raise DataError(
            f"{file} must be the metadata of the runs here, but is damaged ({problem}); moved to "
            f"{' and '.join(map(str, moved))}; run again to begin anew (what was pushed stays), or "
            "put back copies from before"
        )
    if not file.exists() or (file.is_file() and not file.stat().st_size):
        for directory in _artifacts_moved(where, aside):
            _LOG.warning("%s is gone: the artifacts that it described are in %s", file, directory)


def _damage(file: Path) -> str:
    """What SQLite finds wrong with a database; "" if nothing, or if it cannot even open it."""
    if not file.is_file():
        return ""
    try:
        # It may have to be written to: what a killed run has left half done is undone.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as store:
            problem = store.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if problem == "ok" else " ".join(problem.split())[:200]


def _artifacts_moved(where: Places, aside: str) -> list[Path]:
    """Move the pipeline root if executions have written to it; returns where it is now."""
    root = Path(where.pipeline_root)
    if not any(path.name.isdecimal() for path in root.glob("*/*/*")):
        return []
    moved = root.rename(f"{root}.{aside}")
    root.mkdir()
    return [moved]


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
    makes it anew. Its files stay where they are. If the metadata are damaged, see
    `set_aside_damaged`.
    """
    try:
        yield
    except Exception as error:
        set_aside_damaged(where)
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
