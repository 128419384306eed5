"""Where a quantized TFLite file departs from the float32 file of the same model."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from modules.errors import ModelError
from modules.export import flatbuffer
from modules.export.descriptions import LOGITS
from modules.export.runtimes import Tensors, count_examples, select
from modules.export.runtimes.litert import as_taken, dequantize


@dataclass(frozen=True)
class _Layer:
    """One operation that both files have, and the indices of its output's tensors."""

    name: str
    operation: str
    reference: int
    quantized: int


def layer_errors(
    float32_path: str, quantized_path: str, examples: Tensors, limit: int = 5
) -> list[dict[str, Any]]:
    """The layers that lose most by quantization, each judged for itself.

    Both files are run without delegates on the same examples. Every layer of the float32 file is
    given what that layer was given in the quantized file, dequantized: a layer does not answer
    for those before it. The error of a layer that answers `q`, where the float32 file's answers
    `f`, is `sqrt(sum (q - f)^2 / sum f^2)` over all examples.

    Args:
      float32_path: The reference.
      quantized_path: Another variant of the same model.
      examples: Inputs of the model by name, each `[n, ...]`, n >= 1.
      limit: How many layers.

    Returns:
      `layer` (the Keras layers that the operation computes), `operation` (TFLite's name) and
      `error`, largest first; layers without any error are left out.

    Raises:
      ModelError: The files have no layer in common.
    """
    model, other = (
        flatbuffer.read(Path(path).read_bytes()) for path in (float32_path, quantized_path)
    )
    layers = _common_layers(model, other)
    if {layer.name for layer in layers} <= {LOGITS}:
        raise ModelError(
            f"{quantized_path} and {float32_path} must be variants of one model, but no layer "
            "of one has a counterpart in the other; export both again"
        )
    inputs = flatbuffer.signature_inputs(model)
    givens = _separate(model, layers)
    reference = _Run(flatbuffer.write(model), inputs)
    shipped = _Run(flatbuffer.write(other), flatbuffer.signature_inputs(other))
    lost, whole = np.zeros(len(layers)), np.zeros(len(layers))
    for at in range(count_examples(examples)):
        example = select(examples, [at])
        shipped.invoke(example, {})
        answers = [shipped.value(layer.quantized) for layer in layers]
        reference.invoke(example, dict(zip(givens, answers, strict=True)))
        expected = [reference.value(layer.reference) for layer in layers]
        lost += [np.sum((q - f) ** 2) for q, f in zip(answers, expected, strict=True)]
        whole += [np.sum(f**2) for f in expected]
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(lost > 0, np.sqrt(lost / whole), 0)
    return [
        {"layer": layers[at].name, "operation": layers[at].operation, "error": float(errors[at])}
        for at in np.argsort(-errors, kind="stable")[:limit]
        if errors[at] > 0
    ]


class _Run:
    """A file in the interpreter, of which every tensor can be read."""

    def __init__(self, content: bytes, inputs: Mapping[str, int]):
        self._inputs = inputs
        self._interpreter = Interpreter(
            model_content=content,
            # XNNPACK fuses operations and keeps what lies between them to itself.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_tensor_details()
        self._quantization = {each["index"]: each["quantization"] for each in details}
        self._dtypes = {each["index"]: each["dtype"] for each in details}

    def invoke(self, example: Tensors, givens: Mapping[int, np.ndarray]) -> None:
        """Run one example, and further inputs by index."""
        named = {index: example[name] for name, index in self._inputs.items()}
        for index, value in {**named, **givens}.items():
            self._interpreter.set_tensor(index, as_taken(value, self._dtypes[index]))
        self._interpreter.invoke()

    def value(self, index: int) -> np.ndarray:
        """A tensor after the run, as float32."""
        return dequantize(self._interpreter.get_tensor(index), self._quantization[index])


def _common_layers(reference: Any, quantized: Any) -> list[_Layer]:
    """The float32 file's layers that the other file has too."""
    counterparts = _outputs(quantized)
    tensors = reference.subgraphs[0].tensors
    return [
        _Layer(_layer_name(tensors[index].name.decode()), key[0], index, counterparts[key])
        for key, index in _outputs(reference).items()
        if key in counterparts and tensors[index].type == schema.TensorType.FLOAT32
    ]


def _outputs(model: Any) -> dict[tuple[Any, ...], int]:
    """Index of every operation's (first) output, by what it is called in every variant.

    The converter numbers tensors of one name, the weights' among them; so the key is the
    operation, the name without its number, the shape, and how often it was there before.
    """
    graph = model.subgraphs[0]
    indices: dict[tuple[Any, ...], int] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for operator in graph.operators:
        operation = flatbuffer.operation_name(model, operator)
        tensor = graph.tensors[operator.outputs[0]]
        key = (operation, tensor.name.rstrip(b"0123456789"), tuple(tensor.shape))
        indices[*key, seen[key]] = operator.outputs[0]
        seen[key] += 1
    return indices


def _separate(model: Any, layers: Sequence[_Layer]) -> list[int]:
    """Cut the graph into its layers: who reads a layer's output now reads a new input.

    Args:
      model: Changed in place.
      layers: Whose outputs are no longer passed on.

    Returns:
      The indices of the new inputs, in the order of the layers.
    """
    graph = model.subgraphs[0]
    given = {}
    for layer in layers:
        given[layer.reference] = len(graph.tensors)
        graph.tensors.append(copy.copy(graph.tensors[layer.reference]))
    for operator in graph.operators:
        operator.inputs = [given.get(index, index) for index in operator.inputs]
    graph.inputs = [*graph.inputs, *given.values()]
    model.signatureDefs = None  # It names the inputs that there were.
    return list(given.values())


def _layer_name(tensor: str) -> str:
    """The Keras layers in a tensor's name, such as `cnn_1/block1_1/Relu;cnn_1/conv2d_1/Conv2D`.

    Keras enters the scope of every layer twice, so that each scope has a number of its own.
    """
    scopes = [part.split("/")[-2] for part in tensor.split(";") if "/" in part]
    names = dict.fromkeys(re.sub(r"_\d+$", "", scope) for scope in scopes)
    return " + ".join(names) or LOGITS
