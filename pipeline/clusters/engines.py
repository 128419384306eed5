"""What Kubeflow Pipelines and Vertex AI Pipelines can run, found out before anything is compiled.

Imports nothing heavy, unless there are accelerators to look up.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import Literal

from modules.errors import ConfigError
from modules.files import is_url
from modules.settings import ResourceSettings, Role
from pipeline.config import PipelineConfig

Engine = Literal["kubeflow", "vertex"]

_TITLES: dict[Engine, str] = {"kubeflow": "Kubeflow Pipelines", "vertex": "Vertex AI Pipelines"}
_ROLES: tuple[Role, ...] = ("trainer", "evaluator", "default")
_ROOTS: dict[Engine, tuple[str, ...]] = {
    "kubeflow": ("gs://", "minio://", "s3://"),
    "vertex": ("gs://",),
}
# What TensorFlow, and so TFX, can read and write; the rest is for Kubeflow's launcher to carry.
TFX_SCHEME = "gs://"
# The Pusher needs no more than credentials in its environment; those of Vertex' nodes are Google's.
_DESTINATIONS: dict[Engine, tuple[str, ...]] = {
    "kubeflow": ("gs://", "s3://"),
    "vertex": ("gs://",),
}
_IN_ONE_CONTAINER = ("in_memory", "multi_processing")

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_HOST = r"(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?"
_IMAGE = re.compile(
    rf"{_HOST}[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::(?P<tag>[\w][\w.-]{{0,127}}))?"
    r"(?P<digest>@sha256:[0-9a-f]{64})?"
)
_KUBERNETES_RESOURCE = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")
_GKE_ACCELERATOR = re.compile(r"(nvidia|amd)-[a-z0-9-]+")


def check_engine(
    config: PipelineConfig, engine: Engine, *, allow_mutable_image: bool = False
) -> None:
    """Refuse what an engine cannot run.

    Raises:
      ConfigError: Naming the key, the rule and the value.
    """
    if engine not in _TITLES:
        raise ConfigError(f"the engine must be one of {', '.join(_TITLES)}, got {engine!r}")
    if not _NAME.fullmatch(config.name):
        raise ConfigError(
            f"name must have only a-z, 0-9 and - on {_TITLES[engine]}, got {config.name!r}; set "
            f"name: {config.name.replace('_', '-')}"
        )
    _check_image(config.runtime.image, engine, allow_mutable_image)
    _check_root(config.runtime.pipeline_root, engine)
    _check_places(config, engine)
    _check_workers(config, engine)
    for role in _ROLES:
        _check_accelerator(config.runtime.resources_of(role).accelerator, role, engine)


def cautions(config: PipelineConfig, engine: Engine) -> list[str]:
    """What an engine accepts, but may not do as one might think; a sentence each."""
    found = []
    path = config.data.external_path
    if path and not is_url(path):
        found.append(
            f"data.path {path} is a local path, which must exist in the image; on "
            f"{_TITLES[engine]} use a URL such as gs://bucket/images"
        )
    if path and engine == "kubeflow":
        found.append(
            "ExampleGen is never answered from the cache, since Kubeflow Pipelines does not look "
            "at the files below data.path; so every run trains anew"
        )
    destination = config.push.destination or ""
    if destination and not destination.startswith(TFX_SCHEME):
        found.append(
            f"push.destination {destination} needs the store's credentials in the environment of "
            "the nodes Evaluator and Pusher"
        )
    root = config.runtime.pipeline_root or ""
    if not root.startswith(TFX_SCHEME):
        found.append(
            f"a Trainer that is interrupted begins anew, since its saved state does not outlive "
            f"its container at {root}; with a {TFX_SCHEME} pipeline root it would go on"
        )
    for argument, model in config.models.items():
        if ":" in model.model:
            found.append(f"{argument}.model {model.model} must be importable in the image")
    for argument, teacher in (
        ("teacher", config.teacher),
        *((f"more_teachers.{at}", each) for at, each in enumerate(config.more_teachers)),
    ):
        if teacher.kind == "function":
            found.append(f"{argument}.function {teacher.name} must be importable in the image")
        elif teacher.kind != "model" and not is_url(teacher.name):
            found.append(
                f"{argument}.{teacher.kind} {teacher.name} is a local path, which must exist in "
                "the image; use a URL such as gs://bucket/teacher.keras"
            )
    for role in _ROLES if engine == "vertex" else ():
        found += _vertex_cautions(config.runtime.resources_of(role), role)
    return found


def is_custom_job(resources: ResourceSettings, engine: Engine) -> bool:
    """Whether the Trainers run as Vertex CustomJobs rather than in the node's own container."""
    return engine == "vertex" and (resources.replicas > 1 or resources.machine_type is not None)


def _check_image(image: str | None, engine: Engine, allow_mutable: bool) -> None:
    if image is None:
        raise ConfigError(
            f"runtime.image must be set, since {_TITLES[engine]} runs containers; set it to the "
            "image that `make image` has built and you have pushed"
        )
    match = _IMAGE.fullmatch(image)
    if not match:
        raise ConfigError(
            f"runtime.image must be a container image such as registry/project/name:tag, got "
            f"{image!r}"
        )
    if not match["digest"] and match["tag"] in (None, "latest") and not allow_mutable:
        raise ConfigError(
            f"runtime.image must not change under a compiled pipeline, got {image!r}; name a "
            "version's tag or a digest (image@sha256:...), or give --force"
        )


