"""Is the teacher worth learning from? Asked of every teacher before any student is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.data.examples import ExampleData, Inputs
from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.judge.formats import Fixed, text
from modules.measure.answers import Answers
from modules.measure.registry import metrics_of
from modules.measure.skill import Skill, skill
from modules.measure.task_metrics import TaskMetrics

_LOG = logging.getLogger("tfx_distill.training")
_CONFIDENCE = 0.95
# A moving average of momentum m has forgotten all but 1 % of its beginning after 5 / (1 - m) steps.
_STEPS_TO_FORGET = 5
# Of a brought teacher; more would only cost time.
_MOST_EXAMPLES, _BATCH = 4096, 256


def check_teacher(
    model: keras.Model, batches: Iterable[Any], output: OutputSpec, *, allow_weak: bool
) -> None:
    """Hold a teacher against an answer that is always the same.

    Args:
      model: As it will teach. It is left as it is.
      batches: `(inputs, y)` or `(inputs, y, weights)` of examples that it has not learned from,
        `y` with `label`.
      output: What it answers.
      allow_weak: Whether a weak teacher is a warning only.

    Raises:
      ModelError: The teacher is clearly of no use; see `modules.measure.skill.Skill`.
    """
    metrics, held_out = metrics_of(output.task, _CONFIDENCE, seed=0), list(batches)
    answers = _ask(model, held_out, metrics, training=False)
    found = skill(metrics, answers)
    words = _in_words(found, output, f"{len(answers):,} held-out training examples")
    if found.weak:
        words += _blame(model, held_out, metrics)
    _conclude(found, words, "the teacher", "train it longer or otherwise", allow_weak)


def check_brought_teacher(
    ask: Callable[[Inputs, tf.Tensor], Any], data: ExampleData, key: str, *, allow_weak: bool
) -> None:
    """Hold a teacher that was not trained here against an answer that is always the same.

    Args:
      ask: From inputs and example ids `[b]` to logits or values `[b, n]`.
      data: Labeled examples; of very many, a few thousand are asked.
      key: Place of the teacher in the configuration, for messages.
      allow_weak: Whether a weak teacher is a warning only.

    Raises:
      ModelError: The teacher is clearly of no use.
    """
    output = data.spec.output
    metrics = metrics_of(output.task, _CONFIDENCE, seed=0)
    answers = _ask_some(ask, data, metrics)
    if answers is None:
        return
    found = skill(metrics, answers)
    words = _in_words(found, output, f"{len(answers):,} training examples")
    remedy = f"check {key}.labels (the order of its outputs), {key}.returns and what it is given"
    _conclude(found, words, key, remedy, allow_weak)


def _ask_some(
    ask: Callable[[Inputs, tf.Tensor], Any], data: ExampleData, metrics: TaskMetrics
) -> Answers | None:
    """Answers to a part that does not depend on the order; None if nothing is labeled."""
    share = _MOST_EXAMPLES / max(data.labeled_count, 1)
    answers = []
    for inputs, labels, ids, weights in data.weighted(_BATCH):
        # Ids are hexadecimal digits of a hash.
        parts = [int(each[:8], 16) / 16**8 for each in ids.numpy()]
        if not (chosen := np.flatnonzero(np.array(parts) < share)).size:
            continue
        some = {name: tf.gather(values, chosen) for name, values in inputs.items()}
        outputs = keras.ops.convert_to_numpy(ask(some, tf.gather(ids, chosen)))
        given = labels.numpy()[chosen], outputs, weights.numpy()[chosen]
        answers.append(metrics.answers.from_outputs(*given))
    return metrics.answers.concatenate(answers) if answers else None


def _conclude(found: Skill, words: str, teacher: str, remedy: str, allow_weak: bool) -> None:
    if not found.weak:
        _LOG.info("%s: %s", teacher, words)
        return
    words = f"{teacher} is weak: {words}"
    if not allow_weak:
        raise ModelError(f"{words}; {remedy}, or set its allow_weak: true to go on")
    _LOG.warning("%s", words)


def _ask(
    model: keras.Model, batches: Iterable[Any], metrics: TaskMetrics, *, training: bool
) -> Answers:
    answers = []
    for inputs, y, *weights in batches:
        outputs = keras.ops.convert_to_numpy(model(inputs, training=training))
        answers.append(metrics.answers.from_outputs(np.asarray(y["label"]), outputs, *weights))
    found: Answers = metrics.answers.concatenate(answers)
    return found


def _in_words(found: Skill, output: OutputSpec, examples: str) -> str:
    name, always, form = "accuracy", "the most frequent class", Fixed(4)
    if output.task == "regression":
        name, always = "RMSE", "the mean"
    elif output.task == "multilabel":
        always = "the most frequent answer"
    values = [
        text(each, "value" if output.task == "regression" else form)
        for each in (found.value, found.constant)
    ]
    return f"{name} {values[0]} on {examples}, where {always} has {values[1]}"


def _blame(model: keras.Model, batches: list[Any], metrics: TaskMetrics) -> str:
    """Names the moving averages if the model is good with the statistics of each batch."""
    slowest = max(_momentums(model), default=None)
    if slowest is None:
        return ""
    weights = model.get_weights()
    in_training = skill(metrics, _ask(model, batches, metrics, training=True))
    model.set_weights(weights)
    if in_training.weak:
        return ""
    steps = f"some {_STEPS_TO_FORGET / (1 - slowest):,.0f} steps" if slowest < 1 else "for ever"
    return (
        f", but {text(in_training.value, Fixed(4))} with the statistics of each batch: the moving "
        f"averages of its BatchNormalization layers, of momentum {slowest:g}, are those of the "
        f"beginning for {steps}; build the layers with momentum=0.9"
    )


def _momentums(model: Any) -> list[float]:
    """Of all normalizations, nested ones included."""
    return [
        layer.momentum
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
