"""TFLite files in the LiteRT interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modules.export.runtimes.protocol import Form, LoadedModel

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class LiteRT:
    """Answers what Transform emits, on the CPU with the XNNPACK delegate, LiteRT's default."""

    takes: Form = "tensors"
    # The same operations in the same order, whatever the process.
    tolerance = 1e-5

    def prepare_process(self, threads: int) -> None:
        """Import LiteRT; every interpreter has threads of its own."""
        import ai_edge_litert.interpreter  # noqa: F401

    def load(self, path: str, threads: int, batch_size: int) -> LoadedModel:
        """Load a file with one input and one output."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=threads)
        wanted, _ = only_tensors(interpreter)
        shape, dtype = [batch_size, *wanted["shape"][1:].tolist()], np.dtype(wanted["dtype"])
        if batch_size != wanted["shape"][0]:
            interpreter.resize_tensor_input(wanted["index"], shape, strict=False)
        interpreter.allocate_tensors()
        _, given = only_tensors(interpreter)
        if given["shape"][0] != batch_size:
            raise ValueError(f"it answers {given['shape'].tolist()} to a batch of {batch_size}")
        input_index, output_index = wanted["index"], given["index"]

        def query(batch: NDArray[Any]) -> NDArray[Any]:
            interpreter.set_tensor(input_index, batch)
            interpreter.invoke()
            return interpreter.get_tensor(output_index)

        def prepare(examples: Sequence[NDArray[Any]]) -> NDArray[Any]:
            batch = np.ascontiguousarray(examples)
            if batch.dtype != dtype or list(batch.shape) != shape:
                raise ValueError(
                    f"it takes {dtype} {tuple(shape[1:])}, but an example is "
                    f"{batch.dtype} {batch.shape[1:]}; pass what Transform emits"
                )
            return batch

        return LoadedModel(
            query, lambda output: dequantize(output, given["quantization"]), prepare, batch_size
        )


def only_tensors(interpreter: Interpreter) -> tuple[dict[str, Any], dict[str, Any]]:
    """LiteRT's details of the one input and the one output.

    Raises:
      ValueError: There are others.
    """
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError("it must have one input and one output")
    return inputs[0], outputs[0]


def dequantize(values: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    """A tensor's values as real numbers.

    Args:
      values: Of any shape and dtype.
      quantization: Scale and zero point; a scale of 0 means that the tensor is not quantized.
    """
    scale, zero_point = quantization
    values = values.astype(np.float32)
    return (values - zero_point) * np.float32(scale) if scale else values
