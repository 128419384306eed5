"""The training model: a student, its hard-label loss and, if there is one, its teacher.

Without a teacher it is ordinary supervised training, which is how the teacher itself and the
control student are trained: one loop for all three.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from modules.losses import Tensor, soft_target_loss
from modules.settings import DistillSettings


class Distiller(keras.Model):
    r"""Minimises :math:`\alpha L_{hard} + (1-\alpha) T^2 \mathrm{KL}(teacher \| student)`.

    The student's own regularisation losses are added as they are. Sample weights apply to both
    terms. The teacher runs in inference mode on the very pixels that the student sees; it is not
    tracked, so it is neither trained, saved nor counted.

    Args:
      student: The model to train, pixels in, logits out.
      teacher: A model of the same interface, or None for `L_hard` alone.
      settings: alpha and temperature; needed with a teacher.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None = None,
        settings: DistillSettings | None = None,
    ):
        super().__init__(name="distiller")
        self.student = student
        self._settings = settings or DistillSettings()
        # A closure, because Keras tracks every model that becomes an attribute.
        self._teach = None if teacher is None else lambda pixels: teacher(pixels, training=False)
        terms = ["hard_loss"] + (["soft_target_loss"] if teacher is not None else [])
        self._terms = {name: keras.metrics.Mean(name=name) for name in terms}
        self._accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")

    def call(self, pixels: Tensor, training: bool | None = None) -> Tensor:
        """The student's logits."""
        return self.student(pixels, training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool | None = True,
    ) -> Tensor:
        """The objective of one batch: pixels `x`, labels `y [b]`, logits `y_pred [b, c]`."""
        hard = keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
        loss = self._mean("hard_loss", hard, sample_weight)
        if self._teach is not None:
            alpha, temperature = self._settings.alpha, self._settings.temperature
            soft = soft_target_loss(y_pred, self._teach(x), temperature)
            soft_mean = self._mean("soft_target_loss", soft, sample_weight)
            loss = alpha * loss + (1 - alpha) * soft_mean
        for penalty in self.losses:
            loss = loss + ops.cast(penalty, loss.dtype)
        return loss

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None
    ) -> dict[str, Any]:
        """The logs of one step: mean loss, its terms, accuracy."""
        self._accuracy.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _mean(self, name: str, values: Tensor, sample_weight: Tensor) -> Tensor:
        """Weighted mean over the batch `[b] -> []`, kept for the logs under its name."""
        self._terms[name].update_state(values, sample_weight)
        if sample_weight is None:
            return ops.mean(values)
        weights = ops.cast(sample_weight, values.dtype)
        return ops.sum(values * weights) / ops.maximum(ops.sum(weights), keras.config.epsilon())
