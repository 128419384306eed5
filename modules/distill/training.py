"""The training loop of teacher, student and control alike."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from modules.data.examples import ExampleData, Order, View
from modules.data.spec import OutputSpec
from modules.distill.averaging import AveragedWeights
from modules.distill.checkpoint import TrainingState
from modules.distill.distiller import Distiller
from modules.distill.monitor import make_metric
from modules.distill.quantization_aware import QuantizationAware, first_aware_epoch
from modules.distill.recipe import learning_rate, make_optimizer, set_batch_norm_momentum
from modules.errors import DataError, ModelError
from modules.models.forest import Examples, FitAtOnce
from modules.settings import TrainSettings
from modules.teachers.cache import ID_MISMATCH

_LOG = logging.getLogger("tfx_distill.training")
# In the directory of the logs: how many examples a training learns from.
COUNTS_FILE = "examples.json"
# Of 74 examples, 3 were held out: they took the first of 300 epochs for the best one.
FEWEST_VALIDATION = 10
# What is held in memory of a model that is not trained in steps.
_MOST_AT_ONCE = 1_000_000
_SECONDS_BETWEEN_LINES = 2.0
# Steps run in one call of the compiled function. Small models gain; the progress is per epoch.
_STEPS_PER_EXECUTION = 16
# What a collective operation raises where another worker does not answer any more.
_LOST_WORKER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Plan:
    """How one training run goes.

    Attributes:
      settings: Epochs, batch size, optimizer.
      seed: Of the order of the examples and of the views.
      log_dir: For TensorBoard; None writes no logs and no lines of progress.
      state_dir: Where the run's state is saved to be taken up again, or None.
      view: The augmented views, or None.
      chief: Whether this process writes; of several workers one does.
      seconds_between_saves: See `TrainingState`.
      quantization_aware: Whether the last epochs are; the best one is then one of them.
    """

    settings: TrainSettings
    seed: int
    log_dir: str | None
    state_dir: str | None = None
    view: View | None = None
    chief: bool = True
    seconds_between_saves: float = 30.0
    quantization_aware: bool = False


def fit(distiller: Distiller, data: ExampleData, plan: Plan) -> None:
    """Train `distiller.student` in place; it ends with the weights of the best epoch.

    A Distiller that is compiled already stays so.

    The best epoch is the one with the lowest cross-entropy, or the highest metric, on the
    validation part of the training split: the eval split has no say in it. Fewer than
    `FEWEST_VALIDATION` examples decide nothing; then it is the last one. A run that was killed
    goes on behind its last saved epoch, and one that was done is not trained again. How many
    examples it learns from is written beside the logs.

    Raises:
      DataError: The validation part is empty, or the cached logits are damaged.
      ModelError: The loss is not finite, or another worker was lost.
    """
    settings = plan.settings
    if settings.epochs == 0:
        _LOG.info("epochs: 0, the weights stay as built")
        return
    validation = _checked_validation(data, settings.batch_size)
    if plan.chief and plan.log_dir is not None:
        _write_counts(data, settings, plan.log_dir)
    steps = steps_per_epoch(data, settings)
    if not distiller.compiled:
        compile_distiller(distiller, settings, steps)
    state = _training_state(distiller, plan, steps, chooses=can_choose(validation))
    if state.restore(distiller):
        _LOG.info("taken up again behind epoch %d", state.first_epoch)
    if state.first_epoch < settings.epochs and not state.finished:
        epochs = range(state.first_epoch, settings.epochs)
        training = data.training(Order(settings.batch_size, plan.seed, epochs), plan.view)
        _fit(distiller, training, steps, validation, plan, state)
    else:
        state.set_best_weights(distiller)


def fit_at_once(
    model: keras.Model, fit: FitAtOnce, data: ExampleData, plan: Plan, output: OutputSpec
) -> None:
    """Train a model that takes no steps: all its labeled examples are given to it at once.

    Neither epochs, views nor the validation part have a say.

    Raises:
      DataError: There is no labeled example, or the data are damaged.
    """
    _checked_validation(data, plan.settings.batch_size)
    if plan.chief and plan.log_dir is not None:
        _write_counts(data, plan.settings, plan.log_dir)
    inputs, labels, weights = data.labeled(_MOST_AT_ONCE)
    fit(model, Examples(inputs, labels, weights), output, plan.seed)


def can_choose(validation: tf.data.Dataset) -> bool:
    """Whether the validation part, as `ExampleData` has it, says which epoch or model is better."""
    sizes = (int(tf.shape(y["label"])[0]) for _, y, *_ in validation)
    return any(size >= FEWEST_VALIDATION for size in itertools.accumulate(sizes))


def steps_per_epoch(data: ExampleData, settings: TrainSettings) -> int:
    """How many batches make an epoch; the first call reads all examples."""
    return math.ceil(data.training_count() / settings.batch_size)


def compile_distiller(
    distiller: Distiller,
    settings: TrainSettings,
    steps: int = 1,
    epochs: keras.Variable | None = None,
) -> None:
    """Give the model its optimizer, its metric if one decides, and its way of running.

    Its batch normalization gets its momentum, too. `epochs` is as in `StepSchedule`.
    """
    if settings.batch_norm == "steps":
        set_batch_norm_momentum(distiller.student, steps)
    # Keras' loop over several steps does not compile with the workers' collectives in it.
    workers = isinstance(distiller.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)
    distiller.monitored = _metric(distiller, settings)
    distiller.compile(
        make_optimizer(settings, steps, epochs),
        steps_per_execution=1 if workers else _STEPS_PER_EXECUTION,
    )


def _metric(distiller: Distiller, settings: TrainSettings) -> keras.metrics.Metric | None:
    """What decides besides the loss, if anything does."""
    if settings.monitor == "loss":
        return None
    outputs = distiller.task.size(distiller.student.output_shape[-1])
    return make_metric(distiller.task, outputs)


def _training_state(distiller: Distiller, plan: Plan, steps: int, chooses: bool) -> TrainingState:
    """What keeps an epoch's weights, by the settings; the model must be compiled."""
    settings, average = plan.settings, None
    metric = distiller.monitored
    if settings.average:
        layers = [distiller.student, *distiller.projectors.values()]
        reach = settings.average * settings.epochs * steps
        average = AveragedWeights([each for layer in layers for each in layer.weights], reach)
    return TrainingState(
        settings.patience,
        plan.state_dir,
        plan.seconds_between_saves,
        saves=plan.chief,
        metric=None if metric is None else metric.name,
        average=average,
        first_counted=first_aware_epoch(settings.epochs) if plan.quantization_aware else 0,
        chooses=chooses,
    )


