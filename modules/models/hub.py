"""Backbones of KerasHub, from a directory on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.models.inputs import Inputs, answer, build, keras_inputs, require

if TYPE_CHECKING:
    import keras


def keras_hub_backbone(
    inputs: Inputs, output: OutputSpec, preset: str, dropout: float = 0.0
) -> keras.Model:
    """An image backbone of KerasHub with a head of its own; it needs the package `keras-hub`.

    Args:
      inputs: One image, of a size that the backbone takes.
      output: What to answer.
      preset: A directory as `backbone.save_to_preset` writes it, or a download of one; read again
        whenever the model is loaded. The image converter in it says how pixels are scaled.
      dropout: Share of the pooled features dropped while training.
    """
    from keras import layers

    require(inputs, ["image"], "keras_hub_backbone", most=1)
    if not os.path.isdir(preset):
        # KerasHub would take a name such as "resnet_18_imagenet" for a download.
        raise ModelError(
            f"keras_hub_backbone: preset must be an existing directory, got {preset!r}; nothing "
            "is downloaded"
        )
    try:
        import keras_hub
    except ImportError as error:
        raise ModelError(
            "keras_hub_backbone needs the package keras-hub, which cannot be imported "
            f"({str(error).splitlines()[0]}); install it with pip install keras-hub"
        ) from error
    backbone = keras_hub.models.Backbone.from_preset(preset)
    tensors = keras_inputs(inputs)
    (pixels,) = tensors.values()
    x = _pooled(backbone(_scaled(pixels, preset)), preset)
    x = layers.Activation("linear", name="features")(x)
    return build("keras_hub_backbone", tensors, answer(x, output, dropout))


def _scaled(pixels: Any, preset: str) -> Any:
    """The pixels as the preset's image converter scales them; resizing is Transform's."""
    from keras import layers
    from keras_hub.layers import ImageConverter

    try:
        converter = ImageConverter.from_preset(preset)
    except (OSError, ValueError):  # It has none: its backbone takes raw pixels.
        return layers.Rescaling(1.0)(pixels)
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return layers.Rescaling(scale, offset)(pixels)


def _pooled(x: Any, preset: str) -> Any:
    """A feature map or a sequence of patches as one vector."""
    from keras import layers

    rank = len(getattr(x, "shape", ()))
    if rank not in (2, 3, 4):
        raise ModelError(
            f"keras_hub_backbone: the backbone in {preset} must answer a feature map, patches or "
            f"a vector, but answers {x}; write a builder of your own for it"
        )
    pool = {2: layers.Identity, 3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}
    return pool[rank]()(x)
