"""Bias correction: an int8 file shall answer, on average, what its original answers.

Rounding does not cancel out: over the layers of a small network it adds up to a constant error of
every output, which was half of the whole error and more. The biases of the last layer, 32 bits
wide, can take it back exactly (Nagel et al. 2019, 1906.04721, who correct every layer; here the
last alone did better, and costs one pass).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.export import flatbuffer

# What may follow the last layer: the answer's own scale.
_BEHIND = {"DEQUANTIZE", "QUANTIZE", "MUL", "ADD", "SUB", "RESHAPE"}


def shift_answers(content: bytes, shift: NDArray[np.float64]) -> bytes:
    """Add to what the last dense layer of an int8 file answers.

    Args:
      content: Of a file.
      shift: `[outputs]`, in units of that layer's outputs.

    Returns:
      The changed file; the same one if it does not end with a dense layer that has biases.
    """
    model = flatbuffer.read(content)
    operator = _last_layer(model)
    if operator is None or len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return content
    tensor = model.subgraphs[0].tensors[operator.inputs[2]]
    buffer, scale = model.buffers[tensor.buffer], tensor.quantization and tensor.quantization.scale
    if scale is None or tensor.type != flatbuffer.schema.TensorType.INT32:
        return content
    steps = np.frombuffer(bytes(bytearray(buffer.data)), np.int32) + np.rint(shift / scale)
    limits = np.iinfo(np.int32)
    shifted = np.clip(steps, limits.min, limits.max).astype(np.int32)
    buffer.data = np.frombuffer(shifted.tobytes(), np.uint8)
    return flatbuffer.write(model)


def _last_layer(model: Any) -> Any:
    """The dense layer that the answer comes from, or None."""
    graph = model.subgraphs[0]
    producers = {operator.outputs[0]: operator for operator in graph.operators}
    at = graph.outputs[0]
    while at in producers:
        operator = producers[at]
        name = flatbuffer.operation_name(model, operator)
        if name == "FULLY_CONNECTED":
            return operator
        if name not in _BEHIND:
            return None
        at = next((index for index in operator.inputs if index in producers), -1)
    return None
