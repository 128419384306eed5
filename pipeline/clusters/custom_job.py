"""Trainers on machines of their own: a node of Vertex AI Pipelines that runs as a CustomJob.

The node's container only starts the job and waits for it. Each of the job's machines runs the
node's real executor; Vertex AI describes the machines to each other in TF_CONFIG, which
`modules.distill.strategy` reads.
"""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import standard_component_specs
from tfx.utils import json_utils

from modules.settings import ResourceSettings, RuntimeSettings
from pipeline.clusters.resources import timeout_seconds

_CONFIG = standard_component_specs.CUSTOM_CONFIG_KEY
_JOB = "custom_job"


def with_custom_job(
    custom_config: str, executor_class_path: str, pipeline: str, runtime: RuntimeSettings
) -> str:
    """A Trainer's `custom_config` with the job that is to train.

    Args:
      custom_config: JSON.
      executor_class_path: The node's real executor.
      pipeline: Its name, for the job's.
      runtime: `image`, `vertex` and the resources of the role trainer are obeyed.
    """
    resources = runtime.resources_of("trainer")
    spec: dict[str, Any] = {"worker_pool_specs": _worker_pools(resources, runtime.image)}
    scheduling: dict[str, Any] = {}
    if resources.spot:
        scheduling["strategy"] = "SPOT"
    if resources.timeout_minutes is not None:
        scheduling["timeout"] = f"{timeout_seconds(resources)}s"
    if scheduling:
        spec["scheduling"] = scheduling
    for name in ("service_account", "network"):
        if value := getattr(runtime.vertex, name):
            spec[name] = value
    job = {
        "executor_class_path": executor_class_path,
        "region": runtime.vertex.region,
        "args": {
            "project": runtime.vertex.project,
            "display_name": f"{pipeline}-training",
            "labels": runtime.vertex.labels,
            "job_spec": spec,
        },
    }
    return str(json_utils.dumps(json_utils.loads(custom_config) | {_JOB: job}))


def _worker_pools(resources: ResourceSettings, image: str | None) -> list[dict[str, Any]]:
    """One machine that writes the model, and the others."""
    machine: dict[str, Any] = {"machine_type": resources.machine_type}
    if resources.accelerator:
        machine["accelerator_type"] = resources.accelerator
        machine["accelerator_count"] = resources.accelerator_count
    counts = [1, resources.replicas - 1] if resources.replicas > 1 else [1]
    return [
        {
            "machine_spec": machine,
            "replica_count": count,
            "container_spec": {"image_uri": image},
        }
        for count in counts
    ]


class Executor(base_executor.BaseExecutor):
    """Starts the node's real executor as a CustomJob and waits for it."""

    def Do(  # noqa: N802  TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Returns when the job has succeeded.

        Raises:
          RuntimeError: The job failed or was canceled.
        """
        # Google's client takes ten seconds of CPU time to load; the compiler needs only our name.
        from tfx.extensions.google_cloud_ai_platform import runner

        self._log_startup(input_dict, output_dict, exec_properties)
        config = json_utils.loads(exec_properties[_CONFIG])
        job = config.pop(_JOB)
        runner.start_cloud_training(
            input_dict,
            output_dict,
            # What the machines are is not the training's business: see `TrainerTask._state_dir`.
            {**exec_properties, _CONFIG: json_utils.dumps(config)},
            job["executor_class_path"],
            job["args"],
            None,
            enable_vertex=True,
            vertex_region=job["region"],
        )
