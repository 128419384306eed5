"""Builders of image models: raw `uint8` pixels in, logits out.

A builder scales the pixels itself, so that what is exported takes raw pixels. Keras is imported
inside the builders: a configuration's model names and parameters are checked before anything
heavy is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modules.errors import ModelError

if TYPE_CHECKING:
    import keras

Shape = tuple[int, int, int]
# Keras' 0.99 averages over hundreds of steps; a small data set has a few dozen in an epoch.
_BN_MOMENTUM = 0.9


def resnet_small(
    input_shape: Shape,
    classes: int,
    widths: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    dropout: float = 0.0,
) -> keras.Model:
    """Residual network for small images (He et al. 2016, 1512.03385, basic blocks).

    Args:
      input_shape: `(height, width, channels)`.
      classes: Number of logits.
      widths: Channels of each stage; every stage but the first halves height and width.
      blocks: Residual blocks per stage, two 3x3 convolutions each. `widths: [16, 32, 64]` and
        `blocks: 3` on 32x32x3 is the ResNet-20 of the paper.
      dropout: Share of the pooled features dropped while training.
    """
    from keras import layers

    inputs, x = _pixels(input_shape, scale=1 / 127.5, offset=-1.0)
    x = _conv_bn_relu(x, widths[0], name="stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1 or x.shape[-1] != width:
                shortcut = layers.Conv2D(width, 1, strides, use_bias=False)(x)
                shortcut = layers.BatchNormalization(momentum=_BN_MOMENTUM)(shortcut)
            x = _conv_bn_relu(x, width, strides=strides)
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=_BN_MOMENTUM)(x)
            x = layers.ReLU(name=f"stage{stage + 1}_block{block + 1}")(layers.Add()([x, shortcut]))
    return _classifier("resnet_small", inputs, x, classes, dropout)


def cnn_small(
    input_shape: Shape,
    classes: int,
    filters: Sequence[int] = (16, 32),
    dropout: float = 0.0,
) -> keras.Model:
    """Small convolutional student: one 3x3 convolution per entry, then the mean over space.

    Args:
      input_shape: `(height, width, channels)`.
      classes: Number of logits.
      filters: Channels of each convolution; every one but the first halves height and width.
      dropout: Share of the pooled features dropped while training.
    """
    inputs, x = _pixels(input_shape, scale=1 / 127.5, offset=-1.0)
    for index, width in enumerate(filters):
        x = _conv_bn_relu(x, width, strides=1 if index == 0 else 2, name=f"block{index + 1}")
    return _classifier("cnn_small", inputs, x, classes, dropout)


def cnn_tutorial(
    input_shape: Shape,
    classes: int,
    filters: Sequence[int] = (32, 64),
    units: int = 64,
) -> keras.Model:
    """The tutorials' network: convolution and pooling blocks, then a dense layer.

    Args:
      input_shape: `(height, width, channels)`, for example 32x32x3.
      classes: Number of logits.
      filters: Channels of each 3x3 convolution; a 2x2 max-pooling follows each.
      units: Width of the dense layer.
    """
    import keras
    from keras import layers

    inputs, x = _pixels(input_shape, scale=1 / 255)
    for index, width in enumerate(filters):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{index + 1}")(x)
    x = layers.Dense(units, activation="relu", name="features")(layers.Flatten()(x))
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="cnn_tutorial")


def resnet50(
    input_shape: Shape,
    classes: int,
    weights: str | None = None,
) -> keras.Model:
    """`keras.applications.ResNet50` with a head of its own; any size from 32x32x3 on.

    Args:
      input_shape: `(height, width, 3)`, at least 32 each.
      classes: Number of logits.
      weights: A `.weights.h5` file for the backbone without its head, or None to start from
        random weights. Nothing is downloaded.
    """
    import keras
    from keras import layers

    if input_shape[2] != 3 or min(input_shape[:2]) < 32:
        raise ModelError(
            f"resnet50 needs images of at least 32x32 with 3 channels, got {input_shape}; "
            "set data.image_size: 32 or more and data.channels: 3"
        )
    if weights is not None and not os.path.isfile(weights):
        # Keras would take a name such as "imagenet" for a download.
        raise ModelError(
            f"resnet50: weights must be an existing .weights.h5 file or null, got {weights!r}; "
            "nothing is downloaded"
        )
    inputs = keras.Input(input_shape, dtype="uint8", name="image")
    # The published weights expect BGR with the ImageNet means taken off.
    x = layers.Lambda(_imagenet_bgr, output_shape=input_shape, name="preprocess")(inputs)
    backbone = keras.applications.ResNet50(
        include_top=False, weights=weights, input_shape=input_shape, pooling="avg"
    )
    logits = layers.Dense(classes, dtype="float32", name="logits")(backbone(x))
    return keras.Model(inputs, logits, name="resnet50")


def _pixels(input_shape: Shape, scale: float, offset: float = 0.0) -> tuple[Any, Any]:
    """The input of raw pixels and the same scaled."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, dtype="uint8", name="image")
    return inputs, layers.Rescaling(scale, offset, name="scale")(inputs)


def _conv_bn_relu(x: Any, filters: int, strides: int = 1, name: str | None = None) -> Any:
    """Convolution, normalization, ReLU; `name` is the ReLU's, by which features are found."""
    from keras import layers

    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU(name=name)(layers.BatchNormalization(momentum=_BN_MOMENTUM)(x))


def _classifier(name: str, inputs: Any, x: Any, classes: int, dropout: float) -> keras.Model:
    import keras
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="features")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    # float32 whatever the policy: a softmax of half-precision logits loses the small classes.
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name=name)


def _imagenet_bgr(pixels: Any) -> Any:
    from keras import ops

    means = ops.convert_to_tensor([103.939, 116.779, 123.68], "float32")
    return ops.flip(ops.cast(pixels, "float32"), axis=-1) - means
