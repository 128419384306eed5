"""What the TFLite converter leaves to be done in the file itself.

A TFLite file is a flatbuffer; LiteRT brings its schema and reads it into plain objects, of which
only the main subgraph, the one with the signature, matters here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from modules.errors import ModelError

# Of the metadata entry that holds the specification, as JSON.
SPEC_ENTRY = "tfx_distill.spec.json"
_FLOAT_TYPES = {schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64}
_CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


def read(content: bytes) -> Any:
    """A file's content as a `ModelT` of LiteRT's schema."""
    return flatbuffer_utils.read_model_from_bytearray(content)


def write(model: Any) -> bytes:
    """The content of a file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operation_name(model: Any, operator: Any) -> str:
    """The builtin's name, for example `CONV_2D`."""
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def finish(content: bytes) -> bytes:
    """Repair a file as the converter writes it, in two ways.

    Every tensor's shape becomes fixed, as the interpreter allocates it: one example. A model that
    was converted with an open batch answers any batch once `resize_tensor_input` has asked for
    it, and delegates that take fixed shapes alone accept it as it lies there.

    What is reversed keeps its scale. The converter gives the output of REVERSE_V2 a range of its
    own, but the integer kernel copies bytes.
    """
    model = read(content)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    for operator in graph.operators:
        if operation_name(model, operator) == "REVERSE_V2":
            source, target = operator.inputs[0], operator.outputs[0]
            graph.tensors[target].quantization = graph.tensors[source].quantization
    return write(model)


def float_operations(content: bytes) -> list[str]:
    """The names of the operations that compute with floating-point numbers, sorted."""
    model = read(content)
    graph = model.subgraphs[0]
    in_float = {index for index, tensor in enumerate(graph.tensors) if tensor.type in _FLOAT_TYPES}
    names = {
        operation_name(model, operator)
        for operator in graph.operators
        if in_float & {*operator.inputs, *operator.outputs}
    }
    return sorted(names - _CONVERSIONS or names)


def embed_spec(content: bytes, spec: Mapping[str, Any]) -> bytes:
    """Put a specification into a file: its metadata entry, and the input in its description.

    Args:
      content: Of a TFLite file.
      spec: What goes to JSON, with `input.description`.
    """
    model = read(content)
    model.description = spec["input"]["description"]
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
