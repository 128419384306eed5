"""Runs teachers over the training examples once and keeps what they answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from modules.data.augmentation import augment_inputs
from modules.data.examples import ExampleData, Inputs
from modules.data.spec import DataSpec, OutputSpec
from modules.errors import ConfigError
from modules.settings import AugmentSettings
from modules.teachers.answer_store import AnswerStore
from modules.teachers.cache import FileEntry, Layout, write_file, write_manifest

_LOG = logging.getLogger("tfx_distill.soft_targets")
_BATCH = 256

# A Keras model, or what another kind of teacher has answered.
Teacher: TypeAlias = Any
# Ids `[b]` and logits `[b, views + 1, teachers, classes]`.
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Request:
    """What is computed.

    Attributes:
      views: Augmented views of each example; the image as it is always comes with them.
      augment: How views are made.
      seed: Of the views.
      top_k: Logits kept, or None for all.
    """

    views: int
    augment: AugmentSettings
    seed: int
    top_k: int | None = None


def compute(
    teachers: Sequence[Teacher], data: ExampleData, request: Request, directory: str
) -> Layout:
    """Write the answers of all teachers to all training examples, unlabeled ones too, and views.

    Memory does not grow with the number of examples: they are read, answered and written in
    batches.

    Raises:
      ConfigError: `top_k` is not below the number of classes, or there are none.
      DataError: A teacher's answer is not finite.
    """
    layout = layout_of(request, data.spec.output, len(teachers))
    answers, started = Answers(teachers, data, request), time.monotonic()
    tf.io.gfile.makedirs(directory)
    entries = [
        write_file(directory, layout, file, answers.to_file(file))
        for file in (*data.files, *data.unlabeled_files)
    ]
    finish(directory, layout, entries, time.monotonic() - started)
    return layout


def layout_of(request: Request, output: OutputSpec, teachers: int) -> Layout:
    """What a record of the answers holds.

    Raises:
      ConfigError: `top_k` is not below the number of classes, or there are none.
    """
    check_top_k(request.top_k, output)
    # Values have a unit, in which float16 may be too coarse or too small.
    values = "float32" if output.task == "regression" else "float16"
    return Layout(output.size, teachers, request.views, request.top_k, values)


def finish(directory: str, layout: Layout, entries: Sequence[FileEntry], seconds: float) -> None:
    """Write the manifest, and one line to the log."""
    write_manifest(directory, layout, entries)
    _LOG.info(
        "%s examples, %d augmented view(s), %d teacher(s), %.1f s",
        f"{sum(each['examples'] for each in entries):,}",
        layout.views,
        layout.teachers,
        seconds,
    )


class Answers:
    """What the teachers answer to files of examples.

    Args:
      teachers: Models, and answers that are known.
      data: Describes the examples; which files it has does not matter.
      request: What is asked.
    """

    def __init__(self, teachers: Sequence[Teacher], data: ExampleData, request: Request):
        models = [each for each in teachers if not isinstance(each, AnswerStore)]
        # What was answered before knows no views.
        assert len(models) == len(teachers) or not request.views
        self._teachers, self._data = teachers, data
        self._answer = _answering(models, request, data.spec) if models else None

    def to_file(self, file: str) -> Iterator[Batch]:
        """Ids `[b]` and logits `[b, views + 1, teachers, classes]`, in the order of the file."""
        for inputs, _, ids in self._data.of_files([file], _BATCH):
            answered = self._answer(inputs, ids).numpy() if self._answer else None
            yield ids.numpy(), _with_stored(self._teachers, answered, ids.numpy())


def _with_stored(
    teachers: Sequence[Teacher], answered: np.ndarray | None, ids: np.ndarray
) -> np.ndarray:
    """Logits `[b, views + 1, teachers, classes]` of all, given those of the models."""
    of_models = iter(() if answered is None else np.moveaxis(answered, 2, 0))
    return np.stack(
        [
            each.logits(ids)[:, np.newaxis] if isinstance(each, AnswerStore) else next(of_models)
            for each in teachers
        ],
        axis=2,
    )


def check_top_k(top_k: int | None, output: OutputSpec) -> None:
    """Refuse to keep more logits than there are, or a few where all are needed.

    Raises:
      ConfigError: `top_k` is not below the number of classes, or the answers are no
        distribution over classes.
    """
    if top_k is None:
        return
    if output.task not in ("classification", "binary"):
        raise ConfigError(
            f"distill.top_k must not be set for the task {output.task}, whose answers are no "
            "distribution over classes; remove it"
        )
    if top_k >= output.size:
        raise ConfigError(
            f"distill.top_k must be below the number of classes, {output.size}, got {top_k}; "
            "leave it out to keep all logits"
        )


def _answering(
    teachers: Sequence[keras.Model], request: Request, spec: DataSpec
) -> tf.types.experimental.Callable:
    """A compiled function, inputs and ids -> logits `[b, views + 1, teachers, classes]`."""

    @tf.function(reduce_retracing=True)
    def answer(inputs: Inputs, ids: tf.Tensor) -> tf.Tensor:
        shown = []
        for view in range(request.views):
            number = tf.fill(tf.shape(ids), tf.constant(view, tf.int64))
            shown.append(augment_inputs(inputs, spec, ids, number, request.augment, request.seed))
        shown.append(inputs)
        return tf.stack(
            [
                tf.stack([teacher(each, training=False) for teacher in teachers], axis=1)
                for each in shown
            ],
            axis=1,
        )

    return answer
