"""Where a training runs: one device, all GPUs of a machine, or several workers."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from modules.errors import ConfigError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy for `runtime.strategy`.

    Args:
      name: `auto` (the workers of TF_CONFIG if there is one, else all GPUs, else one device),
        `mirrored` or `multi_worker`.

    Raises:
      ConfigError: TF_CONFIG is missing or malformed where workers are asked for.
    """
    cluster = _tf_config(required=name == "multi_worker")
    if name == "multi_worker" or (name == "auto" and cluster):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored" or len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes logs, checkpoints and the model."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().as_dict()
    )


def _tf_config(required: bool) -> dict[str, Any]:
    """The cluster that TF_CONFIG describes, {} if it describes none."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        content = json.loads(text) if text else {}
        cluster = content.get("cluster", {})
        if cluster and "index" not in content["task"]:
            raise KeyError("task.index")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"TF_CONFIG must be JSON with cluster and task, got {text!r} ({error}); for example "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from error
    if required and not cluster:
        raise ConfigError(
            "runtime.strategy is multi_worker, but TF_CONFIG names no cluster; set it on every "
            "worker, or use auto"
        )
    return cluster
