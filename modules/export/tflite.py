"""TFLite files: conversion, quantization, and the check against the Keras original.

Every file has the signature `serving_default` with one input for each of the model's, by its name
(`uint8` raw pixels, `int32` ids, `float32` numbers as they are), and one output, `logits`
`[1, outputs]`, or `values` for regression. It consists of builtin operations, and carries its own
specification, labels included, as metadata. Nothing in it depends on the batch being 1: after
`resize_tensor_input` it answers any other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from modules.data.spec import DataSpec, OutputSpec
from modules.errors import ModelError
from modules.export import flatbuffer, runtimes
from modules.export.descriptions import describe_input
from modules.export.layout import SPEC_FILE, TFLITE_FILE
from modules.export.runtimes import Tensors
from modules.export.runtimes.litert import SIGNATURE, signature_tensors
from modules.settings import TFLiteVariant

_LOG = logging.getLogger("tfx_distill.export")
LOGITS, VALUES = "logits", "values"
# Of a regression the answer in deviations of the label. No file keeps this output.
_STANDARD = "standard"
# No number is larger, but the converter does not know; it folds nothing across a minimum.
_HUGE = 3e38
# Largest difference of a file's answers from Keras', in units of the largest logit or, of a
# regression, of the label's deviation. float16
# weights have 11 bits: 2e-5 to 7e-4 was measured over the model zoo.
_TOLERANCES = {"float32": 1e-3, "float16": 1e-2}
# Share of training examples on which a file with int8 weights must still choose Keras' class.
# Whether it is good enough to ship is the gate's business; below this the conversion has gone
# wrong.
_QUANTIZED_AGREEMENT = 0.8
# Where no class is chosen: the root of the mean squared difference, of regression in deviations
# of the label, of multilabel in units of the logits' root mean square.
_QUANTIZED_ERROR = 0.25
_RAW = {"scale": 1.0, "zero_point": 0}


def output_name(output: OutputSpec) -> str:
    """Of the one output of every file: `logits`, or `values` for regression."""
    return VALUES if output.task == "regression" else LOGITS


def convert(
    model: keras.Model, variant: TFLiteVariant, calibration: Tensors, output: OutputSpec
) -> bytes:
    """A model as a TFLite flatbuffer, made of builtin operations only.

    Args:
      model: A functional model over a dictionary of inputs.
      variant: `float32`; `float16`: float16 weights, computed with in float32; `dynamic_range`:
        int8 weights where there are 1024 or more, one scale per channel, float32 activations;
        `int8`: integers throughout, one scale per channel, raw pixels in, int8 logits out. In
        every variant numbers come in as float32 and are scaled in float32, and so are the values
        of a regression.
      calibration: Inputs of training examples, each `[n, ...]`; for `int8` they set the ranges of
        the activations.
      output: What the model answers.

    Raises:
      ModelError: An operation has no TFLite builtin, or none for integers; it is named.
    """
    names = {f"input_{at}": name for at, name in enumerate(sorted(model.input))}
    module = _module(_to_convert(model, float_images=variant == "int8"), names, output)
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={SIGNATURE: module.serve})
        try:
            if variant == "int8":
                content = _integers(directory, model, names, calibration, output)
            else:
                content = _floats(directory, variant)
        except Exception as error:  # The converter raises its own and plain errors alike.
            raise ModelError(_conversion_error(model.name, variant, str(error))) from error
    if variant == "int8" and (operations := flatbuffer.float_operations(content)):
        raise ModelError(
            f"{model.name} cannot become a TFLite file (int8), there are no integer operations "
            f"for: {', '.join(operations)} (replace them in the model or leave int8 out of "
            "export.tflite)"
        )
    return flatbuffer.finish(content, names, output_name(output))


def _floats(directory: str, variant: TFLiteVariant) -> bytes:
    """All variants but int8."""
    converter = _converter(directory)
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant != "float16":
        return bytes(converter.convert())
    converter.target_spec.supported_types = [tf.float16]
    return flatbuffer.restore_constants(converter.convert(), _floats(directory, "float32"))


def _integers(
    directory: str,
    model: keras.Model,
    names: Mapping[str, str],
    calibration: Tensors,
    output: OutputSpec,
) -> bytes:
    """The variant int8: calibrated, then quantized but for its border."""
    images = [key for key, name in names.items() if _is_image(model.input[name])]
    numbers = [key for key, name in names.items() if model.input[name].dtype == "float32"]
    converter = _converter(directory)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: _representative(calibration, names, images)
    # Between the two steps it is known which operations there are.
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    graph = flatbuffer.read(calibrated)
    indices = flatbuffer.signature_inputs(graph)
    border = flatbuffer.border(graph, [indices[key] for key in numbers])
    content = mlir_quantize(
        calibrated,
        output_data_type=tf.float32 if output.task == "regression" else tf.int8,
        denylisted_nodes=flatbuffer.output_names(graph, border),
    )
    return flatbuffer.take_raw_pixels(content, images)


def _converter(directory: str) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def export_models(
    models: Mapping[str, tuple[keras.Model, Sequence[TFLiteVariant]]],
    calibration: Tensors,
    spec: DataSpec,
    directory: str,
) -> None:
    """Write and check `<directory>/<role>/<variant>/model.tflite`, each with a `spec.json`.

    Args:
      models: A model and the variants wanted of it, by role.
      calibration: Inputs of training examples, each `[n, ...]`.
      spec: What the models take and answer.
      directory: Where to write.

    Raises:
      ModelError: A model does not convert, or its file does not answer as it does.
    """
    for role, (model, variants) in models.items():
        for variant in variants:
            folder = os.path.join(directory, role, variant)
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, TFLITE_FILE)
            content = convert(model, variant, calibration, spec.output)
            described = describe(content, spec)
            content = flatbuffer.embed_spec(content, described)
            _write(path, content)
            check_against_keras(path, model, variant, calibration, spec)
            described |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            _write(os.path.join(folder, SPEC_FILE), json.dumps(described, indent=2).encode())
            _LOG.info("%s %s: %s bytes, checked", role, variant, f"{len(content):,}")


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
            _tensor_spec(name, inputs[name])
            | {"description": describe_input(spec.by_name[name], spec)}
            for name in sorted(inputs)
        ],
        "output": _tensor_spec(output_name(spec.output), output),
        "task": spec.output.task,
        "labels": list(spec.output.classes),
    }


def check_against_keras(
    path: str, model: keras.Model, variant: TFLiteVariant, examples: Tensors, spec: DataSpec
) -> None:
    """Hold a file to its original on real examples.

    Args:
      path: The converted model.
      model: The original.
      variant: Decides what may differ.
      examples: Inputs, each `[n, ...]`.
      spec: What the model takes and answers.

    Raises:
      ModelError: Other inputs, values that are not finite, or answers that differ.
    """
    with open(path, "rb") as file:
        _check_inputs(
            describe(file.read(), spec)["inputs"], f"{variant} file of {model.name}", spec
        )
    expected = np.asarray(model.predict(dict(examples), verbose=0))
    actual = runtimes.load(runtimes.LITERT, path).answer(examples)
    if not np.isfinite(actual).all():
        raise ModelError(f"the {variant} file of {model.name} answers values that are not finite")
    if variant in _TOLERANCES:
        largest = float(np.abs(expected).max())
        # Of values far from 0, float32 itself rounds off some of a deviation.
        regression = spec.output.task == "regression"
        unit = max(spec.output.deviation, 1e-3 * largest) if regression else max(1.0, largest)
        error = float(np.abs(actual - expected).max()) / unit
        if error > _TOLERANCES[variant]:
            raise ModelError(
                f"the {variant} file of {model.name} differs from its original by {error:.2e} of "
                f"{_unit(spec.output)}, at most {_TOLERANCES[variant]:.0e} is right"
            )
    elif problem := _quantization_problem(actual, expected, spec.output):
        raise ModelError(
            f"the {variant} file of {model.name} {problem}; "
            f"raise export.calibration_examples or leave {variant} out of export.tflite"
        )


def _check_inputs(inputs: Sequence[Mapping[str, Any]], file: str, spec: DataSpec) -> None:
    """What is not scaled outside must not be quantized outside either."""
    for each in inputs:
        wanted, quantization = spec.by_name[each["name"]], each["quantization"]
        if each["dtype"] != wanted.dtype or quantization not in (None, _RAW):
            raise ModelError(
                f"the {file} must take {wanted.name} as raw {wanted.dtype}, but its input is "
                f"{each['dtype']} with quantization {quantization}"
            )


def _quantization_problem(actual: np.ndarray, expected: np.ndarray, output: OutputSpec) -> str:
    """How far the answers of a file with int8 weights are off, if that is too far; or ""."""
    count = len(expected)
    if output.task in ("classification", "binary"):
        same = float((actual.argmax(-1) == expected.argmax(-1)).mean())
        if same >= _QUANTIZED_AGREEMENT:
            return ""
        return (
            f"chooses its original's class on {same:.1%} of {count} training examples, at least "
            f"{_QUANTIZED_AGREEMENT:.0%} are needed"
        )
    regression = output.task == "regression"
    unit = output.deviation if regression else max(float(np.sqrt(np.mean(expected**2))), 1e-6)
    error = float(np.sqrt(np.mean((actual - expected) ** 2))) / unit
    if error <= _QUANTIZED_ERROR:
        return ""
    of = _unit(output) if regression else "the logits' root mean square"
    return (
        f"differs from its original by {error:.0%} of {of} on {count} training examples, at most "
        f"{_QUANTIZED_ERROR:.0%} is right"
    )


def _unit(output: OutputSpec) -> str:
    return "the label's deviation" if output.task == "regression" else "the largest logit"


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _module(model: Any, names: Mapping[str, str], output: OutputSpec) -> tf.Module:
    """A `tf.Module` with the signature; Keras 3's own SavedModels lose their variables here."""
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    # With a batch of 1 the converter would rewrite operations in ways that hold for 1 alone.
    specs = {
        key: tf.TensorSpec([None, *model.input[name].shape[1:]], model.input[name].dtype, name=key)
        for key, name in names.items()
    }

    def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answer = model({name: inputs[key] for key, name in names.items()}, training=False)
        answer = tf.cast(answer, tf.float32)
        if output.task != "regression":
            return {LOGITS: answer}
        # The label's scale is taken out of the last layer, into which the converter folds sums and
        # products, and put behind it: what is an output itself is not folded.
        standard = (answer + -output.mean) * (1 / output.deviation)
        return {_STANDARD: standard, VALUES: standard * output.deviation + output.mean}

    module.serve = tf.function(serve, input_signature=[specs])
    return module


