"""What the TFLite converter leaves to be done in the file itself.

A TFLite file is a flatbuffer; LiteRT brings its schema and reads it into plain objects, of which
only the main subgraph, the one with the signature, matters here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from modules.errors import ModelError

# Of the metadata entry that holds the specification, as JSON.
SPEC_ENTRY = "tfx_distill.spec.json"
FLOAT_TYPES = {schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64}
# These give a number another place, or scale it; none of them has weights.
MOVES = {"RESHAPE", "EXPAND_DIMS", "SQUEEZE", "CONCATENATION", "PACK"}
_SCALINGS = {"MUL", "ADD", "SUB", "DIV", "MINIMUM", "MAXIMUM"}


def read(content: bytes) -> Any:
    """A file's content as a `ModelT` of LiteRT's schema."""
    return flatbuffer_utils.read_model_from_bytearray(content)


def write(model: Any) -> bytes:
    """The content of a file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operation_name(model: Any, operator: Any) -> str:
    """The builtin's name, for example `CONV_2D`."""
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def signature_inputs(model: Any) -> dict[str, int]:
    """Indices of the signature's inputs, by name."""
    return {each.name.decode(): each.tensorIndex for each in model.signatureDefs[0].inputs}


def finish(content: bytes, names: Mapping[str, str], output: str) -> bytes:
    """Repair a file as the converter writes it.

    Every tensor's shape becomes fixed, as the interpreter allocates it: one example. A model that
    was converted with an open batch answers any batch once `resize_tensor_input` has asked for
    it, and delegates that take fixed shapes alone accept it as it lies there.

    A reshape is told its shape, with -1 for the batch, where the converter computes it from the
    input's: some delegates cannot.

    What is reversed keeps its scale. The converter gives the output of REVERSE_V2 a range of its
    own, but the integer kernel copies bytes.

    Args:
      content: Of a file.
      names: Those of the inputs, by the ones that they were converted with: TensorFlow's own
        signatures take no name with a blank or a bracket in it.
      output: The one output that stays, by its name.
    """
    model = read(content)
    graph = model.subgraphs[0]
    _fix_reshapes(model)
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    for operator in graph.operators:
        if operation_name(model, operator) == "REVERSE_V2":
            source, target = operator.inputs[0], operator.outputs[0]
            graph.tensors[target].quantization = graph.tensors[source].quantization
    signature = model.signatureDefs[0]
    for each in signature.inputs:
        each.name = names[each.name.decode()].encode()
    signature.outputs = [each for each in signature.outputs if each.name == output.encode()]
    graph.outputs = [signature.outputs[0].tensorIndex]
    return write(model)


def _fix_reshapes(model: Any) -> None:
    """Replace shapes that are computed by constants, where the batch alone is open."""
    graph, constants = model.subgraphs[0], _constants(model)
    for operator in graph.operators:
        signature = graph.tensors[operator.outputs[0]].shapeSignature
        if operation_name(model, operator) != "RESHAPE" or constants & {*operator.inputs[1:]}:
            continue
        if signature is None or signature[0] != -1 or min(signature[1:], default=1) < 1:
            continue
        shape = np.array(signature, np.int32)
        buffer, tensor = schema.BufferT(), copy.copy(graph.tensors[operator.inputs[1]])
        buffer.data = np.frombuffer(shape.tobytes(), np.uint8)
        tensor.buffer, tensor.name = len(model.buffers), b"batch_of_any_size"
        tensor.shape, tensor.shapeSignature = [len(shape)], None
        model.buffers.append(buffer)
        operator.inputs = [operator.inputs[0], len(graph.tensors)]
        operator.builtinOptions = None
        graph.tensors.append(tensor)
    _remove_unused(graph)


def _remove_unused(graph: Any) -> None:
    """Leave out operations whose outputs nobody reads."""
    count = 0
    while count != len(graph.operators):
        count = len(graph.operators)
        used = {index for each in graph.operators for index in each.inputs} | {*graph.outputs}
        graph.operators = [each for each in graph.operators if used & {*each.outputs}]


def take_raw_pixels(content: bytes, names: Iterable[str], dtype: str = "uint8") -> bytes:
    """Make inputs that are quantized at once, with scale 1, those bytes themselves.

    Args:
      content: Of a file with integer operations and float inputs.
      names: Of the inputs of images.
      dtype: `uint8`: raw pixels; `int8`: what the first operation turns them into, pixels - 128.
    """
    model = read(content)
    graph, indices = model.subgraphs[0], signature_inputs(model)
    for name in names:
        tensor = graph.tensors[indices[name]]
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [1.0]
        if dtype == "uint8":
            tensor.type, tensor.quantization.zeroPoint = schema.TensorType.UINT8, [0]
            continue
        tensor.type, tensor.quantization.zeroPoint = schema.TensorType.INT8, [-128]
        firsts = [each for each in graph.operators if indices[name] in each.inputs]
        if any(operation_name(model, each) != "QUANTIZE" for each in firsts):
            raise ModelError(
                f"export.int8_input must be uint8 for this model, which uses {name} before it is "
                "quantized; remove export.int8_input"
            )
        same = {each.outputs[0]: indices[name] for each in firsts}
        graph.operators = [each for each in graph.operators if each not in firsts]
        for operator in graph.operators:
            operator.inputs = [same.get(index, index) for index in operator.inputs]
    return write(model)


