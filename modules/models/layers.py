"""Keras layers of the builders: operations that TFLite has as builtins, for integers too.

Divisions and casts of integers to floats have no int8 form; constants are looked up instead.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

_PACKAGE = "tfx_distill"


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Standardization(layers.Layer):
    """`(value - mean) / deviation` of every value, flattened to `[b, n]`.

    In float32 whatever the policy: raw numbers may be larger than float16 can tell.

    Args:
      mean: Subtracted first, so that a large mean costs no digits.
      deviation: Above 0.
      **kwargs: As of every layer.
    """

    def __init__(self, mean: float = 0.0, deviation: float = 1.0, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.mean, self.deviation = mean, deviation

    def call(self, inputs: Any) -> Any:
        """`[b, …]` numbers to float32 `[b, n]`."""
        size = int(np.prod(inputs.shape[1:]))
        x = ops.cast(ops.reshape(inputs, (-1, size)), "float32")
        if (self.mean, self.deviation) == (0.0, 1.0):
            return x
        return (x - self.mean) * (1 / self.deviation)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class OneHot(layers.Layer):
    """Ids `int32 [b, …]` to float vectors `[b, …, size]` of zeros with a single 1.

    Args:
      size: Number of different ids.
      **kwargs: As of every layer.
    """

    def __init__(self, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = size

    def call(self, ids: Any) -> Any:
        """Look the rows up."""
        return ops.take(ops.eye(self.size, dtype=self.compute_dtype), ids, axis=0)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Present(layers.Layer):
    """1 where there is an id, 0 at padding: ids `int32 [b, k]` to `[b, k, 1]`.

    With `share`, 1 / the number of ids of the example instead of 1: what is multiplied by it and
    summed over k is a mean without padding, and 0 where there is nothing but padding.

    Args:
      share: See above.
      **kwargs: As of every layer.
    """

    def __init__(self, share: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.share = share

    def call(self, ids: Any) -> Any:
        """Look up 0 or 1, and 1 / n."""
        present = ops.minimum(ids, 1)
        answer = self._look_up([0.0, 1.0], present)
        if self.share:
            inverse = [0.0, *(1 / n for n in range(1, ids.shape[1] + 1))]
            answer *= self._look_up(inverse, ops.sum(present, axis=1, keepdims=True))
        return answer

    def _look_up(self, values: list[float], indices: Any) -> Any:
        return ops.take(ops.array(values, self.compute_dtype)[:, None], indices, axis=0)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "share": self.share}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Positions(layers.Layer):
    """Adds a learned vector for each position to `[b, length, width]`."""

    def build(self, shape: Any) -> None:
        """One vector per position."""
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x: Any) -> Any:
        """The sum."""
        return x + ops.cast(self.vectors, self.compute_dtype)
