"""Builders for tables: numbers, categories and tensors, each example one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.models.image import BN_MOMENTUM
from modules.models.inputs import TABLE, Inputs, answer, build, keras_inputs, require, table

if TYPE_CHECKING:
    import keras


def mlp(
    inputs: Inputs,
    output: OutputSpec,
    units: Sequence[int] = (64, 32),
    dropout: float = 0.0,
) -> keras.Model:
    """Student for tables: dense layers with ReLU; categories are embedded.

    Args:
      inputs: Numbers, categories and tensors.
      output: What to answer.
      units: Width of each dense layer.
      dropout: Share of each layer's output dropped while training.
    """
    require(inputs, TABLE, "mlp")
    tensors = keras_inputs(inputs)
    x = dense_features(table(inputs, tensors), units, dropout)
    return build("mlp", tensors, answer(x, output))


def dense_features(x: Any, units: Sequence[int], dropout: float = 0.0, prefix: str = "") -> Any:
    """Dense layers with ReLU, `[b, n]` to `[b, units[-1]]`; the last is called `prefix`features."""
    from keras import layers

    for index, width in enumerate(units, start=1):
        name = f"{prefix}features" if index == len(units) else f"{prefix}dense{index}"
        x = layers.Dense(width, activation="relu", name=name)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return x


def resnet_tabular(
    inputs: Inputs,
    output: OutputSpec,
    width: int = 128,
    blocks: int = 3,
    expansion: float = 2.0,
    dropout: float = 0.2,
) -> keras.Model:
    """Teacher for tables: residual blocks (Gorishniy et al. 2021, 2106.11959).

    Args:
      inputs: Numbers, categories and tensors.
      output: What to answer.
      width: Of the vector that the blocks add to.
      blocks: Their number: normalization, dense layer with ReLU, dropout, dense layer.
      expansion: Width of the block's inner layer in parts of `width`.
      dropout: Share of the inner layer's output dropped while training.
    """
    from keras import layers

    require(inputs, TABLE, "resnet_tabular")
    tensors = keras_inputs(inputs)
    x = layers.Dense(width, name="stem")(table(inputs, tensors))
    for index in range(1, blocks + 1):
        inner = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
        inner = layers.Dense(round(width * expansion), activation="relu")(inner)
        inner = layers.Dense(width)(layers.Dropout(dropout)(inner))
        x = layers.Add(name=f"block{index}")([x, inner])
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    x = layers.ReLU(name="features")(x)
    return build("resnet_tabular", tensors, answer(x, output))
