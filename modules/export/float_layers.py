"""What stays in float32 in an int8 file: layers that take numbers, or answer with one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from modules.export import flatbuffer

_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}
# What may follow the last layer: the answer's own scale.
_BEHIND = {"DEQUANTIZE", "QUANTIZE", "MUL", "ADD", "SUB", "RESHAPE"}
# Weights of an operation that may stay float32: 64 KiB.
_MOST_FLOATS = 16_384


def number_layers(model: Any, numbers: Iterable[int], *, values: bool) -> list[Any]:
    """The `flatbuffer.border`, and in an int8 file what would lose by the numbers' common range.

    Numbers that a dense layer takes together have one scale, which the largest outlier sets: of
    numbers with the deviation 1 and an outlier of 26, a step is 0.1. So small dense layers that
    take numbers stay in float32, and so do the categories' small tables that are joined to them,
    whose entries would get the numbers' scale. A small last layer that answers with a number stays
    too: it would answer with one of 256 values, none above the largest of the calibration.

    Args:
      model: A file.
      numbers: Indices of the inputs that are numbers.
      values: Whether the answer is a number.

    Returns:
      Operators.
    """
    graph, scaled = model.subgraphs[0], set(numbers)
    found = flatbuffer.border(model, scaled)
    producers = {operator.outputs[0]: operator for operator in graph.operators}
    for operator in graph.operators:
        name = flatbuffer.operation_name(model, operator)
        if not scaled & {*operator.inputs} or not _is_small(model, operator):
            continue
        if name == "FULLY_CONNECTED":
            found.append(operator)
        elif operator in found or name == "CONCATENATION":
            scaled |= {*operator.outputs}
            found += [operator] * (operator not in found)
            found += _tables(model, [producers.get(index) for index in operator.inputs])
    last = last_dense(model) if values else None
    if last is not None and last not in found and _is_small(model, last):
        found.append(last)
    return found


def last_dense(model: Any) -> Any:
    """The dense layer that the answer comes from, with nothing but scales behind it; or None."""
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


def _tables(model: Any, operators: Iterable[Any]) -> list[Any]:
    """Those of some operations that look small tables up, and what reshapes that."""
    found = []
    producers = {each.outputs[0]: each for each in model.subgraphs[0].operators}
    for operator in operators:
        chain = []
        while operator is not None and flatbuffer.operation_name(
            model, operator
        ) in flatbuffer.MOVES | {"DEQUANTIZE"}:
            chain.append(operator)
            operator = producers.get(operator.inputs[0])
        if operator is not None and flatbuffer.operation_name(model, operator) == "GATHER":
            found += [*chain, operator] if _is_small(model, operator) else []
    return found


def _is_small(model: Any, operator: Any) -> bool:
    tensors = [model.subgraphs[0].tensors[index] for index in operator.inputs if index >= 0]
    held = [each for each in tensors if model.buffers[each.buffer].data is not None]
    # A single number has no shape at all.
    return sum(math.prod(() if each.shape is None else each.shape) for each in held) <= _MOST_FLOATS


def float_operations(content: bytes) -> dict[str, list[str]]:
    """The operations that compute with floating-point numbers, sorted, with their outputs' names.

    Those of the `number_layers`, and what only asks for a shape, are not among them.
    """
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    in_float = {
        index for index, tensor in enumerate(graph.tensors) if tensor.type in flatbuffer.FLOAT_TYPES
    }
    values = graph.tensors[graph.outputs[0]].type in flatbuffer.FLOAT_TYPES
    allowed = number_layers(model, flatbuffer.float_inputs(model), values=values)
    found: dict[str, list[str]] = {}
    for operator in graph.operators:
        if in_float & ({*operator.inputs, *operator.outputs} - {-1}) and operator not in allowed:
            output = graph.tensors[operator.outputs[0]].name.decode()
            found.setdefault(flatbuffer.operation_name(model, operator), []).append(output)
    # A minimum is never the reason, but stays in float between operations that are.
    ignored = _CONVERSIONS | {"SHAPE", "MINIMUM"}
    return {name: found[name] for name in sorted(found) if name not in ignored}
