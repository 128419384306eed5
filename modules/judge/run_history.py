"""What the nodes before the judgment left behind: training curves, and the data's statistics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from modules.data.spec import CLASS_NAME
from modules.distill.training import COUNTS_FILE
from modules.judge.schema import DataSummary, FeatureSummary, LearnedFrom, SplitSummary

_PREFIX = "epoch_"
_PARTS = {"train": "", "validation": "val_"}


def training_curves(model_run_dir: str) -> dict[str, list[float]]:
    """One value for each epoch of a training, by name: `loss`, `val_accuracy`, ...

    Args:
      model_run_dir: Of a ModelRun artifact, with TensorBoard's logs of each generation; the last
        generation is read. An epoch that was trained twice, because the run was taken up again,
        counts as it was trained last.

    Returns:
      Names that begin with `val_` are of the held-out part. Empty if nothing was trained.
    """
    newest = _last_generation(model_run_dir)
    if newest is None:
        return {}
    curves = {}
    for part, prefix in _PARTS.items():
        directory = os.path.join(newest, part)
        if not tf.io.gfile.isdir(directory):
            continue
        events = EventAccumulator(directory, size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith(_PREFIX):
                values = {
                    e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)
                }
                name = prefix + tag.removeprefix(_PREFIX)
                curves[name] = [values[step] for step in sorted(values)]
    return curves


def learned_from(model_run_dir: str) -> LearnedFrom | None:
    """How many examples the last generation of a training was given; None if nothing was trained.

    Args:
      model_run_dir: See `training_curves`.
    """
    path = os.path.join(_last_generation(model_run_dir) or model_run_dir, COUNTS_FILE)
    if not tf.io.gfile.exists(path):
        return None
    return LearnedFrom.model_validate(json.loads(_read(path)))


def _last_generation(model_run_dir: str) -> str | None:
    generations = tf.io.gfile.glob(os.path.join(model_run_dir, "generation_*"))
    return max(generations, key=lambda path: int(path.rstrip("/").rsplit("_", 1)[1]), default=None)


def summarize_data(
    statistics: Mapping[str, str], anomalies: Mapping[str, str], labels: list[str]
) -> DataSummary:
    """What StatisticsGen and ExampleValidator found.

    Args:
      statistics: Path of `FeatureStats.pb` by split.
      anomalies: Path of `SchemaDiff.pb` by split.
      labels: The class names.
    """
    found = []
    for split, path in sorted(anomalies.items()):
        parsed = anomalies_pb2.Anomalies.FromString(_read(path))
        found += [
            f"{split}: {name}: {info.description}"
            for name, info in sorted(parsed.anomaly_info.items())
        ]
    return DataSummary(
        splits={split: _split(path, labels) for split, path in sorted(statistics.items())},
        anomalies=found,
    )


def _split(path: str, labels: list[str]) -> SplitSummary:
    (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(_read(path)).datasets
    features = {feature.path.step[0]: feature for feature in dataset.features}
    # A regression has no classes, and examples without label have none.
    named = [features[CLASS_NAME]] if CLASS_NAME in features else []
    counts = {
        bucket.label: int(bucket.sample_count)
        for feature in named
        for bucket in feature.string_stats.rank_histogram.buckets
    }
    return SplitSummary(
        examples=int(dataset.num_examples),
        # Of very many classes TFDV keeps the most frequent ones alone.
        classes={label: counts[label] for label in labels if label in counts},
        features=[_feature(name, feature) for name, feature in sorted(features.items())],
    )


def _feature(name: str, feature: Any) -> FeatureSummary:
    kind = statistics_pb2.FeatureNameStatistics.Type.Name(feature.type)
    if feature.HasField("num_stats"):
        numbers = feature.num_stats
        return FeatureSummary(
            name=name,
            type=kind,
            missing=numbers.common_stats.num_missing,
            minimum=numbers.min,
            maximum=numbers.max,
            mean=numbers.mean,
        )
    texts = feature.string_stats if feature.HasField("string_stats") else feature.bytes_stats
    return FeatureSummary(
        name=name,
        type=kind,
        missing=texts.common_stats.num_missing,
        unique=int(texts.unique) or None,
    )


def _read(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())