def _checked_validation(data: ExampleData, batch_size: int) -> tf.data.Dataset:
    """The validation part, after all data have been read once before the first step."""
    try:
        data.training_count()
        validation = data.validation(batch_size)
        held_out = int(validation.cardinality())
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
        raise DataError(f"the training data are damaged: {_reason(error)}") from error
    for count, part, remedy in (
        (data.labeled_count, "training", "lower"),
        (held_out, "validation", "raise"),
    ):
        if not count:
            raise DataError(
                f"no example of the training split falls into the {part} part; {remedy} "
                "data.validation_fraction or add examples"
            )
    return validation


def _write_counts(data: ExampleData, settings: TrainSettings, log_dir: str) -> None:
    """For the report, which reads it as `LearnedFrom`."""
    counts = {
        "labeled": data.labeled_count,
        "unlabeled": data.unlabeled_count,
        "steps_per_epoch": math.ceil(data.training_count() / settings.batch_size),
    }
    tf.io.gfile.makedirs(log_dir)
    with tf.io.gfile.GFile(os.path.join(log_dir, COUNTS_FILE), "w") as file:
        file.write(json.dumps(counts))


def _reason(error: tf.errors.OpError) -> str:
    """What is wrong, out of a message that begins with the place in the graph."""
    if ID_MISMATCH in error.message:
        return ID_MISMATCH
    return " ".join(error.message.split("}} ")[-1].split())[:200]


def _fit(
    distiller: Distiller,
    training: tf.data.Dataset,
    steps: int,
    validation: tf.data.Dataset,
    plan: Plan,
    state: TrainingState,
) -> None:
    settings = plan.settings
    callbacks: list[keras.callbacks.Callback] = []
    if plan.quantization_aware:
        callbacks.append(QuantizationAware(first_aware_epoch(settings.epochs)))
    callbacks += [
        _RateInLogs(settings),
        _FiniteLoss(),
        *([] if state.average is None else [state.average]),
        state,
    ]
    if plan.chief and plan.log_dir is not None:
        callbacks += [
            keras.callbacks.TensorBoard(plan.log_dir, write_graph=False),
            _Progress(settings.epochs, state),
        ]
    try:
        distiller.fit(
            training,
            steps_per_epoch=steps,
            validation_data=validation,
            epochs=settings.epochs,
            initial_epoch=state.first_epoch,
            verbose=0,
            callbacks=callbacks,
        )
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
        if ID_MISMATCH not in error.message and not isinstance(error, tf.errors.DataLossError):
            raise
        raise DataError(f"the training data are damaged: {_reason(error)}") from error
    except _LOST_WORKER as error:
        raise ModelError(
            f"another worker was lost ({_reason(error)}); start all workers again, training "
            "goes on behind its last saved epoch"
        ) from error


class _RateInLogs(keras.callbacks.Callback):
    """Puts the learning rate with which an epoch begins into its logs."""

    def __init__(self, settings: TrainSettings):
        super().__init__()
        self._settings = settings

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(learning_rate(self._settings, epoch))


class _FiniteLoss(keras.callbacks.Callback):
    """Ends a training that has gone astray, with a sentence."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            if name.endswith("loss") and not math.isfinite(float(value)):
                raise ModelError(
                    f"{name} is {float(value)} after epoch {epoch + 1}; lower train.learning_rate "
                    "or the weights of the distillation methods"
                )


class _Progress(keras.callbacks.Callback):
    """One line per epoch, but not more than one every two seconds; always the last."""

    def __init__(self, epochs: int, state: TrainingState):
        super().__init__()
        self._epochs = epochs
        self._state = state
        self._last_line = 0.0
        self._line = ""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs, score = logs or {}, self.model.task.score_name
        self._line = f"epoch {epoch + 1}/{self._epochs}  " + "  ".join(
            f"{name} {float(logs[name]):.4f}"
            for name in ("loss", score, "val_hard_loss", f"val_{score}")
        )
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._flush()
        _LOG.info("%s", self._state.kept)

    def _flush(self) -> None:
        if self._line:
            _LOG.info("%s", self._line)
            self._line, self._last_line = "", time.monotonic()
