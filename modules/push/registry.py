"""Registers a pushed SavedModel in the Vertex AI Model Registry.

One model for a pipeline; each push becomes a version of it, with the report's numbers as labels.
The client takes its credentials and endpoint from `google.cloud.aiplatform.init`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modules.errors import ConfigError, UserError
from modules.push.manifest import Manifest
from modules.settings import PushSettings, VertexRegistrySettings

DIGEST_LABEL, PIPELINE_LABEL = "content", "pipeline"
_LABEL_LENGTH = 63
_MOST_LABELS = 64
_TIMEOUT_S = 300.0


def check_push(settings: PushSettings) -> None:
    """Checks that what is to be registered will be where Vertex AI can read it.

    Raises:
      ConfigError: a registration without a destination that Vertex AI can read.
    """
    destination = settings.destination
    if settings.vertex and not (destination and destination.startswith("gs://")):
        raise ConfigError(
            "push.vertex needs push.destination to be a gs:// URL, from which Vertex AI reads the "
            f"model, got {destination}; set push.destination or remove push.vertex"
        )


def register(manifest: Manifest, saved_model_dir: str, settings: VertexRegistrySettings) -> str:
    """Registers a version, unless one with the same content is already there.

    Args:
      manifest: the pushed version's.
      saved_model_dir: `gs://` URL of its SavedModel.
      settings: where to register it.

    Returns:
      The resource name of the model, with `@` and the version's number in the registry.

    Raises:
      UserError: it could not be registered; the next push tries again.
    """
    try:
        return _register(manifest, saved_model_dir, settings)
    except Exception as error:  # the client raises its own, grpc's, requests' and plain errors
        reason = " ".join(str(error).split())
        raise UserError(
            f"version {manifest.version} is pushed to {saved_model_dir}, but not registered in "
            f"push.vertex {settings.project}/{settings.region}: {type(error).__name__}: {reason}; "
            "fix this and run again, which registers it"
        ) from error


def labels(manifest: Manifest) -> dict[str, str]:
    """The report's numbers and the version's identity as labels.

    Values have at most 63 of the characters a-z, 0-9, `_` and `-`: 0.9913 becomes `0_9913`.
    """
    found = {
        DIGEST_LABEL: manifest.content_digest,
        PIPELINE_LABEL: manifest.pipeline or "",
        "version": str(manifest.version),
        "tflite": "-".join(entry.variant for entry in manifest.tflite),
        **{f"student_{key}": text for key, text in _numbers(manifest.report.student or {})},
        **dict(_numbers(manifest.report.comparison or {})),
    }
    speedup = (manifest.report.comparison or {}).get("speedup")
    if speedup:
        found["speedup"] = _text(speedup["median"])
    for entry in manifest.tflite:
        found |= {f"{entry.variant}_{key}": text for key, text in _numbers(entry.metrics)}
    valid = {_valid(key): _valid(text) for key, text in found.items()}
    return dict(list(valid.items())[:_MOST_LABELS])


def _register(manifest: Manifest, saved_model_dir: str, settings: VertexRegistrySettings) -> str:
    # Takes seconds to import, and is not needed by those who do not register.
    from google.api_core.exceptions import NotFound
    from google.cloud import aiplatform

    place = {"project": settings.project, "location": settings.region}
    name = manifest.pipeline or "student"
    # The registry wants a letter first.
    model_id = _valid(name if name[0].isalpha() else f"m-{name}")
    all_labels = labels(manifest)
    try:
        parent: Any = aiplatform.Model(model_id, **place)
    except NotFound:
        parent = None
    if parent is not None:
        content = f'labels.{DIGEST_LABEL}="{all_labels[DIGEST_LABEL]}"'
        for version in parent.versioning_registry.list_versions(filter=content):
            return f"{parent.resource_name}@{version.version_id}"
    identity = {"parent_model": parent.resource_name} if parent else {"model_id": model_id}
    model = aiplatform.Model.upload(
        artifact_uri=saved_model_dir,
        serving_container_image_uri=settings.serving_image,
        display_name=settings.display_name or name,
        labels=all_labels,
        version_aliases=[f"v{manifest.version}"],
        upload_request_timeout=_TIMEOUT_S,
        **identity,
        **place,
    )
    return f"{model.resource_name}@{model.version_id}"


def _numbers(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in entry.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key, _text(value)


def _text(value: float) -> str:
    """A whole number as it is, another with four significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _valid(text: str) -> str:
    return re.sub("[^a-z0-9_-]", "_", text.lower())[:_LABEL_LENGTH]
