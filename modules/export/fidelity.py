"""Holds a TFLite file to its Keras original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from modules.data.spec import DataSpec, OutputSpec
from modules.errors import ModelError
from modules.export import runtimes
from modules.export.descriptions import describe
from modules.export.runtimes import Tensors
from modules.settings import TFLiteVariant

# Largest difference of a file's answers from Keras', in units of the largest logit or, of a
# regression, of the label's deviation. float16 weights have 11 bits: 4e-5 to 2e-3 was measured over
# the builders.
_TOLERANCES = {"float32": 1e-3, "float16": 1e-2}
# Share of training examples on which a file with int8 weights must still choose Keras' class.
# Whether it is good enough to ship is the gate's business; below this the conversion has gone
# wrong.
_QUANTIZED_AGREEMENT = 0.8
# Where no class is chosen: the root of the mean squared difference, of regression in deviations
# of the label, of multilabel in units of the logits' root mean square.
_QUANTIZED_ERROR = 0.25
# Pixels of 0 to 255, as they are and minus 128.
_RAW = {
    "uint8": {"scale": 1.0, "zero_point": 0},
    "int8": {"scale": 1.0, "zero_point": -128},
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
        dtypes = ("uint8", "int8") if wanted.dtype == "uint8" else (wanted.dtype,)
        raw = quantization == _RAW.get(each["dtype"]) or (
            quantization is None and each["dtype"] == wanted.dtype
        )
        if each["dtype"] not in dtypes or not raw:
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
