"""Bias correction: an int8 file shall answer, on average, what its original answers.

Rounding does not cancel out: over the layers of a small network it adds up to a constant error of
every output, which was half of the whole error and more. The biases of the last layer can take it
back (Nagel et al. 2019, 1906.04721, who correct every layer; here the last alone did as well).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.export import flatbuffer
from modules.export.float_layers import last_dense


def shift_answers(content: bytes, shift: NDArray[np.float64]) -> bytes:
    """Add to what the last dense layer of an int8 file answers.

    Args:
      content: Of a file.
      shift: `[outputs]`, in units of that layer's outputs.

    Returns:
      The changed file; the same one if it does not end with a dense layer that has biases.
    """
    model = flatbuffer.read(content)
    operator = last_dense(model)
    if operator is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return content
    tensor = model.subgraphs[0].tensors[operator.inputs[2]]
    buffer = model.buffers[tensor.buffer]
    values = bytes(bytearray(buffer.data))
    if tensor.type == flatbuffer.schema.TensorType.INT32:
        limits, scale = np.iinfo(np.int32), np.asarray(tensor.quantization.scale, np.float64)
        steps = np.frombuffer(values, np.int32) + np.rint(shift / scale)
        shifted = np.clip(steps, limits.min, limits.max).astype(np.int32)
    else:  # It stayed in float32.
        shifted = (np.frombuffer(values, np.float32) + shift).astype(np.float32)
    buffer.data = np.frombuffer(shifted.tobytes(), np.uint8)
    return flatbuffer.write(model)
