"""Finds the Examples artifact that another TFX pipeline made, in its ML Metadata."""

from __future__ import annotations

import os
from typing import Any

from modules.errors import ConfigError, did_you_mean
from modules.settings import RecordedExamples

_TYPE, _KEY = "Examples", "examples"


def latest_examples(recorded: RecordedExamples) -> str:
    """The directory of the newest artifact.

    Args:
      recorded: Where to look, and for whose.

    Raises:
      ConfigError: There is no such file, pipeline or node, or it has made no examples.
    """
    from ml_metadata import MetadataStore, errors
    from ml_metadata.proto import metadata_store_pb2

    key = "data.produced_by"
    if not os.path.isfile(recorded.metadata):
        raise ConfigError(
            f"{key}.metadata must be the SQLite file of a TFX pipeline, but there is no file "
            f"{recorded.metadata}; fix the path"
        )
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = recorded.metadata
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    try:
        store = MetadataStore(connection)
        names = [context.name for context in store.get_contexts_by_type("pipeline")]
    except (errors.StatusError, RuntimeError) as error:
        raise ConfigError(
            f"{key}.metadata must be the SQLite file of a TFX pipeline, but {recorded.metadata} is "
            f"none ({str(error).splitlines()[0][:80]}); fix the path"
        ) from error
    if recorded.pipeline not in names:
        raise ConfigError(_none(f"{key}.pipeline", "pipeline", recorded.pipeline, names))
    made = _made_by_node(store, recorded.pipeline)
    if recorded.node and recorded.node not in made:
        raise ConfigError(_none(f"{key}.node", "node with examples", recorded.node, list(made)))
    if len(made) > 1 and not recorded.node:
        raise ConfigError(
            f"{key}.node must be set, because several nodes have made examples: "
            f"{', '.join(sorted(made))}; choose one"
        )
    if not made:
        raise ConfigError(
            f"{key}.pipeline: {recorded.pipeline!r} has made no examples yet; run it first"
        )
    newest = max(made[recorded.node or next(iter(made))], key=lambda artifact: artifact.id)
    return str(newest.uri)


def _none(key: str, thing: str, name: str, known: list[str]) -> str:
    return (
        f"{key}: there is no {thing} {name!r}{did_you_mean(name, known)}; there are "
        f"{', '.join(sorted(known)) or 'none'}"
    )


def _made_by_node(store: Any, pipeline: str) -> dict[str, list[Any]]:
    """The raw examples that are still there, by the node that made them.

    Transform's have another key: they are no raw examples.
    """
    from ml_metadata.proto import metadata_store_pb2

    live = metadata_store_pb2.Artifact.LIVE
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    artifacts = {
        artifact.id: artifact
        for artifact in store.get_artifacts_by_context(context.id)
        if artifact.type == _TYPE and artifact.state == live
    }
    made: dict[str, list[Any]] = {}
    for event in store.get_events_by_artifact_ids(list(artifacts)) if artifacts else ():
        if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == _KEY:
            for found in store.get_contexts_by_execution(event.execution_id):
                if found.type == "node":
                    node = found.name.removeprefix(f"{pipeline}.")
                    made.setdefault(node, []).append(artifacts[event.artifact_id])
    return made
