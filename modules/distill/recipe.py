"""How a model learns, besides its objective: optimizer, learning rate, batch statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from modules.settings import TrainSettings

# Batch statistics are means of about 1 / (1 - momentum) steps. Of fewer than ten they follow each
# single batch, of more than a hundred they lag behind the weights.
_FEWEST_STEPS, _MOST_STEPS = 10, 100


def learning_rate(
    settings: TrainSettings,
    epoch: Any,
    cosine: Callable[[Any], Any] = math.cos,
    smaller: Callable[[Any, Any], Any] = min,
    epochs: Any = None,
) -> Any:
    """The rate at a moment of the training.

    It rises linearly over the warm-up. Then it is constant, or falls along half a cosine to zero
    at the end of the last epoch.

    Args:
      settings: Of the training.
      epoch: The moment in epochs, counted from 0; fractions are moments within an epoch.
      cosine: For tensors, theirs.
      smaller: The smaller one of two numbers; for tensors, theirs.
      epochs: Of the training; default: those of the settings.
    """
    epochs = settings.epochs if epochs is None else epochs
    warmup = smaller(settings.warmup_epochs, epochs / 2) if settings.warmup_epochs else 0.0
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        # Before the end of the warm-up, the cosine stands at its beginning.
        done = -smaller(warmup - epoch, 0.0) / (epochs - warmup)
        rate = rate * 0.5 * (1 + cosine(math.pi * done))
    return rate * smaller(epoch / warmup, 1.0) if settings.warmup_epochs else rate


class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of every step, taken at the middle of it.

    It depends on the optimizer's count of steps alone, which is saved with its state: a training
    that is taken up again goes on at the rate of an unbroken one.

    Args:
      settings: Of the training.
      steps_per_epoch: At least 1.
      epochs: A variable, where one compiled training is as long as that says.
    """

    def __init__(
        self,
        settings: TrainSettings,
        steps_per_epoch: int,
        epochs: keras.Variable | None = None,
    ):
        self._settings, self._steps, self._epochs = settings, steps_per_epoch, epochs

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0, as a float32 tensor."""
        epoch = (ops.cast(step, "float32") + 0.5) / self._steps
        epochs = None if self._epochs is None else self._epochs.value
        rate = learning_rate(self._settings, epoch, ops.cos, ops.minimum, epochs)
        return ops.cast(rate, "float32")

    def get_config(self) -> dict[str, Any]:
        """As every schedule's."""
        return {"settings": self._settings, "steps_per_epoch": self._steps}


def make_optimizer(
    settings: TrainSettings, steps_per_epoch: int, epochs: keras.Variable | None = None
) -> keras.optimizers.Optimizer:
    """AdamW (1711.05101) at the rates of the schedule; see `StepSchedule`."""
    optimizer = keras.optimizers.AdamW(
        StepSchedule(settings, steps_per_epoch, epochs),
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip_norm,
    )
    if settings.mixed_precision:
        # Small gradients would vanish in float16.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def batch_norm_momentum(steps_per_epoch: int) -> float:
    """Momentum of running statistics that are means of about one epoch, of 10 to 100 steps."""
    return 1 - 1 / min(max(steps_per_epoch, _FEWEST_STEPS), _MOST_STEPS)


def set_batch_norm_momentum(model: keras.Model, steps_per_epoch: int) -> None:
    """Give all layers of batch normalization that are trained, nested ones too, their momentum."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            layer.momentum = batch_norm_momentum(steps_per_epoch)
