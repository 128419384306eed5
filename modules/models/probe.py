"""What a model does with random inputs, before it is trusted with a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ModelError
from modules.models.inputs import Inputs

# As many as make it certain that all answers lie in [0, 1] for a reason, and a part of them.
_EXAMPLES, _FEW = 32, 3
# Of the largest answer: the sums of other batches are rounded otherwise.
_TOLERANCE = 1e-3
_RANDOM_WEIGHTS = 3


def random_inputs(inputs: Inputs, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Values that the data could have, `[count, ...]`, by name."""
    random = np.random.default_rng(seed)
    return {name: _values(random, spec, (count, *spec.shape)) for name, spec in inputs.items()}


def _values(random: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    if spec.dtype == "float32":
        return (spec.mean + spec.deviation * random.normal(size=shape)).astype(np.float32)
    largest = 256 if spec.dtype == "uint8" else spec.vocabulary_size or 2
    return random.integers(0, largest, shape).astype(spec.dtype)


def check_answers(
    build: Callable[[], keras.Model], inputs: Inputs, output: OutputSpec
) -> keras.Model:
    """Build a model twice and ask it.

    Args:
      build: Makes a model from a dictionary of the inputs to `[b, output.size]`.
      inputs: What it takes.
      output: What it is to answer.

    Returns:
      The model.

    Raises:
      ModelError: It is another one each time, answers differently each time or in another batch,
        answers what is not finite, or answers probabilities.
    """
    model, again = build(), build()
    shapes, others = ([tuple(each.shape) for each in built.weights] for built in (model, again))
    if shapes != others:
        raise ModelError(
            f"{model.name} must be the same whenever it is built, but has other weights the second "
            f"time ({_first_difference(shapes, others)}); make its builder depend on nothing but "
            "its arguments"
        )
    asked = random_inputs(inputs, _EXAMPLES)
    answers = _ask(model, asked)
    if not np.isfinite(answers).all():
        raise ModelError(
            f"{model.name} must give finite answers, but gives {answers[~np.isfinite(answers)][0]} "
            "for random inputs before it is trained; look for divisions, logarithms and roots"
        )
    if (apart := _apart(answers, _ask(model, asked))) > _TOLERANCE:
        raise ModelError(
            f"{model.name} must give the same answer to the same input, but the second time it is "
            f"off by {apart:.2g} of the largest answer; make what is random in it depend on "
            "training"
        )
    few = _ask(model, {name: values[:_FEW] for name, values in asked.items()})
    if (apart := _apart(answers[:_FEW], few)) > _TOLERANCE:
        raise ModelError(
            f"{model.name} must answer each example by itself, but in a batch of {_FEW} its "
            f"answers are off by {apart:.2g} of those in a batch of {_EXAMPLES}; take out what "
            "computes over the batch"
        )
    if output.task != "regression" and _always_probabilities(again, answers, asked):
        raise ModelError(
            f"{model.name} must return logits, but seems to return probabilities: all its answers "
            "lie in [0, 1]; build it without softmax or sigmoid at its end"
        )
    return model


def _ask(model: Any, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(model(inputs, training=False)), np.float64)


def _apart(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The largest difference, as a share of the largest answer."""
    return float(np.abs(first - second).max() / max(np.abs(first).max(), 1e-30))


def _first_difference(shapes: list[Any], others: list[Any]) -> str:
    if len(shapes) != len(others):
        return f"{len(others)} instead of {len(shapes)}"
    pairs = zip(shapes, others, strict=True)
    return next(f"{other} instead of {shape}" for shape, other in pairs if shape != other)


def _always_probabilities(
    model: Any, answers: NDArray[Any], asked: dict[str, NDArray[Any]]
) -> bool:
    """Whether answers lie in [0, 1] whatever the weights, which is a softmax or a sigmoid.

    Those of an untrained model may do so by chance. Changes the model's weights.
    """
    random = np.random.default_rng(0)
    for _ in range(_RANDOM_WEIGHTS):
        if not (answers.min() >= 0 and answers.max() <= 1):  # NaN is not.
            return False
        if not model.trainable_weights:
            return False
        for each in model.trainable_weights:
            each.assign(random.normal(0, 3, each.shape).astype(each.dtype))
        answers = _ask(model, asked)
    return bool(answers.min() >= 0 and answers.max() <= 1)