def border(model: Any, numbers: Iterable[int]) -> list[Any]:
    """The operations that scale numbers before the first layer, and the answer after the last.

    They stay in float32 in every variant. Numbers of any size come in and go out: a year in 256
    steps from 0 to 2030 is no year any more, and float16 ends at 65,504.

    Args:
      model: A file.
      numbers: Indices of the inputs that are numbers.

    Returns:
      Operators, in their order.
    """
    graph, scaled = model.subgraphs[0], set(numbers)
    constants = _constants(model)
    found, producers = [], {}
    for operator in graph.operators:
        name, varying = operation_name(model, operator), _varying(graph, operator, constants)
        producers[operator.outputs[0]] = (operator, name, varying)
        if name in MOVES | _SCALINGS and varying and varying <= scaled:
            scaled |= set(operator.outputs)
            found.append(operator)
    at = graph.outputs[0]
    while at in producers and producers[at][1] in _SCALINGS and len(producers[at][2]) == 1:
        operator, _, (at,) = producers[at]
        if operator not in found:
            found.append(operator)
    return found


def _constants(model: Any) -> set[int]:
    """Indices of tensors whose values are in the file, float16 ones widened included."""
    graph = model.subgraphs[0]
    found = {
        index
        for index, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None
    }
    for operator in graph.operators:
        if operation_name(model, operator) == "DEQUANTIZE" and operator.inputs[0] in found:
            found |= set(operator.outputs)
    return found


def _varying(graph: Any, operator: Any, constants: set[int]) -> set[int]:
    """The floating-point inputs of an operation that are not constant; -1 stands for none."""
    return {
        index
        for index in operator.inputs
        if index >= 0 and index not in constants and graph.tensors[index].type in FLOAT_TYPES
    }


def output_names(model: Any, operators: Iterable[Any]) -> list[str]:
    """Names of what operations answer, by which the converter knows them."""
    tensors = model.subgraphs[0].tensors
    return [tensors[operator.outputs[0]].name.decode() for operator in operators]


def restore_constants(content: bytes, reference: bytes) -> bytes:
    """Give the border of a float16 file the constants of the float32 file of the same model."""
    model, whole = read(content), read(reference)
    graph, constants = model.subgraphs[0], _constants(whole)
    rounded, exact = (border(each, float_inputs(each)) for each in (model, whole))
    if [operation_name(model, o) for o in rounded] != [operation_name(whole, o) for o in exact]:
        return content  # Another graph; the check against Keras says whether it will do.
    for operator, original in zip(rounded, exact, strict=True):
        for position, index in enumerate(original.inputs):
            tensor = whole.subgraphs[0].tensors[index]
            if index in constants and tensor.type == schema.TensorType.FLOAT32:
                model.buffers.append(whole.buffers[tensor.buffer])
                tensor = copy.copy(tensor)
                tensor.buffer = len(model.buffers) - 1
                operator.inputs[position] = len(graph.tensors)
                graph.tensors.append(tensor)
    _remove_unused(graph)
    return write(model)


def float_inputs(model: Any) -> list[int]:
    """Indices of the inputs that are floating-point numbers."""
    graph = model.subgraphs[0]
    return [index for index in graph.inputs if graph.tensors[index].type in FLOAT_TYPES]


def embed_spec(content: bytes, spec: Mapping[str, Any]) -> bytes:
    """Put a specification into a file: its metadata entry, and the inputs in its description.

    Args:
      content: Of a TFLite file.
      spec: What goes to JSON; each of its `inputs` has a `description`.
    """
    model = read(content)
    model.description = " ".join(each["description"] for each in spec["inputs"])
    buffer = schema.BufferT()
    buffer.data = list(json.dumps(spec, ensure_ascii=False).encode())
    entry = schema.MetadataT()
    entry.name, entry.buffer = SPEC_ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return write(model)


def embedded_spec(path: str) -> dict[str, Any]:
    """The specification that `embed_spec` put into a file.

    Raises:
      ModelError: The file has none.
    """
    content = Path(path).read_bytes()
    if schema.Model.ModelBufferHasIdentifier(content, 0):
        model = schema.Model.GetRootAs(content)
        for entry in map(model.Metadata, range(model.MetadataLength())):
            if entry.Name() == SPEC_ENTRY.encode():
                return dict(json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()))
    raise ModelError(
        f"{path} must be a TFLite file of this pipeline, but has no metadata entry "
        f"{SPEC_ENTRY!r}; export it again"
    )
