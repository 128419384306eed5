"""`runtime.resources` in the engines' own terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import duration_pb2, json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kubernetes.utils.quantity import parse_quantity

from modules.settings import ResourceSettings, Role
from pipeline.clusters.engines import Engine, is_kubernetes_resource

Container: TypeAlias = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec

_EVALUATORS = {"Evaluator", "Exporter"}
_TRAINERS = {"Control", "Distiller", "Search", "SoftTargets"}
_GPU = "nvidia.com/gpu"
_GKE_ACCELERATOR, _GKE_SPOT = "cloud.google.com/gke-accelerator", "cloud.google.com/gke-spot"
# A first pause, doubled with every try: long enough for a machine that was taken away.
_PAUSE_S = 30
# How long a node is tried. Argo counts from the beginning of the first try, kills a later one when
# it is over, and takes none at all for zero; so it has to be longer than any training. Vertex AI
# takes an hour at most.
_LIMIT_S: Mapping[Engine, int] = {"kubeflow": 30 * 24 * 3600, "vertex": 3600}
_KILL_AFTER_S = 60


def role_of(node: str) -> Role:
    """The role of a node of the graph by its id."""
    if node in _TRAINERS or node.startswith(("TeacherTrainer", "AnswerCollector")):
        return "trainer"
    return "evaluator" if node in _EVALUATORS else "default"


def set_resources(container: Container, resources: ResourceSettings, engine: Engine) -> None:
    """Cores, memory and accelerators of one container.

    Kubeflow Pipelines reads the fields of pipeline spec 2.1, which are texts; Vertex also the
    older ones, which are numbers.
    """
    target = container.resources
    if resources.cpu is not None:
        target.resource_cpu_limit = target.resource_cpu_request = f"{resources.cpu:g}"
        if engine == "vertex":
            target.cpu_limit = target.cpu_request = resources.cpu
    if resources.memory is not None:
        target.resource_memory_limit = target.resource_memory_request = resources.memory
        if engine == "vertex":
            gigabytes = float(parse_quantity(resources.memory)) / 1e9
            target.memory_limit = target.memory_request = gigabytes
    if resources.accelerator is None:
        return
    target.accelerator.resource_count = str(resources.accelerator_count)
    if engine == "vertex":
        target.accelerator.type = target.accelerator.resource_type = resources.accelerator
        target.accelerator.count = resources.accelerator_count
    else:
        target.accelerator.resource_type = _kubernetes_resource(resources.accelerator)


def set_retries(
    task: pipeline_spec_pb2.PipelineTaskSpec, resources: ResourceSettings, engine: Engine
) -> None:
    """How often a failed task is tried again."""
    if resources.retries:
        task.retry_policy.max_retry_count = resources.retries
        task.retry_policy.backoff_factor = 2
        task.retry_policy.backoff_duration.CopyFrom(duration_pb2.Duration(seconds=_PAUSE_S))
        task.retry_policy.backoff_max_duration.CopyFrom(
            duration_pb2.Duration(seconds=_LIMIT_S[engine])
        )


def set_timeout(container: Container, resources: ResourceSettings) -> None:
    """End a try that takes too long, by coreutils' `timeout`: it means the same on every engine."""
    if resources.timeout_minutes is not None:
        command = ["timeout", f"--kill-after={_KILL_AFTER_S}", f"{timeout_seconds(resources)}"]
        container.command[:] = [*command, *container.command]


def timeout_seconds(resources: ResourceSettings) -> int:
    """Of one try, at least a second."""
    assert resources.timeout_minutes is not None
    return max(1, round(resources.timeout_minutes * 60))


def kubernetes_platform(executors: Mapping[str, ResourceSettings]) -> dict[str, Any] | None:
    """Where Kubernetes may place the containers; None if anywhere.

    Args:
      executors: Their resources by executor label.

    Returns:
      A PlatformSpec as a dictionary, the second document of Kubeflow's YAML.
    """
    placed = {label: _placement(resources) for label, resources in executors.items()}
    placed = {label: config for label, config in placed.items() if config.ByteSize()}
    if not placed:
        return None
    content = {label: json_format.MessageToDict(config) for label, config in placed.items()}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": content}}}}


def _placement(resources: ResourceSettings) -> kubernetes_pb2.KubernetesExecutorConfig:
    config = kubernetes_pb2.KubernetesExecutorConfig()
    accelerator = resources.accelerator
    if accelerator:
        # GPU nodes are tainted, so that nothing else takes their place.
        config.tolerations.add(
            key=_kubernetes_resource(accelerator), operator="Exists", effect="NoSchedule"
        )
        if not is_kubernetes_resource(accelerator):
            config.node_selector.labels[_GKE_ACCELERATOR] = accelerator
    if resources.spot:
        config.node_selector.labels[_GKE_SPOT] = "true"
        config.tolerations.add(key=_GKE_SPOT, operator="Equal", value="true", effect="NoSchedule")
    return config


def _kubernetes_resource(accelerator: str) -> str:
    if is_kubernetes_resource(accelerator):
        return accelerator
    return "amd.com/gpu" if accelerator.startswith("amd-") else _GPU
