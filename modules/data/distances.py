"""How far the values of features are apart in two sets of examples, by TFDV's comparators."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from modules.data.spec import CLASS_NAME, LABEL, OURS

Comparison = Literal["skew", "drift"]


def distant_features(
    comparison: Comparison,
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    others: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    limit: float | None,
) -> dict[str, str]:
    """The features whose values differ by more than is allowed, with a sentence about each.

    Texts, ids and images are left out: almost each of their values occurs once.

    Args:
      comparison: With another split (skew) or with earlier examples (drift).
      statistics: Of the training examples.
      others: What they are compared with.
      schema: Its own `skew_comparator` or `drift_comparator` of a feature goes before `limit`.
      limit: Of the Jensen-Shannon divergence, 0 to 1; None compares only what the schema names.
    """
    # tfx has to be imported before it, which all that validates has done.
    import tensorflow_data_validation as tfdv

    limited = _limited(comparison, schema, _comparable(statistics), limit)
    given = {"serving_statistics" if comparison == "skew" else "previous_statistics": others}
    anomalies = tfdv.validate_statistics(statistics, limited, **given)
    found = {}
    for info in anomalies.drift_skew_info:
        sentences = [
            f"the distance is {each.value:.3g}, above {each.threshold:.3g} ({_NAMES[each.type]})"
            for each in getattr(info, f"{comparison}_measurements")
            if each.value > each.threshold
        ]
        if sentences:
            found[".".join(info.path.step)] = "; ".join(sentences)
    return found


_NAMES = {1: "largest difference of a share", 2: "Jensen-Shannon divergence", 3: "of the counts"}


def _limited(
    comparison: Comparison,
    schema: schema_pb2.Schema,
    names: Collection[str],
    limit: float | None,
) -> schema_pb2.Schema:
    limited = schema_pb2.Schema()
    limited.CopyFrom(schema)
    key = f"{comparison}_comparator"
    for feature in limited.feature:
        if limit is not None and feature.name in names and not feature.HasField(key):
            getattr(feature, key).jensen_shannon_divergence.threshold = limit
    return limited


def _comparable(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> set[str]:
    names = set(_of_few_values(statistics))
    return names - ({LABEL} if CLASS_NAME in names else set())


def _of_few_values(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> Iterator[str]:
    (dataset,) = statistics.datasets
    for feature in dataset.features:
        name = feature.name or ".".join(feature.path.step)
        if name in OURS and name not in (LABEL, CLASS_NAME):
            continue
        strings = feature.string_stats
        if (
            feature.WhichOneof("stats") == "num_stats"
            or strings.unique * 2 < strings.common_stats.num_non_missing
        ):
            yield name
