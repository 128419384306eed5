"""The training loop of teacher, student and control alike."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import keras
import tensorflow as tf

from modules.distiller import Distiller
from modules.errors import DataError
from modules.settings import TrainSettings

_LOG = logging.getLogger("tfx_distill.training")
_SECONDS_BETWEEN_LINES = 2.0


def fit(
    distiller: Distiller,
    training_data: tf.data.Dataset,
    validation_data: tf.data.Dataset,
    settings: TrainSettings,
    log_dir: str,
) -> None:
    """Train `distiller.student` in place; it ends with the weights of the best epoch.

    The best epoch is the one with the lowest loss on `validation_data`, a part of the training
    split: the eval split has no say in it. TensorBoard logs go to `log_dir`.

    Raises:
      DataError: The validation part is empty, or the loss is not finite.
    """
    if settings.epochs == 0:
        _LOG.info("epochs: 0, the weights stay as built")
        return
    if next(iter(validation_data), None) is None:
        raise DataError(
            "no training example falls into the validation part; raise data.validation_fraction "
            "or add examples"
        )
    distiller.compile(
        optimizer=keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay
        ),
        # XLA pays on a GPU; on a CPU it halves the speed of small convolutions.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    distiller.fit(
        training_data,
        validation_data=validation_data,
        epochs=settings.epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(settings, epoch)),
            keras.callbacks.TerminateOnNaN(raise_error=True),
            keras.callbacks.EarlyStopping(
                "val_loss", patience=settings.patience, restore_best_weights=True
            ),
            keras.callbacks.TensorBoard(log_dir, write_graph=False),
            _Progress(settings.epochs),
        ],
    )


def learning_rate(settings: TrainSettings, epoch: int) -> float:
    """The rate of an epoch, counted from 0: constant, or half a cosine down to zero."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))


class _Progress(keras.callbacks.Callback):
    """One line per epoch, but not more than one every two seconds; always the last."""

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs = epochs
        self._last_line = 0.0
        self._line = ""
        self._best: tuple[float, int] = (math.inf, 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        self._best = min(self._best, (float(logs["val_loss"]), epoch + 1))
        self._line = f"epoch {epoch + 1}/{self._epochs}  " + "  ".join(
            f"{name} {logs[name]:.4f}"
            for name in ("loss", "accuracy", "val_loss", "val_accuracy")
            if name in logs
        )
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._flush()
        _LOG.info("best epoch %d (val_loss %.4f)", self._best[1], self._best[0])

    def _flush(self) -> None:
        if self._line:
            _LOG.info("%s", self._line)
            self._line, self._last_line = "", time.monotonic()
