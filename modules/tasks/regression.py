"""Regression: values `[b, 1]` in the label's own unit; labels are numbers `[b]`.

Errors are divided by the labels' standard deviation, so that losses and the weights between them
do not depend on the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from modules.errors import ConfigError, DataError
from modules.tasks.protocol import Tensor


class Regression:
    """A number; or several, `[b, c]`, whose losses are summed.

    Args:
      scale: Standard deviation of the labels.

    Raises:
      ConfigError: The scale is not above 0.
    """

    name = "regression"
    score_name = "negative_absolute_error"
    has_logits = False

    def __init__(self, scale: float = 1.0):
        if not 0 < scale < float("inf"):
            raise ConfigError(
                f"scale must be above 0, the standard deviation of the labels, got {scale!r}; "
                "1 leaves the errors as they are"
            )
        self.scale = float(scale)

    def size(self, columns: int) -> int:
        """As many values as columns."""
        return columns

    def widen(self, outputs: Tensor) -> Tensor:
        """Values as they are, with a column where there is none."""
        return ops.reshape(outputs, [-1, 1]) if len(outputs.shape) == 1 else outputs

    def labels(self, labels: Tensor) -> Tensor:
        """One column for each value, `[b, c]`."""
        return ops.reshape(labels, [-1, 1]) if len(labels.shape) == 1 else labels

    def check_labels(self, labels: np.ndarray, size: int | None) -> None:
        """Finite numbers, as many of each example as there are values."""
        columns = labels.size // max(len(labels), 1)
        if labels.size and size not in (None, columns):
            raise DataError(
                f"y must hold {size} number(s) for each example, since the student has as many "
                f"outputs, got {columns}; give both the same number"
            )
        if not np.issubdtype(labels.dtype, np.number) or not np.isfinite(labels).all():
            raise DataError("y must hold finite numbers; remove the examples without a label")

    def hard_loss(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """Half the squared error in units of the scale, `[b]`."""
        error = (ops.cast(labels, outputs.dtype) - outputs) / self.scale
        return 0.5 * ops.sum(ops.square(error), axis=-1)

    def score(self, labels: Tensor, outputs: Tensor) -> Tensor:
        """The absolute error in the label's unit, negated."""
        error = ops.abs(ops.cast(labels, outputs.dtype) - outputs)
        return -ops.cast(ops.mean(error, axis=-1), "float32")

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The values, which have no probability."""
        return outputs

    def combine(self, outputs: Tensor, shares: Sequence[float], temperature: Any) -> Tensor:
        """The weighted mean of the values."""
        weights = ops.reshape(ops.convert_to_tensor(shares, outputs.dtype), [1, -1, 1])
        return ops.sum(outputs * weights, axis=1)
