"""What TFMA is asked, and its answers as plain numbers."""

from __future__ import annotations

import json
import re
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from modules.data.spec import LABEL
from modules.export.saved_model import SIGNATURE
from modules.settings import EvaluateSettings

_ACCURACY, _LOSS = "sparse_categorical_accuracy", "sparse_categorical_crossentropy"
# TFMA also gives the difference from the baseline, as `…_diff`.
_TOP_K = re.compile(r"top_\d+_accuracy")


def tfma_config(settings: EvaluateSettings, classes: int | None = None) -> config_pb2.EvalConfig:
    """Student as candidate, teacher as baseline; overall and for every slice.

    It has no thresholds: the gate decides, and on more than TFMA measures.

    Args:
      settings: Slices, and the k of top-k accuracies.
      classes: Number of classes; an answer among as many is always right, so that k is left out.
    """

    def model_spec(name: str, **options: Any) -> config_pb2.ModelSpec:
        return config_pb2.ModelSpec(
            name=name,
            signature_name=SIGNATURE,
            prediction_key="probabilities",
            label_key=LABEL,
            **options,
        )

    names = ("ExampleCount", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
    metrics = [config_pb2.MetricConfig(class_name=name) for name in names]
    metrics += [
        config_pb2.MetricConfig(
            class_name="SparseTopKCategoricalAccuracy",
            config=json.dumps({"k": k, "name": f"top_{k}_accuracy"}),
        )
        for k in settings.top_k
        if classes is None or k < classes
    ]
    return config_pb2.EvalConfig(
        model_specs=[model_spec("student"), model_spec("teacher", is_baseline=True)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=features) for features in settings.slices),
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
    )


def slice_numbers(result: Any) -> dict[tuple[tuple[str, str], ...], dict[str, float]]:
    """`accuracy`, `loss` and `top_<k>_accuracy` of one model by slice; `()` is the whole split.

    Args:
      result: What `tfma.load_eval_result` returned.
    """
    found = {}
    for key, outputs in result.slicing_metrics:
        numbers = {name: value["doubleValue"] for name, value in outputs[""][""].items()}
        found[tuple((feature, str(value)) for feature, value in key)] = {
            "accuracy": numbers[_ACCURACY],
            "loss": numbers[_LOSS],
            **{name: value for name, value in numbers.items() if _TOP_K.fullmatch(name)},
        }
    return found
