"""Runs teachers over the training examples once and keeps what they answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from modules.data.augmentation import augment
from modules.data.examples import ExampleData
from modules.errors import ConfigError
from modules.settings import AugmentSettings
from modules.teachers.cache import Layout, Writer

_LOG = logging.getLogger("tfx_distill.soft_targets")
_BATCH = 256


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
    teachers: Sequence[keras.Model], data: ExampleData, request: Request, directory: str
) -> Layout:
    """Write the answers of all teachers to all training examples and views.

    Memory does not grow with the number of examples: they are read, answered and written in
    batches.

    Raises:
      ConfigError: `top_k` is not below the number of classes.
      DataError: A teacher's answer is not finite.
    """
    classes = teachers[0].output_shape[-1]
    check_top_k(request.top_k, classes)
    layout = Layout(classes, len(teachers), request.views, request.top_k)
    answer = _answering(teachers, request)
    writer = Writer(directory, layout)
    started, examples = time.monotonic(), 0

    def batches(file: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal examples
        for pixels, _, ids in data.of_files([file], _BATCH):
            examples += len(ids)
            yield ids.numpy(), answer(pixels, ids).numpy()

    for file in data.files:
        writer.add(file, batches(file))
    writer.close()
    _LOG.info(
        "%s examples, %d augmented view(s), %d teacher(s), %.1f s",
        f"{examples:,}",
        request.views,
        len(teachers),
        time.monotonic() - started,
    )
    return layout


def check_top_k(top_k: int | None, classes: int) -> None:
    """Refuse to keep more logits than there are.

    Raises:
      ConfigError: `top_k` is not below the number of classes.
    """
    if top_k is not None and top_k >= classes:
        raise ConfigError(
            f"distill.top_k must be below the number of classes, {classes}, got {top_k}; "
            "leave it out to keep all logits"
        )


def _answering(teachers: Sequence[keras.Model], request: Request) -> tf.types.experimental.Callable:
    """A compiled function, pixels and ids -> logits `[b, views + 1, teachers, classes]`."""

    @tf.function(reduce_retracing=True)
    def answer(pixels: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        shown = []
        for view in range(request.views):
            number = tf.fill(tf.shape(ids), tf.constant(view, tf.int64))
            shown.append(augment(pixels, ids, number, request.augment, request.seed))
        shown.append(pixels)
        return tf.stack(
            [
                tf.stack([teacher(images, training=False) for teacher in teachers], axis=1)
                for images in shown
            ],
            axis=1,
        )

    return answer
