"""What TFMA is asked, and its answers as plain numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from modules.data.spec import EXAMPLE_WEIGHT, LABEL, OutputSpec
from modules.export.saved_model import SIGNATURE
from modules.settings import EvaluateSettings, Task

_OF_CLASSES = ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": _OF_CLASSES,
    "binary": _OF_CLASSES,
    "multilabel": ("BinaryAccuracy", "BinaryCrossentropy"),
    "regression": ("MeanSquaredError", "MeanAbsoluteError"),
}
# Of the second class, the positive one. TFMA sorts the scores into 10,000 bins, so that these are
# close to the report's own numbers, but not the same.
_OF_POSITIVE = ("AUC", "AUCPrecisionRecall")
_NAMES = {
    "sparse_categorical_accuracy": "accuracy",
    "sparse_categorical_crossentropy": "loss",
    "binary_accuracy": "accuracy",
    "binary_crossentropy": "loss",
    "mean_squared_error": "loss",
    "mean_absolute_error": "mae",
}
# TFMA also gives the difference from the baseline, as `…_diff`.
_TOP_K = re.compile(r"top_(\d+)_accuracy")


def tfma_config(
    settings: EvaluateSettings,
    output: OutputSpec | None = None,
    *,
    weighted: bool = False,
    baseline: bool = True,
) -> config_pb2.EvalConfig:
    """Student as candidate, teacher as baseline; overall and for every slice.

    It has no thresholds: the gate decides, and on more than TFMA measures.

    Args:
      settings: Slices, and the k of top-k accuracies.
      output: What the models answer, or None where it is not known yet.
      weighted: Whether the examples have weights.
      baseline: Whether the teacher is a model.
    """
    task = output.task if output else "classification"

    def model_spec(name: str, **options: Any) -> config_pb2.ModelSpec:
        return config_pb2.ModelSpec(
            name=name,
            signature_name=SIGNATURE,
            prediction_key="values" if task == "regression" else "probabilities",
            label_key=LABEL,
            example_weight_key=EXAMPLE_WEIGHT if weighted else "",
            **options,
        )

    return config_pb2.EvalConfig(
        model_specs=[
            model_spec("student"),
            *([model_spec("teacher", is_baseline=True)] if baseline else []),
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=features) for features in settings.slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[*_metrics(task, settings, output.size if output else None)]
            )
        ],
    )


def _metrics(
    task: Task, settings: EvaluateSettings, classes: int | None
) -> Iterator[config_pb2.MetricConfig]:
    for name in ("ExampleCount", *_METRICS[task]):
        yield config_pb2.MetricConfig(class_name=name)
    if task == "binary":
        for name in _OF_POSITIVE:
            yield config_pb2.MetricConfig(class_name=name, config=json.dumps({"class_id": 1}))
    if task == "classification":
        for k in settings.top_k:
            # An answer among as many as there are classes is always right.
            if classes is None or k < classes:
                yield config_pb2.MetricConfig(
                    class_name="SparseTopKCategoricalAccuracy",
                    config=json.dumps({"k": k, "name": f"top_{k}_accuracy"}),
                )


def slice_numbers(result: Any) -> dict[tuple[tuple[str, str], ...], dict[str, float]]:
    """Numbers of one model by slice, under their names in an entry; `()` is the whole split.

    Args:
      result: What `tfma.load_eval_result` returned.
    """
    found = {}
    for key, outputs in result.slicing_metrics:
        numbers = {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        named = {ours: numbers[name] for name, ours in _NAMES.items() if name in numbers}
        if "mean_squared_error" in numbers:
            named["rmse"] = math.sqrt(named["loss"])
        for name, value in numbers.items():
            if top_k := _TOP_K.fullmatch(name):
                named[f"top_k.{top_k[1]}"] = value
        found[tuple((feature, str(value)) for feature, value in key)] = named
    return found
