"""The arms of the study: four ways to train the same student from the same first weights."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from modules.data.spec import DataSpec
from modules.distill.trainer_task import TrainerTask
from modules.distill.training_config import TrainingConfig
from modules.models import zoo
from modules.settings import DistillSettings, MethodSettings

# Soft targets with the customary settings, whatever the project's defaults become.
PLAIN = DistillSettings(alpha=0.1, temperature=4.0, methods=(MethodSettings(name="soft_target"),))
# As many steps in a call as our own trainings take.
_STEPS = 16
_MANY_EPOCHS = 1_000_000


@dataclass(frozen=True)
class Arrays:
    """Examples in memory.

    Attributes:
      inputs: `[n, ...]` by name.
      labels: Class ids `[n]`; of unlabeled examples they mean nothing.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def and_also(self, other: Arrays) -> Arrays:
        """The examples of both."""
        inputs = {
            name: np.concatenate([values, other.inputs[name]])
            for name, values in self.inputs.items()
        }
        return Arrays(inputs, np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Cell:
    """One student to be trained, with what its teacher knows.

    Attributes:
      config: Of the student, its data and the cached soft targets; it distills nothing yet.
      train_files: Patterns of the transformed examples with labels.
      transform_graph: Directory of the preprocessing.
      spec: What is in the examples.
      directory: Where trainings leave their logs and states.
      teacher: The model whose answers are cached, for who asks it in every step.
      labeled: The training part of the labeled examples.
      validation: The part of them on which everything is chosen.
      unlabeled: The other examples; maybe none.
    """

    config: TrainingConfig
    train_files: list[str]
    transform_graph: str
    spec: DataSpec
    directory: Path
    teacher: keras.Model
    labeled: Arrays
    validation: Arrays
    unlabeled: Arrays
    _numbers: Any = field(default_factory=itertools.count)

    def task(self, distill: DistillSettings | None = None, **changes: Any) -> TrainerTask:
        """A training as the pipeline does it; without `distill` from the labels alone."""
        run = self.directory / f"training_{next(self._numbers)}" / "model_run" / "1"
        arguments = SimpleNamespace(
            train_files=self.train_files,
            transform_graph_path=self.transform_graph,
            model_run_dir=str(run),
            hyperparameters=None,
            custom_config=self.config.model_copy(update={"distill": distill, **changes}),
        )
        return TrainerTask(arguments)

    def build(self) -> keras.Model:
        """The untrained student, with the weights that all arms begin with."""
        keras.utils.set_random_seed(self.config.seed)
        return zoo.build_model(self.config.model, self.spec.by_name, self.spec.output)


def control(cell: Cell) -> keras.Model:
    """From the labels alone, in as many steps as the distilled students take."""
    return cell.task().train().model


def plain(cell: Cell) -> keras.Model:
    """Soft targets at T = 4 with alpha = 0.1."""
    return cell.task(distill=PLAIN).distill().model


def keras_distillation(cell: Cell, seconds: float) -> keras.Model:
    """What `keras.distillation` makes of the student in as many seconds as `auto` took.

    Both are seconds of processor time: on a machine that does something else meanwhile, those of a
    clock would favour whichever runs later. A process of the study has one thread to compute with.

    It knows no unlabeled examples. Where there are some, its user could leave them out, or label
    them with the teacher's answers. Both are done, each in half of the time, since `auto` chooses
    and trains in the whole of it; what is better on the validation part counts.
    """
    examples = [cell.labeled]
    if len(cell.unlabeled):
        answers = cell.teacher.predict(cell.unlabeled.inputs, batch_size=256, verbose=0)
        labeled_by_teacher = Arrays(cell.unlabeled.inputs, answers.argmax(-1))
        examples.append(cell.labeled.and_also(labeled_by_teacher))
    tried = [_fit_keras(cell, each, seconds / len(examples)) for each in examples]
    return min(tried, key=lambda student: cross_entropy(student, cell.validation))


def _fit_keras(cell: Cell, examples: Arrays, seconds: float) -> keras.Model:
    """Its documented way, with the optimizer and the choice of epoch of the other arms.

    Its rate falls along half a cosine over its time.
    """
    student, train = cell.build(), cell.config.model.train
    distiller = keras.distillation.Distiller(
        teacher=cell.teacher,
        student=student,
        distillation_losses=keras.distillation.LogitsDistillation(temperature=3.0),
    )
    distiller.compile(
        optimizer=keras.optimizers.AdamW(train.learning_rate, weight_decay=train.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="hard")],
        steps_per_execution=_STEPS,
    )
    best = keras.callbacks.EarlyStopping(
        "val_hard", mode="min", patience=_MANY_EPOCHS, restore_best_weights=True
    )
    distiller.fit(
        examples.inputs,
        examples.labels,
        batch_size=train.batch_size,
        epochs=_MANY_EPOCHS,
        validation_data=(cell.validation.inputs, cell.validation.labels),
        validation_batch_size=256,
        callbacks=[Clock(train.learning_rate, seconds), best],
        verbose=0,
    )
    return student


class Clock(keras.callbacks.Callback):
    """Ends a training with its time, over which the rate falls along half a cosine.

    The time begins behind the first steps, whose compilation is a gift: the seconds of `auto` have
    all of its own in them.
    """

    def __init__(self, rate: float, seconds: float):
        super().__init__()
        self._rate, self._seconds = rate, seconds
        self._begin: float | None = None

    @property
    def passed(self) -> float:
        """The share of the time that is over."""
        return 0.0 if self._begin is None else (time.process_time() - self._begin) / self._seconds

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        rate = self._rate * 0.5 * (1 + math.cos(math.pi * min(1.0, self.passed)))
        self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._begin is None:
            self._begin = time.process_time()
        elif self.passed >= 1:
            self.model.stop_training = True


def logits_of(model: keras.Model, examples: Arrays) -> np.ndarray:
    """`[n, classes]`."""
    return np.asarray(model.predict(examples.inputs, batch_size=512, verbose=0), np.float64)


def cross_entropy(model: keras.Model, examples: Arrays) -> float:
    """The mean over the examples."""
    logits = logits_of(model, examples)
    highest = logits.max(-1, keepdims=True)
    sums = np.log(np.exp(logits - highest).sum(-1)) + highest[:, 0]
    return float((sums - logits[np.arange(len(logits)), examples.labels]).mean())


def joined(batches: Sequence[tuple[Any, Any]], spec: DataSpec) -> Arrays:
    """Batches of inputs and labels as arrays; no batches are no examples."""
    if not batches:
        inputs = {each.name: np.zeros((0, *each.shape), each.dtype) for each in spec.inputs}
        return Arrays(inputs, np.zeros(0, np.int64))
    names = batches[0][0]
    return Arrays(
        {
            name: np.concatenate([np.asarray(inputs[name]) for inputs, _ in batches])
            for name in names
        },
        np.concatenate([np.asarray(labels) for _, labels in batches]),
    )
