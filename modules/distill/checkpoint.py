"""Training that survives: the whole state of a run in one file, replaced atomically."""

from __future__ import annotations

import io
import json
import math
import os
import time
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.disk import space_for
from modules.distill.averaging import AveragedWeights
from modules.errors import DataError

_FILE = "state.npz"
_META = "__meta__"


class TrainingState(keras.callbacks.Callback):
    """Keeps the best weights, stops early, and saves everything now and then.

    What Keras' EarlyStopping and BackupAndRestore do, in one: their states cannot be saved
    together, and a restored run must stop where an unbroken one would have stopped.

    The best epoch has the lowest cross-entropy on the labels of the validation part, or the highest
    metric and among equal ones the lowest cross-entropy. The whole objective would not do: with
    warm-ups and schedules it is another one in every epoch.

    Args:
      patience: Epochs without a better one before training stops.
      directory: Where the state is saved, or None for nowhere.
      seconds_between_saves: The state is saved after an epoch if the last save is older, and at the
        end.
      saves: Whether this process writes; of several workers only the chief does.
      metric: What decides, as it is called in the logs without `val_`; None: the cross-entropy.
      average: Of the weights; it must be among the callbacks, too. None: the model's own decide.
      first_counted: The first epoch, counted from 0, that may be the best one. Until then nothing
        stops.
      chooses: Whether the validation part decides. If not, the last epoch is kept.

    Attributes:
      first_epoch: Where training begins: 0, or behind the last saved epoch.
      epoch: How many epochs are done.
      best_epoch: Counted from 1; 0 before the first.
      best_loss: Of that epoch.
      best_metric: Of that epoch, if one decides.
    """

    def __init__(
        self,
        patience: int,
        directory: str | None,
        seconds_between_saves: float = 30.0,
        saves: bool = True,
        *,
        metric: str | None = None,
        average: AveragedWeights | None = None,
        first_counted: int = 0,
        chooses: bool = True,
    ):
        super().__init__()
        self._patience = patience
        self._chooses = chooses
        self._first_counted = first_counted
        self._directory = directory
        self._interval = seconds_between_saves
        self._saves = saves
        self._metric = metric
        self._last_save = time.monotonic()
        self._best_weights: list[np.ndarray] = []
        self.first_epoch = self.epoch = 0
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_metric = -math.inf
        self.average = average

    def restore(self, model: keras.Model) -> bool:
        """Take up a saved run, if there is one; `model` must be compiled.

        Raises:
          DataError: The saved state does not fit the model or is damaged.
        """
        path = self._path()
        if path is None or not tf.io.gfile.exists(path):
            return False
        variables = _variables(model)
        try:
            with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as saved:
                meta = json.loads(str(saved[_META]))
                arrays = [saved[f"v{index}"] for index in range(len(variables))]
                best = [saved[f"b{index}"] for index in range(meta["best_count"])]
                averages = [saved[f"a{index}"] for index in range(meta["average_count"])]
            for variable, array in zip(variables, arrays, strict=True):
                if tuple(variable.shape) != array.shape:
                    raise ValueError(f"{variable.path} is {variable.shape}, saved {array.shape}")
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            zipfile.BadZipFile,
            tf.errors.OpError,
        ) as error:
            raise DataError(
                f"{path}: the saved training cannot be taken up ({error}); remove the file to "
                "train from the beginning"
            ) from error
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self._best_weights = best
        self.first_epoch = self.epoch = meta["epoch"]
        self.best_epoch, self.best_loss = meta["best_epoch"], meta["best_loss"]
        self.best_metric = meta["best_metric"]
        if self.average is not None:
            self.average.values, self.average.updates = averages, meta["average_updates"]
        return True

    @property
    def finished(self) -> bool:
        """Whether the saved run had already stopped early."""
        return self.best_epoch > 0 and self._is_out_of_patience

    @property
    def _is_out_of_patience(self) -> bool:
        return self.epoch - max(self.best_epoch, self._first_counted) >= self._patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare, perhaps stop, perhaps save."""
        logs = logs or {}
        loss = float(logs["val_hard_loss"])
        metric = -math.inf if self._metric is None else float(logs[f"val_{self._metric}"])
        self.epoch = epoch + 1
        better = (metric, -loss) > (self.best_metric, -self.best_loss) or not self._chooses
        if better and epoch >= self._first_counted:
            self.best_metric, self.best_loss, self.best_epoch = metric, loss, self.epoch
            with nullcontext() if self.average is None else self.average.applied():
                self._best_weights = [np.array(weights) for weights in self.model.get_weights()]
        if self._is_out_of_patience:
            self.model.stop_training = True
        if time.monotonic() - self._last_save >= self._interval:
            self.save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save, so that no failure of what comes next costs the training; take the best weights."""
        self.save()
        self.set_best_weights(self.model)

    @property
    def kept(self) -> str:
        """Which epoch was kept, and why, for a person."""
        if not self._chooses:
            return f"last epoch {self.best_epoch}, too few validation examples to choose one"
        metric = "" if self._metric is None else f"val_{self._metric} {self.best_metric:.4f}, "
        return f"best epoch {self.best_epoch} ({metric}val_hard_loss {self.best_loss:.4f})"

    def set_best_weights(self, model: keras.Model) -> None:
        """Give the model the weights of its best epoch."""
        if self._best_weights:
            model.set_weights(self._best_weights)

    def save(self) -> None:
        """Write the state: aside, flushed, renamed.

        Raises:
          UserError: The disk is full; the last state stays.
        """
        path = self._path()
        if path is None or not self._saves:
            return
        averages = [] if self.average is None else self.average.values
        meta = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best_metric": self.best_metric,
            "best_count": len(self._best_weights),
            "average_count": len(averages),
            "average_updates": 0 if self.average is None else self.average.updates,
        }
        arrays = {f"v{index}": value.numpy() for index, value in _numbered(_variables(self.model))}
        arrays[_META] = np.array(json.dumps(meta))
        arrays |= {f"b{index}": weights for index, weights in enumerate(self._best_weights)}
        arrays |= {f"a{index}": weights for index, weights in enumerate(averages)}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        aside = f"{path}.{os.getpid()}"
        with space_for(aside, buffer.tell(), "the state of the training"):
            tf.io.gfile.makedirs(str(self._directory))
            with tf.io.gfile.GFile(aside, "wb") as file:
                file.write(buffer.getvalue())
            tf.io.gfile.rename(aside, path, overwrite=True)
        self._last_save = time.monotonic()

    def _path(self) -> str | None:
        return None if self._directory is None else os.path.join(self._directory, _FILE)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All that training changes: weights, batch statistics, random states, the optimizer's."""
    return [*model.variables, *model.optimizer.variables]


def _numbered(variables: Sequence[keras.Variable]) -> list[tuple[int, Any]]:
    return [(index, variable.value) for index, variable in enumerate(variables)]
