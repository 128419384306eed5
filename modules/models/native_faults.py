"""What native code below Keras gets wrong, and how our models get around it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# As many float32 fill a vector of AVX-512; below that, oneDNN writes whole vectors all the same.
_VECTOR = 16


def avoid_narrow_strided_convolutions(model: keras.Model) -> None:
    """Let a strided 1x1 convolution of few channels leave out the pixels it skips beforehand.

    The model's answers stay the same. As it is, its gradient may write outside its memory in
    oneDNN 3.7, which is in TensorFlow 2.21 (oneDNN's issue 6035): see docs/reliability.md.

    Args:
      model: Built; its layers are changed in place.
    """
    import keras

    convolutions = keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D
    for layer in model._flatten_layers():
        if (
            isinstance(layer, convolutions)
            and max(layer.kernel_size) == 1 < max(layer.strides)
            and layer.data_format == "channels_last"
            and layer.kernel.shape[-2] < _VECTOR
        ):
            layer.convolution_op = functools.partial(_convolve_subsampled, layer.strides)


def _convolve_subsampled(strides: tuple[int, ...], inputs: Any, kernel: Any) -> Any:
    import keras

    taken = inputs[:, *(slice(None, None, stride) for stride in strides)]
    return keras.ops.conv(taken, kernel, padding="valid", data_format="channels_last")
