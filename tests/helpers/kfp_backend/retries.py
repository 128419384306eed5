"""Whether and when a task is tried again."""

from __future__ import annotations

from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from kfp_backend.store import Dialect

# Of a policy that does not say: the published message's default, and what Argo is given instead.
_VERTEX_LIMIT_S, _KUBEFLOW_LIMIT_S = 3600.0, 0.0


class Retries:
    """A retry policy in action.

    Kubeflow hands it to Argo, whose limit counts from the beginning of the first attempt, running
    times included: no attempt begins after it, and one that runs when it is over is killed.
    Without a limit there is no second attempt. A factor of 0 leaves all pauses alike.

    Args:
      policy: Of the task.
      dialect: Whether Argo's limit is obeyed or, as on Vertex AI as far as one can know, only the
        pauses count.
    """

    def __init__(self, policy: pb.PipelineTaskSpec.RetryPolicy, dialect: Dialect):
        self._policy, self._kubeflow = policy, dialect == "kubeflow"
        self._limit = _seconds(policy, "backoff_max_duration")
        if not policy.HasField("backoff_max_duration"):
            self._limit = _KUBEFLOW_LIMIT_S if self._kubeflow else _VERTEX_LIMIT_S
        self._elapsed = 0.0
        self._failed = 0

    def after(self, seconds: float) -> float | None:
        """The pause after an attempt that took so long and failed; None: there is no other."""
        self._failed += 1
        if self._kubeflow:
            self._elapsed += seconds
        if self._failed > self._policy.max_retry_count:
            return None
        pause = _seconds(self._policy, "backoff_duration")
        if self._policy.backoff_factor > 0:
            pause *= self._policy.backoff_factor ** (self._failed - 1)
        self._elapsed += pause
        return pause if self._elapsed <= self._limit else None

    @property
    def deadline(self) -> float | None:
        """Seconds that the next attempt may take; None: as long as it likes."""
        return self._limit - self._elapsed if self._kubeflow and self._failed else None


def _seconds(policy: Any, name: str) -> float:
    return float(getattr(policy, name).ToTimedelta().total_seconds())
