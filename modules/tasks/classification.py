"""Classification: one of `c` classes, answered by logits `[b, c]`.

Labels are class ids `[b]` or probabilities `[b, c]`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def hard_loss(labels: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy with the labels, `[b]` in nats."""
    if _are_probabilities(labels):
        return keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def hits(labels: Tensor, logits: Tensor) -> Tensor:
    """1 where the most probable class is the label's most probable one, else 0; float32 `[b]`."""
    truth = ops.argmax(labels, axis=-1) if _are_probabilities(labels) else labels
    return ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(truth, "int32")), "float32")


def _are_probabilities(labels: Tensor) -> bool:
    return len(labels.shape) == 2
