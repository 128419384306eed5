"""Where the pipelines for Vertex AI are kept, which itself keeps runs alone.

As with TFX's own command, a pipeline is a file on this machine, below `~/tfx/vertex` or
`$VERTEX_HOME`; beside it lie the settings that it is submitted with.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from modules.errors import ConfigError, UserError
from modules.settings import VertexSettings
from pipeline.clusters.definitions import Definition
from pipeline.clusters.remote import RemotePipeline, sentence

_DEFINITION, _SETTINGS = "pipeline.json", "settings.json"  # the first is TFX's name


def home() -> Path:
    """Where the pipelines lie."""
    return Path(os.environ.get("VERTEX_HOME") or Path.home() / "tfx" / "vertex")


def stored_settings(name: str | None) -> VertexSettings:
    """What a pipeline was created with; nothing is set if that is not known.

    Raises:
      ConfigError: The file is damaged.
    """
    file = directory(name) / _SETTINGS if name else None
    if file is None or not file.is_file():
        return VertexSettings()
    try:
        return VertexSettings.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise ConfigError(
            f"{file}: must be what `tfx-distill pipeline create` has written; delete the pipeline "
            f"and create it again ({sentence(error)})"
        ) from error


def check_name(name: str, *, new: bool) -> None:
    """Refuses a new pipeline's name that is taken, and one to update that is not there."""
    if not new:
        existing(name)
    elif (directory(name) / _DEFINITION).exists():
        raise UserError(
            f"{directory(name)}: a pipeline {name!r} is there already; use "
            "`tfx-distill pipeline update`, or change the configuration's name"
        )


def create(definition: Definition, settings: VertexSettings) -> RemotePipeline:
    """Keeps a definition with the settings that it is submitted with; the name must be free."""
    check_name(definition.name, new=True)
    return _keep(definition, settings)


def update(definition: Definition, settings: VertexSettings) -> RemotePipeline:
    """Replaces a definition that is there; no settings leave those that were kept."""
    existing(definition.name)
    return _keep(
        definition, settings if settings.model_fields_set else stored_settings(definition.name)
    )


def delete(name: str) -> None:
    """Deletes a definition."""
    shutil.rmtree(existing(name).parent)


def pipelines() -> list[RemotePipeline]:
    """All definitions, by name."""
    return [_pipeline(file) for file in sorted(home().glob(f"*/{_DEFINITION}"))]


def directory(name: str) -> Path:
    """Of one pipeline, there or not."""
    if not name or name.startswith(".") or "/" in name or '"' in name:
        raise ConfigError(f"--pipeline_name must be a pipeline's name, got {name!r}")
    return home() / name


def existing(name: str) -> Path:
    """The file of a definition that is there."""
    file = directory(name) / _DEFINITION
    if not file.is_file():
        raise UserError(
            f"{file.parent}: there is no pipeline {name!r}; look at `tfx-distill pipeline list "
            "--engine vertex`, or create it with `tfx-distill pipeline create`"
        )
    return file


def _pipeline(file: Path) -> RemotePipeline:
    created = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return RemotePipeline(file.parent.name, str(file), created)


def _keep(definition: Definition, settings: VertexSettings) -> RemotePipeline:
    place = directory(definition.name)
    try:
        place.mkdir(parents=True, exist_ok=True)
        kept = settings.model_dump_json(exclude_unset=True, indent=2)
        for name, text in ((_SETTINGS, kept), (_DEFINITION, definition.text)):
            aside = place / f".{name}"
            aside.write_text(text, encoding="utf-8")
            aside.replace(place / name)
    except OSError as error:
        raise UserError(
            f"{place}: must be a directory that can be written to ({error}); set "
            "VERTEX_HOME to another"
        ) from error
    return _pipeline(place / _DEFINITION)