def _is_image(tensor: Any) -> bool:
    return bool(tensor.dtype == "uint8")


def _to_convert(model: keras.Model, float_images: bool) -> keras.Model:
    """The same layers in another graph, which the converter leaves as it is.

    Args:
      model: A functional model.
      float_images: Whether images come in as floats, so that no cast from uint8 stays in the
        graph; what comes in is quantized then, with scale 1.
    """
    inputs = {
        name: keras.Input(
            each.shape[1:],
            dtype="float32" if float_images and _is_image(each) else each.dtype,
            name=name,
        )
        for name, each in model.input.items()
    }
    given = {id(inputs[name]) for name, each in model.input.items() if each.dtype == "float32"}
    scaled = set(given)

    def keep_apart(tensor: Any) -> Any:
        # Or its scale would be folded into the layer, and its raw size be quantized.
        return keras.ops.minimum(tensor, _HUGE) if id(tensor) in scaled - given else tensor

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        taken = [
            each for each in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(each)
        ]
        if not _only_scales(operation):
            args, kwargs = keras.tree.map_structure(keep_apart, (args, kwargs))
        answer = operation(*args, **kwargs)
        if _only_scales(operation) and {id(each) for each in taken} <= scaled:
            scaled.update(id(each) for each in keras.tree.flatten(answer))
        return answer

    # Not compiled: a loss of one's own cannot be cloned.
    plain = keras.Model(model.input, model.output, name=model.name)
    return keras.models.clone_model(
        plain, inputs, clone_function=lambda layer: layer, call_function=call
    )


