"""What a model answers to the validation part, example by example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from modules.tasks.protocol import Task


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """Labels, answers and losses in the order of the data.

    Attributes:
      labels: `[n]` or `[n, c]`.
      outputs: Logits or values `[n, c]`.
      losses: Hard loss `[n]`.
      weights: `[n]`, or None where all examples count alike.
    """

    labels: np.ndarray
    outputs: np.ndarray
    losses: np.ndarray
    weights: np.ndarray | None


def held_out_answers(
    batches: tf.data.Dataset, answer: Callable[[Any, Any], Any], task: Task
) -> HeldOutAnswers:
    """Ask all batches.

    Args:
      batches: `(inputs, y)` or `(inputs, y, weights)`, as `ExampleData.validation` has them; at
        least one.
      answer: Gives the outputs `[b, c]` to a batch's inputs and `y`.
      task: Whose loss it is.
    """
    labels, outputs, losses, weights = [], [], [], []
    for inputs, y, own_weights in _in(batches):
        answered = task.widen(tf.cast(answer(inputs, y), tf.float32))
        labels.append(y["label"])
        outputs.append(answered)
        losses.append(task.hard_loss(task.labels(y["label"]), answered))
        if own_weights is not None:
            weights.append(own_weights)
    return HeldOutAnswers(
        labels=np.concatenate(labels),
        outputs=np.concatenate(outputs),
        losses=np.concatenate(losses),
        weights=np.concatenate(weights) if weights else None,
    )


def _in(batches: tf.data.Dataset) -> Iterator[tuple[Any, Any, Any]]:
    """Inputs, labels and weights of each batch; None where the data have no weights."""
    for inputs, y, *weights in batches:
        yield inputs, y, weights[0] if weights else None
