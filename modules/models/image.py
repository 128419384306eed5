"""Builders of image models: raw `uint8` pixels in.

A builder scales the pixels itself, so that what is exported takes raw pixels. Keras is imported
inside the builders: a configuration's model names and parameters are checked before anything
heavy is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.models.inputs import Inputs, answer, build, keras_inputs, require

if TYPE_CHECKING:
    import keras

# Keras' 0.99 averages over hundreds of steps; a small data set has a few dozen in an epoch.
BN_MOMENTUM = 0.9
_LARGE_IMAGE = 64


def separable_cnn(
    inputs: Inputs,
    output: OutputSpec,
    filters: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    dropout: float = 0.0,
) -> keras.Model:
    """Student for images of any size: depthwise-separable convolutions (MobileNet, 1704.04861).

    Args:
      inputs: One image.
      output: What to answer.
      filters: Channels of the first convolution, then of each stage. Every stage halves height and
        width, and so does the first convolution from 64 pixels on; take as many stages as bring
        the image down to about 4x4, so that the last one sees all of it.
      blocks: Separable convolutions per stage; the second and further ones are residual.
      dropout: Share of the pooled features dropped while training.
    """
    tensors, x = _one_image(inputs, "separable_cnn")
    x = separable_features(x, filters, blocks)
    return build("separable_cnn", tensors, answer(x, output, dropout))


def separable_features(
    pixels: Any, filters: Sequence[int], blocks: int = 1, prefix: str = ""
) -> Any:
    """What `separable_cnn` makes of raw pixels, `[b, filters[-1]]`; layers are called `prefix`…."""
    from keras import layers

    x = _scaled(pixels, prefix)
    strides = 2 if min(x.shape[1:3]) >= _LARGE_IMAGE else 1
    x = _conv_bn_relu(x, filters[0], strides, name=f"{prefix}block1")
    for stage, width in enumerate(filters[1:], start=2):
        for block in range(blocks):
            # The name is that of the stage's last block, whatever their number.
            name = f"{prefix}block{stage}" if block == blocks - 1 else None
            x = _separable_block(x, width, strides=1 if block else 2, name=name)
    return layers.GlobalAveragePooling2D(name=f"{prefix}features")(x)


def _separable_block(x: Any, width: int, strides: int, name: str | None) -> Any:
    from keras import layers

    shortcut = x
    x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
    x = layers.Conv2D(width, 1, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
    return layers.ReLU(name=name)(layers.Add()([x, shortcut]) if strides == 1 else x)


def resnet_small(
    inputs: Inputs,
    output: OutputSpec,
    widths: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    dropout: float = 0.0,
) -> keras.Model:
    """Residual network for small images (He et al. 2016, 1512.03385, basic blocks).

    Args:
      inputs: One image.
      output: What to answer.
      widths: Channels of each stage; every stage but the first halves height and width.
      blocks: Residual blocks per stage, two 3x3 convolutions each. `widths: [16, 32, 64]` and
        `blocks: 3` on 32x32x3 is the ResNet-20 of the paper.
      dropout: Share of the pooled features dropped while training.
    """
    from keras import layers

    tensors, x = _one_image(inputs, "resnet_small")
    x = _conv_bn_relu(_scaled(x), widths[0], name="stem")
    for stage, width in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x
            if strides != 1 or x.shape[-1] != width:
                shortcut = layers.Conv2D(width, 1, strides, use_bias=False)(x)
                shortcut = layers.BatchNormalization(momentum=BN_MOMENTUM)(shortcut)
            x = _conv_bn_relu(x, width, strides=strides)
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=BN_MOMENTUM)(x)
            x = layers.ReLU(name=f"stage{stage + 1}_block{block + 1}")(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return build("resnet_small", tensors, answer(x, output, dropout))


def cnn_tutorial(
    inputs: Inputs,
    output: OutputSpec,
    filters: Sequence[int] = (32, 64),
    units: int = 64,
) -> keras.Model:
    """The tutorials' network: convolution and pooling blocks, then a dense layer.

    Args:
      inputs: One image, for example 32x32x3.
      output: What to answer.
      filters: Channels of each 3x3 convolution; a 2x2 max-pooling follows each.
      units: Width of the dense layer.
    """
    from keras import layers

    tensors, x = _one_image(inputs, "cnn_tutorial")
    x = _scaled(x, scale=1 / 255, offset=0.0)
    for index, width in enumerate(filters):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{index + 1}")(x)
    x = layers.Dense(units, activation="relu", name="features")(layers.Flatten()(x))
    return build("cnn_tutorial", tensors, answer(x, output))


def _one_image(inputs: Inputs, builder: str) -> tuple[dict[str, Any], Any]:
    """The Keras inputs, and the only one of them."""
    require(inputs, ["image"], builder, most=1)
    tensors = keras_inputs(inputs)
    return tensors, *tensors.values()


def _scaled(pixels: Any, prefix: str = "", scale: float = 1 / 127.5, offset: float = -1.0) -> Any:
    from keras import layers

    return layers.Rescaling(scale, offset, name=f"{prefix}scale")(pixels)


def _conv_bn_relu(x: Any, filters: int, strides: int = 1, name: str | None = None) -> Any:
    """Convolution, normalization, ReLU; `name` is the ReLU's, by which features are found."""
    from keras import layers

    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU(name=name)(layers.BatchNormalization(momentum=BN_MOMENTUM)(x))