def _only_scales(operation: Any) -> bool:
    """Whether numbers are still numbers after it, each with its own meaning."""
    normalizations = keras.layers.Normalization | keras.layers.BatchNormalization
    return isinstance(operation, normalizations) or not getattr(operation, "weights", ())


def _representative(
    calibration: Tensors, names: Mapping[str, str], images: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Calibration examples; the images of the first get one pixel of 0 and one of 255.

    With the whole range seen, an image's quantization is scale 1, zero point 0: raw pixels.
    """
    for index in range(runtimes.count_examples(calibration)):
        example = {key: calibration[name][index : index + 1] for key, name in names.items()}
        for key in images:
            example[key] = example[key].astype(np.float32)
            if index == 0:
                example[key][0, 0, 0, 0], example[key][0, -1, -1, -1] = 0.0, 255.0
        yield example


def _tensor_spec(name: str, details: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    quantization = {"scale": float(scale), "zero_point": int(zero_point)} if scale else None
    return {
        "name": name,
        "shape": [int(size) for size in details["shape"]],
        "dtype": np.dtype(details["dtype"]).name,
        "quantization": quantization,
    }


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _conversion_error(name: str, variant: str, text: str) -> str:
    """One line that names the operations TFLite does not have."""
    listed = re.findall(r"(?:Flex|Custom) ops: ([^\n]+)", text)
    unsupported = ", ".join(listed) or ", ".join(
        sorted(set(re.findall(r"'(?:tf|tfl)\.(\w+)' op", text)))
    )
    if unsupported:
        return (
            f"{name} cannot become a TFLite file ({variant}), there are no builtin operations "
            f"for: {unsupported} (replace them in the model)"
        )
    return f"{name} cannot become a TFLite file ({variant}): {text.strip().splitlines()[0]}"
