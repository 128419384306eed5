"""TFLite files: conversion, quantization, and the check against the Keras original.

Every file has the signature `serving_default` with one input, `image`, raw `uint8` pixels
`[1, height, width, channels]`, and one output, `logits` `[1, classes]`. It consists of builtin
operations, and carries its own specification, labels included, as metadata. Nothing in it depends
on the batch being 1: after `resize_tensor_input` it answers any other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.errors import ModelError
from modules.export import flatbuffer, runtimes
from modules.export.runtimes.litert import only_tensors
from modules.settings import TFLiteVariant

_LOG = logging.getLogger("tfx_distill.export")
SIGNATURE, INPUT_NAME, OUTPUT_NAME = "serving_default", "image", "logits"
# Largest difference of a file's logits from Keras', in units of the largest logit. float16
# weights have 11 bits: 2e-5 to 7e-4 was measured over the model zoo.
_TOLERANCES = {"float32": 1e-3, "float16": 1e-2}
# Share of training examples on which a file with int8 weights must still choose Keras' class.
# Whether it is good enough to ship is the gate's business; below this the conversion has gone
# wrong.
_QUANTIZED_AGREEMENT = 0.8


def convert(model: keras.Model, variant: TFLiteVariant, calibration: np.ndarray) -> bytes:
    """A model as a TFLite flatbuffer, made of builtin operations only.

    Args:
      model: uint8 pixels in, logits out.
      variant: `float32`; `float16`: float16 weights, computed with in float32; `dynamic_range`:
        int8 weights where there are 1024 or more, one scale per channel, float32 activations;
        `int8`: integers throughout, raw pixels in, int8 logits out, one scale per channel.
      calibration: `uint8 [n, height, width, channels]` training examples; for `int8` they set the
        ranges of the activations.

    Raises:
      ModelError: An operation has no TFLite builtin, or none for integers; it is named.
    """
    module = _float_input_module(model) if variant == "int8" else _module(model, tf.uint8)
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={SIGNATURE: module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[SIGNATURE])
        _configure(converter, variant, calibration)
        try:
            content = converter.convert()
        except Exception as error:  # The converter raises its own and plain errors alike.
            raise ModelError(_conversion_error(model.name, variant, str(error))) from error
    if variant == "int8" and (names := flatbuffer.float_operations(content)):
        raise ModelError(
            f"{model.name} cannot become a TFLite file (int8), there are no integer operations "
            f"for: {', '.join(names)} (replace them in the model or leave int8 out of "
            "export.tflite)"
        )
    return flatbuffer.finish(content)


def _configure(
    converter: tf.lite.TFLiteConverter, variant: TFLiteVariant, calibration: np.ndarray
) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if variant == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif variant == "int8":
        converter.representative_dataset = lambda: _representative(calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.int8


def export_models(
    models: dict[str, tuple[keras.Model, Sequence[TFLiteVariant]]],
    pixels: np.ndarray,
    labels: Sequence[str],
    directory: str,
) -> None:
    """Write and check `<directory>/<role>/<variant>/model.tflite`, each with a `spec.json`.

    Args:
      models: A model and the variants wanted of it, by role.
      pixels: `uint8 [n, height, width, channels]` training examples.
      labels: Class names, in the order of the logits.
      directory: Where to write.

    Raises:
      ModelError: A model does not convert, or its file does not answer as it does.
    """
    for role, (model, variants) in models.items():
        for variant in variants:
            folder = os.path.join(directory, role, variant)
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, "model.tflite")
            content = convert(model, variant, pixels)
            spec = describe(content) | {"labels": list(labels)}
            content = flatbuffer.embed_spec(content, spec)
            _write(path, content)
            check_against_keras(path, model, variant, pixels)
            spec |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            _write(os.path.join(folder, "spec.json"), json.dumps(spec, indent=2).encode())
            _LOG.info("%s %s: %s bytes, checked", role, variant, f"{len(content):,}")


def describe(content: bytes) -> dict[str, Any]:
    """A file's input and output as the manifest has them: name, shape, dtype, quantization.

    The input has a `description` too, a sentence.
    """
    from ai_edge_litert.interpreter import Interpreter

    source, sink = only_tensors(Interpreter(model_content=content))
    return {
        "input": _tensor_spec(INPUT_NAME, source)
        | {"description": _describe_pixels(*source["shape"][1:])},
        "output": _tensor_spec(OUTPUT_NAME, sink),
    }


def check_against_keras(
    path: str, model: keras.Model, variant: TFLiteVariant, pixels: np.ndarray
) -> None:
    """Hold a file to its original on real examples.

    Args:
      path: The converted model.
      model: The original.
      variant: Decides what may differ.
      pixels: `uint8 [n, height, width, channels]`.

    Raises:
      ModelError: Not raw pixels in, values that are not finite, or answers that differ.
    """
    with open(path, "rb") as file:
        spec = describe(file.read())["input"]
    quantization = spec["quantization"]
    if spec["dtype"] != "uint8" or quantization not in (None, {"scale": 1.0, "zero_point": 0}):
        raise ModelError(
            f"the {variant} file of {model.name} must take raw uint8 pixels, but its input is "
            f"{spec['dtype']} with quantization {quantization}"
        )
    expected = np.asarray(model.predict(pixels, verbose=0))
    actual = runtimes.load(runtimes.LITERT, path).answer(pixels)
    if not np.isfinite(actual).all():
        raise ModelError(f"the {variant} file of {model.name} answers values that are not finite")
    if variant not in _TOLERANCES:
        same = float((actual.argmax(-1) == expected.argmax(-1)).mean())
        if same < _QUANTIZED_AGREEMENT:
            raise ModelError(
                f"the {variant} file of {model.name} chooses its original's class on {same:.1%} of "
                f"{len(pixels)} training examples, at least {_QUANTIZED_AGREEMENT:.0%} are needed; "
                f"raise export.calibration_examples or leave {variant} out of export.tflite"
            )
        return
    error = float(np.abs(actual - expected).max() / max(1.0, np.abs(expected).max()))
    if error > _TOLERANCES[variant]:
        raise ModelError(
            f"the {variant} file of {model.name} differs from its original by {error:.2e} of the "
            f"largest logit, at most {_TOLERANCES[variant]:.0e} is right"
        )


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _module(model: Any, dtype: tf.DType) -> tf.Module:
    """A `tf.Module` with the signature; Keras 3's own SavedModels lose their variables here."""
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    # With a batch of 1 the converter would rewrite operations in ways that hold for 1 alone.
    spec = tf.TensorSpec([None, *model.input_shape[1:]], dtype, name=INPUT_NAME)

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT_NAME: tf.cast(model(image, training=False), tf.float32)}

    module.serve = tf.function(serve, input_signature=[spec])
    return module


def _float_input_module(model: keras.Model) -> tf.Module:
    """The same layers behind a float input, so that no cast from uint8 stays in the graph."""
    inputs = keras.Input(model.input_shape[1:], dtype="float32", name=INPUT_NAME)
    return _module(
        keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer),
        tf.float32,
    )


def _representative(calibration: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Calibration examples as floats; the first gets one pixel of 0 and one of 255.

    With the whole range seen, the input's quantization is scale 1, zero point 0: raw pixels.
    """
    for index, example in enumerate(calibration):
        pixels = example[None].astype(np.float32)
        if index == 0:
            pixels[0, 0, 0, 0], pixels[0, -1, -1, -1] = 0.0, 255.0
        yield [pixels]


def _describe_pixels(height: int, width: int, channels: int) -> str:
    values = "one gray value" if channels == 1 else "red, green and blue"
    return (
        f"One image as raw pixels, not scaled: {height} rows of {width} pixels from the top left, "
        f"each {values} from 0 to 255."
    )


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
