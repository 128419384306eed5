"""What a TFLite file takes and answers, with a sentence per input for whoever feeds the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.export.runtimes.litert import signature_tensors
from modules.settings import CategoryFeature, ImageFeature, NumericFeature, TextFeature

LOGITS, VALUES = "logits", "values"
_RESIZED = {
    "stretch": "stretched to this size",
    "pad": "resized in proportion, with black borders",
    "crop": "resized in proportion and cut from the center",
}
AS_SEEN = (
    "A file is first turned as its EXIF orientation says, put on white where it is transparent, "
    "and scaled to 8 bits; a client of serving_raw does so itself."
)

AS_INT8 = "This file takes each value minus 128, as int8."


def output_name(output: OutputSpec) -> str:
    """Of the one output of every file: `logits`, or `values` for regression."""
    return VALUES if output.task == "regression" else LOGITS


def describe(content: bytes, spec: DataSpec) -> dict[str, Any]:
    """What a file takes and answers, as the manifest has it.

    Returns:
      `inputs`, in the order of their names, and `output`, each with name, shape, dtype and
      quantization; an input has a `description` too, a sentence. `task` and `labels`.
    """
    from ai_edge_litert.interpreter import Interpreter

    inputs, output = signature_tensors(Interpreter(model_content=content))
    return {
        "inputs": [
            _tensor_spec(name, inputs[name]) | {"description": _taken(inputs[name], name, spec)}
            for name in sorted(inputs)
        ],
        "output": _tensor_spec(output_name(spec.output), output),
        "task": spec.output.task,
        "labels": list(spec.output.classes),
    }


def _taken(tensor: dict[str, Any], name: str, spec: DataSpec) -> str:
    """What one input of this very file holds."""
    described = describe_input(spec.by_name[name], spec)
    return f"{described} {AS_INT8}" if tensor["dtype"] == np.int8 else described


def describe_input(each: InputSpec, spec: DataSpec) -> str:
    """One sentence: what the input holds, and how the raw feature becomes it."""
    settings = spec.features.get(each.feature)
    if isinstance(settings, ImageFeature) or each.kind == "image":
        return _image(each, settings)
    if isinstance(settings, NumericFeature):
        return _number(each, settings)
    if isinstance(settings, CategoryFeature):
        return _category(each, settings)
    if isinstance(settings, TextFeature):
        return _text(each, settings)
    return f"The feature {each.name} as the preprocessing_fn makes it."


def _image(each: InputSpec, settings: object) -> str:
    height, width, channels = each.shape
    values = "one gray value" if channels == 1 else "red, green and blue"
    how = f", {_RESIZED[settings.resize]}" if isinstance(settings, ImageFeature) else ""
    return (
        f"The image {each.feature} as raw pixels, not scaled: {height} rows of {width} pixels from "
        f"the top left{how}, each {values} from 0 to 255. {AS_SEEN}"
    )


def _number(each: InputSpec, settings: NumericFeature) -> str:
    if each.name == f"{each.feature}_missing":
        return f"1.0 where {each.feature} is missing, else 0.0."
    what = {
        "log": f"log(1 + {each.feature})",
        "quantile": f"The rank of {each.feature} among the training examples, from 0 to 1",
    }.get(settings.scale, f"The number {each.feature}, not scaled")
    return f"{what}; {each.mean:.7g} where it is missing."


def _category(each: InputSpec, settings: CategoryFeature) -> str:
    many = settings.max_values > 1
    what = f"The ids of up to {settings.max_values} values of" if many else "The id of"
    return f"{what} {each.feature}: {_ids(settings.oov_buckets, 'padding' if many else 'missing')}"


def _text(each: InputSpec, settings: TextFeature) -> str:
    return (
        f"The ids of the first {settings.length} {settings.tokens} of {each.feature}: "
        f"{_ids(1, 'padding')}"
    )


def _ids(buckets: int, zero: str) -> str:
    unknown = "1" if buckets == 1 else f"1 to {buckets}"
    return f"0 is {zero}, {unknown} unknown, and the vocabulary's lines follow in their order."


def _tensor_spec(name: str, details: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    quantization = {"scale": float(scale), "zero_point": int(zero_point)} if scale else None
    return {
        "name": name,
        "shape": [int(size) for size in details["shape"]],
        "dtype": np.dtype(details["dtype"]).name,
        "quantization": quantization,
    }
