"""TFLite files: conversion and quantization.

Every file has the signature `serving_default` with one input for each of the model's, by its name
(`uint8` raw pixels, `int32` ids, `float32` numbers as they are; the file int8 may take pixels as
`int8`), and one output, `logits` `[1, outputs]`, or `values` for regression. It consists of builtin
operations, and carries its own specification, labels included, as metadata. Nothing in it depends
on the batch being 1: after `resize_tensor_input` it answers any other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from modules.data.spec import DataSpec, OutputSpec
from modules.errors import ModelError
from modules.export import flatbuffer, float_layers, runtimes
from modules.export.bias import shift_answers
from modules.export.blame import blamed_layers, unsupported_paths
from modules.export.descriptions import describe, output_name
from modules.export.fidelity import check_against_keras
from modules.export.layout import SPEC_FILE, STUDENT, TFLITE_FILE
from modules.export.runtimes import Tensors
from modules.export.runtimes.litert import SIGNATURE
from modules.export.tflite_graph import is_image, serving_module, to_convert
from modules.settings import Int8Input, TFLiteVariant

_LOG = logging.getLogger("tfx_distill.export")


def convert(
    model: keras.Model, variant: TFLiteVariant, calibration: Tensors, output: OutputSpec
) -> bytes:
    """One file of a model; see `Conversion.file`."""
    with Conversion(model, output) as conversion:
        return conversion.file(variant, calibration)


class Conversion:
    """A model on its way to TFLite files, as a context manager.

    What several variants have in common is made once.

    Args:
      model: A functional model over a dictionary of inputs.
      output: What the model answers.
      int8_input: What an image is in the file int8: `uint8`, raw pixels, or `int8`, pixels - 128.
    """

    def __init__(self, model: keras.Model, output: OutputSpec, int8_input: Int8Input = "uint8"):
        self._model, self._output, self._int8_input = model, output, int8_input
        self._names = {f"input_{at}": name for at, name in enumerate(sorted(model.input))}
        self._graphs: dict[bool, str] = {}
        self._float32: bytes | None = None

    def __enter__(self) -> Conversion:
        self._directory = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *error: object) -> None:
        self._directory.cleanup()

    def file(self, variant: TFLiteVariant, calibration: Tensors) -> bytes:
        """The model as a TFLite flatbuffer, made of builtin operations only.

        Args:
          variant: `float32`; `float16`: float16 weights, computed with in float32;
            `dynamic_range`: int8 weights where there are 1024 or more, one scale per channel,
            float32 activations; `int8`: integers throughout, one scale per channel, raw pixels in,
            int8 logits out. In every variant numbers come in as float32 and are scaled in float32,
            and so are the values of a regression. In `int8` a small first layer that takes the
            ones, and a small last layer that answers with the others, stay in float32 too.
          calibration: Inputs of training examples, each `[n, ...]`; for `int8` they set the ranges
            of the activations and correct the last layer's biases.

        Raises:
          ModelError: An operation has no TFLite builtin, or none for integers; it is named.
        """
        model, integers = self._model, variant == "int8"
        try:
            content = self._integers(calibration) if integers else self._floats(variant)
        except Exception as error:  # The converter raises its own and plain errors alike.
            raise ModelError(_conversion_error(model, variant, str(error))) from error
        if integers and (operations := float_layers.float_operations(content)):
            whole = [name for name, each in model.input.items() if each.dtype == "int32"]
            remedy = "replace them in the model or leave int8 out of export.tflite"
            if whole and "CAST" in operations:
                remedy += f", or return {', '.join(whole)} as float32 from data.preprocessing_fn"
            raise ModelError(
                f"{model.name} cannot become a TFLite file (int8), there are no integer operations "
                f"for: {', '.join(operations)}"
                f"{blamed_layers(model, itertools.chain(*operations.values()))} ({remedy})"
            )
        content = flatbuffer.finish(content, self._names, output_name(self._output))
        return self._corrected(content, calibration) if integers else content

    def _graph(self, float_images: bool) -> str:
        """The model as a SavedModel that the converter reads."""
        if float_images not in self._graphs:
            model = to_convert(self._model, float_images)
            module = serving_module(model, self._names, self._output)
            directory = os.path.join(self._directory.name, "integers" if float_images else "floats")
            tf.saved_model.save(module, directory, signatures={SIGNATURE: module.serve})
            self._graphs[float_images] = directory
        return self._graphs[float_images]

    def _converter(self, float_images: bool = False) -> tf.lite.TFLiteConverter:
        converter = tf.lite.TFLiteConverter.from_saved_model(
            self._graph(float_images), signature_keys=[SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter

    def _floats(self, variant: TFLiteVariant) -> bytes:
        """All variants but int8."""
        if variant == "float32":
            self._float32 = self._float32 or bytes(self._converter().convert())
            return self._float32
        converter = self._converter()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if variant == "dynamic_range":
            return bytes(converter.convert())
        converter.target_spec.supported_types = [tf.float16]
        return flatbuffer.restore_constants(converter.convert(), self._floats("float32"))

    def _integers(self, calibration: Tensors) -> bytes:
        """The variant int8: calibrated, then quantized but for its border."""
        names, inputs = self._names, self._model.input
        images = [key for key, name in names.items() if is_image(inputs[name])]
        numbers = [key for key, name in names.items() if inputs[name].dtype == "float32"]
        converter = self._converter(float_images=True)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _representative(calibration, names, images)
        # Between the two steps it is known which operations there are.
        converter._experimental_calibrate_only = True
        calibrated = converter.convert()
        graph = flatbuffer.read(calibrated)
        indices = flatbuffer.signature_inputs(graph)
        values = self._output.task == "regression"
        floats = float_layers.number_layers(graph, [indices[key] for key in numbers], values=values)
        content = mlir_quantize(
            calibrated,
            output_data_type=tf.float32 if values else tf.int8,
            denylisted_nodes=flatbuffer.output_names(graph, floats),
        )
        return flatbuffer.take_raw_pixels(content, images, self._int8_input)

    def _corrected(self, content: bytes, calibration: Tensors) -> bytes:
        """An int8 file that answers the calibration examples, on average, as the model does."""
        path = _write(self._directory.name, TFLITE_FILE, content)
        expected = np.asarray(self._model.predict(dict(calibration), verbose=0), np.float64)
        shift = np.mean(expected - runtimes.load(runtimes.LITERT, path).answer(calibration), axis=0)
        if not np.isfinite(shift).all():
            return content  # The check against Keras says so.
        # Of a regression, the last layer answers in deviations of the label.
        unit = self._output.deviation if self._output.task == "regression" else 1.0
        corrected = shift_answers(content, shift / unit)
        path = _write(self._directory.name, TFLITE_FILE, corrected)
        left = np.mean(expected - runtimes.load(runtimes.LITERT, path).answer(calibration), axis=0)
        # What stands behind the last layer may turn or scale its answers.
        return corrected if np.abs(left).sum() < np.abs(shift).sum() else content


def export_models(
    models: Mapping[str, tuple[keras.Model, Sequence[TFLiteVariant]]],
    calibration: Tensors,
    spec: DataSpec,
    directory: str,
    needed: Collection[str] | None = None,
    int8_input: Int8Input = "uint8",
) -> None:
    """Write and check `<directory>/<role>/<variant>/model.tflite`, each with a `spec.json`.

    Args:
      models: A model and the variants wanted of it, by role.
      calibration: Inputs of training examples, each `[n, ...]`.
      spec: What the models take and answer.
      directory: Where to write.
      needed: The student's variants that must be there. Another one that does not convert is left
        out, and so is a teacher's. None: all files must be there.
      int8_input: See `Conversion`.

    Raises:
      ModelError: A model does not convert, or its file does not answer as it does.
    """
    for role, (model, variants) in models.items():
        with Conversion(model, spec.output, int8_input) as conversion:
            for variant in variants:
                try:
                    content = conversion.file(variant, calibration)
                except ModelError as error:
                    if needed is None or (role == STUDENT and variant in needed):
                        raise
                    _LOG.warning("%s: %s; it is left out", role, error)
                    continue
                folder = os.path.join(directory, role, variant)
                described = describe(content, spec)
                content = flatbuffer.embed_spec(content, described)
                path = _write(folder, TFLITE_FILE, content)
                check_against_keras(path, model, variant, calibration, spec)
                digest = hashlib.sha256(content).hexdigest()
                described |= {"sha256": digest, "size_bytes": len(content)}
                _write(folder, SPEC_FILE, json.dumps(described, indent=2).encode())
                _LOG.info("%s %s: %s bytes, checked", role, variant, f"{len(content):,}")


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _write(folder: str, name: str, content: bytes) -> str:
    """The path of the file that was written."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(content)
    return path


def _conversion_error(model: keras.Model, variant: str, text: str) -> str:
    """One line that names the operations TFLite does not have, and their layers."""
    name = model.name
    listed = re.findall(r"(?:Flex|Custom) ops: ([^\n]+)", text)
    unsupported = ", ".join(listed) or ", ".join(
        sorted(set(re.findall(r"'(?:tf|tfl)\.(\w+)' op", text)))
    )
    if unsupported:
        return (
            f"{name} cannot become a TFLite file ({variant}), there are no builtin operations "
            f"for: {unsupported}{blamed_layers(model, unsupported_paths(text))} (replace them in "
            "the model)"
        )
    return f"{name} cannot become a TFLite file ({variant}): {text.strip().splitlines()[0]}"
