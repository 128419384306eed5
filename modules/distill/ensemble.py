"""The teachers of a training: models that answer and never learn, or answers computed before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from modules.distill.feature_taps import call_with_features
from modules.distill.losses import Tensor
from modules.errors import ConfigError, ModelError
from modules.tasks.protocol import Task


class Ensemble:
    """Several teachers, each with its share.

    A plain object, which Keras does not look into: the teachers of a model that holds one are
    neither its variables nor saved with it.

    Args:
      models: The teachers; none where their logits come with the labels.
      weights: Their shares in the mean of their answers; None for equal ones.
      task: What they answer.

    Raises:
      ConfigError: A weight is not above 0, or there are more or fewer than teachers.
    """

    def __init__(self, models: Sequence[keras.Model], weights: Sequence[float] | None, task: Task):
        self.models = list(models)
        self._task = task
        self._weights = None if weights is None else [float(weight) for weight in weights]
        if self._weights is None:
            return
        if not self._weights or not all(weight > 0 for weight in self._weights):
            raise ConfigError(
                f"teacher_weights must be above 0, got {self._weights}; leave such teachers out"
            )
        if self.models and len(self._weights) != len(self.models):
            raise ConfigError(
                f"teacher_weights must be one for each of {len(self.models)} teacher(s), got "
                f"{self._weights}"
            )

    def answer(
        self, x: Any, cached: Tensor, layers: Sequence[keras.Layer]
    ) -> tuple[Tensor, list[Tensor]]:
        """What the teachers say of a batch, in inference mode.

        Args:
          x: The inputs.
          cached: Logits computed before, `[b, c]` or `[b, teachers, c]`; None asks the models.
          layers: Of the first teacher, whose features are wanted.

        Returns:
          Logits `[b, teachers, c]`, and the layers' features.

        Raises:
          ModelError: There is nobody to ask.
        """
        if cached is None and not self.models:
            raise ModelError("no teacher: give teachers, or teacher_logits with the labels")
        answers: list[Tensor] = []
        features: list[Tensor] = []
        if layers:
            first, features = call_with_features(self.models[0], layers, x, training=False)
            answers.append(self._task.widen(first))
        if cached is not None:
            logits = self._task.widen(ops.cast(cached, "float32"))
            logits = logits[:, None] if len(logits.shape) == 2 else logits
        else:
            answers += [
                self._task.widen(teacher(x, training=False))
                for teacher in self.models[len(answers) :]
            ]
            logits = ops.stack(answers, axis=1)
        return ops.stop_gradient(logits), [ops.stop_gradient(each) for each in features]

    def combine(self, outputs: Tensor, temperature: Any) -> Tensor:
        """Outputs `[b, teachers, c]` as those `[b, c]` of one teacher, weighted by the shares.

        What is averaged is the task's: softened probabilities, or values.
        """
        weights = self._weights or [1.0] * outputs.shape[1]
        if len(weights) == 1:
            return outputs[:, 0]
        return self._task.combine(outputs, [each / sum(weights) for each in weights], temperature)
