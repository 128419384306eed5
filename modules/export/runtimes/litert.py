"""TFLite files in the LiteRT interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modules.export.runtimes.protocol import Form, LoadedModel, Tensors

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SIGNATURE = "serving_default"


class LiteRT:
    """Answers what Transform emits, on the CPU with the XNNPACK delegate, LiteRT's default."""

    takes: Form = "tensors"
    # The same operations in the same order, whatever the process.
    tolerance = 1e-5

    def prepare_process(self, threads: int) -> None:
        """Import LiteRT; every interpreter has threads of its own."""
        import ai_edge_litert.interpreter  # noqa: F401

    def load(self, path: str, threads: int, batch_size: int) -> LoadedModel:
        """Load a file with the signature `serving_default`, of any inputs and one output."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=threads)
        inputs, _ = signature_tensors(interpreter)
        for wanted in inputs.values():
            if batch_size != wanted["shape"][0]:
                shape = [batch_size, *wanted["shape"][1:]]
                interpreter.resize_tensor_input(wanted["index"], shape, strict=False)
        interpreter.allocate_tensors()
        inputs, given = signature_tensors(interpreter)
        if given["shape"][0] != batch_size:
            # An operation may compute a shape, which is then known after an answer alone.
            for wanted in inputs.values():
                interpreter.set_tensor(wanted["index"], np.zeros(wanted["shape"], wanted["dtype"]))
            interpreter.invoke()
            inputs, given = signature_tensors(interpreter)
        if given["shape"][0] != batch_size:
            raise ValueError(f"it answers {given['shape'].tolist()} to a batch of {batch_size}")
        set_tensor, output = interpreter.set_tensor, given["index"]

        def query(batch: Sequence[tuple[int, NDArray[Any]]]) -> NDArray[Any]:
            for index, values in batch:
                set_tensor(index, values)
            interpreter.invoke()
            return interpreter.get_tensor(output)

        return LoadedModel(
            query,
            lambda values: dequantize(values, given["quantization"]),
            lambda examples: _batch(inputs, examples),
            batch_size,
        )


def signature_tensors(interpreter: Interpreter) -> tuple[dict[str, Any], dict[str, Any]]:
    """LiteRT's details of the signature's inputs, by name, and of its one output.

    Raises:
      ValueError: There is no signature `serving_default`, or it has other outputs.
    """
    signatures = interpreter.get_signature_list()
    if SIGNATURE not in signatures or len(signatures[SIGNATURE]["outputs"]) != 1:
        raise ValueError(f"it must have the signature {SIGNATURE} with one output")
    runner = interpreter.get_signature_runner(SIGNATURE)
    (output,) = runner.get_output_details().values()
    return runner.get_input_details(), output


def _batch(inputs: dict[str, Any], examples: Tensors) -> list[tuple[int, NDArray[Any]]]:
    """The tensors that are set, by their index.

    Raises:
      ValueError: The examples are not what the file takes.
    """
    if set(examples) != set(inputs):
        raise ValueError(
            f"its inputs are {', '.join(sorted(inputs))}, but the examples have "
            f"{', '.join(sorted(examples))}; pass what Transform emits"
        )
    batch = []
    for name, wanted in inputs.items():
        values = as_taken(np.ascontiguousarray(examples[name]), wanted["dtype"])
        shape = tuple(wanted["shape"].tolist())
        if values.dtype != wanted["dtype"] or values.shape != shape:
            raise ValueError(
                f"it takes {name} as {np.dtype(wanted['dtype'])} {shape[1:]}, but an example is "
                f"{values.dtype} {values.shape[1:]}; pass what Transform emits"
            )
        batch.append((wanted["index"], values))
    return batch


def as_taken(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Pixels, `uint8`, as a file takes them that takes `int8`: minus 128; all else as it is."""
    if values.dtype == np.uint8 and dtype == np.int8:
        return (values ^ 128).view(np.int8)
    return values


def dequantize(values: NDArray[Any], quantization: tuple[float, int]) -> NDArray[np.float32]:
    """A tensor's values as real numbers.

    Args:
      values: Of any shape and dtype.
      quantization: Scale and zero point; a scale of 0 means that the tensor is not quantized.
    """
    scale, zero_point = quantization
    values = values.astype(np.float32)
    return (values - zero_point) * np.float32(scale) if scale else values
