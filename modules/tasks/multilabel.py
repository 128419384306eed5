"""Multilabel: any of `c` labels, each answered by a logit of its own, `[b, c]`.

Labels are multi-hot `[b, c]`, or probabilities. Losses are summed over the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from modules.errors import DataError
from modules.tasks.protocol import Tensor


class Multilabel:
    """Any number of several labels."""

    name = "multilabel"
    score_name = "accuracy"
    has_logits = True
    scale = 1.0

    def size(self, columns: int) -> int:
        """As many labels as columns."""
        return columns

    def widen(self, outputs: Tensor) -> Tensor:
        """Logits as they are."""
        return outputs

    def labels(self, labels: Tensor) -> Tensor:
        """Multi-hot `[b, c]`, as they are."""
        return labels

    def check_labels(self, labels: np.ndarray, size: int | None) -> None:
        """A column for each label, of numbers from 0 to 1."""
        if labels.ndim != 2 or size not in (None, labels.shape[1]):
            raise DataError(
                f"y must have the shape [examples, {size or 'labels'}], a 0 or 1 for each label, "
                f"got {list(labels.shape)}; give multi-hot rows"
            )
        if labels.size and not (labels.min() >= 0 and labels.max() <= 1):
            raise DataError(
                f"y must hold 0 or 1 for each label, got numbers from {labels.min()} to "
                f"{labels.max()}; give multi-hot rows"
            )

    def hard_loss(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """Binary cross-entropy with the labels, summed over them, `[b]` in nats."""
        truth = ops.cast(labels, outputs.dtype)
        # -y log s(z) - (1 - y) log s(-z); log s(-z) = log s(z) - z.
        return ops.sum(outputs * (1 - truth) - ops.log_sigmoid(outputs), axis=-1)

    def score(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """Share of the labels on whose right side of 0.5 the probability is."""
        right = ops.equal(outputs > 0, ops.cast(labels, outputs.dtype) > 0.5)
        return ops.mean(ops.cast(right, "float32"), axis=-1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Sigmoid of each logit."""
        return ops.sigmoid(outputs)

    def combine(self, outputs: Tensor, shares: Sequence[float], temperature: Any) -> Tensor:
        """The logit of the mean of the softened probabilities, label by label, times T."""
        logs = ops.reshape(ops.log(ops.convert_to_tensor(shares)), [1, -1, 1])
        softened = outputs / temperature
        positive, negative = (
            ops.logsumexp(ops.log_sigmoid(each) + logs, axis=1) for each in (softened, -softened)
        )
        return temperature * (positive - negative)