def _check_root(root: str | None, engine: Engine) -> None:
    schemes = " or ".join(f"{scheme}bucket/path" for scheme in _ROOTS[engine])
    if not root:
        raise ConfigError(
            f"runtime.pipeline_root must be set, where {_TITLES[engine]} keeps the artifacts; "
            f"set it to {schemes}"
        )
    if not root.startswith(_ROOTS[engine]) or not root.partition("://")[2].strip("/"):
        raise ConfigError(
            f"runtime.pipeline_root must be {schemes}, which {_TITLES[engine]} can read, got "
            f"{root!r}"
        )


def _check_places(config: PipelineConfig, engine: Engine) -> None:
    """What containers read and write besides artifacts must outlive them, or be in the image."""
    destination, root = config.push.destination, config.runtime.pipeline_root or ""
    allowed = _DESTINATIONS[engine] if destination else (TFX_SCHEME,)
    if not (destination or root).startswith(allowed):
        schemes = " or ".join(f"{scheme}bucket/path" for scheme in _DESTINATIONS[engine])
        raise ConfigError(
            f"push.destination must be {schemes} on {_TITLES[engine]}, which the Pusher can write "
            f"and which outlives the container, got {destination!r}; set it"
        )
    path = config.data.external_path
    if path and not is_url(path) and not os.path.isabs(path):
        raise ConfigError(
            f"data.path must be a URL such as gs://bucket/images on {_TITLES[engine]}, or an "
            f"absolute path in the image, got {path!r}"
        )
    if path and is_url(path) and not path.startswith(TFX_SCHEME):
        raise ConfigError(
            f"data.path must be {TFX_SCHEME}bucket/path, which TFX can read, got {path!r}"
        )


def _check_workers(config: PipelineConfig, engine: Engine) -> None:
    runtime = config.runtime
    trainer = runtime.resources_of("trainer")
    if engine == "kubeflow":
        for key in sorted({"replicas", "machine_type"} & trainer.model_fields_set):
            if getattr(trainer, key) not in (1, None):
                raise ConfigError(
                    f"runtime.resources.trainer.{key} is for Vertex CustomJobs, got "
                    f"{getattr(trainer, key)!r}; on Kubeflow Pipelines a node is one container: "
                    "remove the key"
                )
    elif is_custom_job(trainer, engine):
        for name, value in (
            ("runtime.vertex.project", runtime.vertex.project),
            ("runtime.vertex.region", runtime.vertex.region),
            ("runtime.resources.trainer.machine_type", trainer.machine_type),
        ):
            if not value:
                raise ConfigError(f"{name} must be set for Trainers that run as CustomJobs")
    if runtime.strategy == "mirrored" and trainer.replicas > 1:
        raise ConfigError(
            f"runtime.strategy is mirrored, which would train the same model on each of the "
            f"{trainer.replicas} replicas; set it to auto"
        )
    if runtime.strategy == "multi_worker" and (trainer.replicas == 1 or config.search_plan):
        node = "the search" if trainer.replicas > 1 else "a Trainer"
        raise ConfigError(
            f"runtime.strategy is multi_worker, but {node} runs on one machine on "
            f"{_TITLES[engine]}; set it to auto, and runtime.resources.trainer.replicas on Vertex"
        )
    beam = runtime.beam.get(engine)
    root = runtime.pipeline_root or ""
    if beam and beam.runner not in _IN_ONE_CONTAINER and not root.startswith(TFX_SCHEME):
        raise ConfigError(
            f"runtime.beam.{engine}.runner is {beam.runner}, whose workers need a pipeline root "
            f"that TFX can read, {TFX_SCHEME}bucket/path, got {root!r}"
        )


def _check_accelerator(accelerator: str | None, role: Role, engine: Engine) -> None:
    if accelerator is None:
        return
    key = f"runtime.resources.{role}.accelerator"
    if engine == "kubeflow":
        if not is_kubernetes_resource(accelerator) and not _GKE_ACCELERATOR.fullmatch(accelerator):
            raise ConfigError(
                f"{key} must be a resource of Kubernetes such as nvidia.com/gpu, or on GKE an "
                f"accelerator such as nvidia-tesla-t4, got {accelerator!r}"
            )
        return
    from google.cloud.aiplatform_v1.types import AcceleratorType

    known = sorted(set(AcceleratorType.__members__) - {"ACCELERATOR_TYPE_UNSPECIFIED"})
    if accelerator not in known:
        close = difflib.get_close_matches(accelerator.upper().replace("-", "_"), known, n=2)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"{key} must be one of {', '.join(known)}, got {accelerator!r}{hint}")


def is_kubernetes_resource(accelerator: str) -> bool:
    """Whether it is the name of a resource, such as nvidia.com/gpu, and not of a model of GPU."""
    return bool(_KUBERNETES_RESOURCE.fullmatch(accelerator))


def _vertex_cautions(resources: ResourceSettings, role: Role) -> list[str]:
    custom_job = role == "trainer" and is_custom_job(resources, "vertex")
    key = f"runtime.resources.{role}"
    found = []
    if resources.spot and (role != "trainer" or not custom_job):
        found.append(
            f"{key}.spot has no effect: Vertex AI Pipelines has spot machines for CustomJobs "
            "alone; set runtime.resources.trainer.machine_type for the Trainers"
        )
    if custom_job and (resources.cpu or resources.memory):
        found.append(
            f"{key}.cpu and memory have no effect on Trainers that run as CustomJobs, whose "
            f"machine is {resources.machine_type}"
        )
    return found
