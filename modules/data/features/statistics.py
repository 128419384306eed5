"""What StatisticsGen counted, as `FeatureStatistics`."""

from __future__ import annotations

from typing import Any

from modules.data.features.protocol import FeatureStatistics

STATISTICS_FILE = "FeatureStats.pb"


def read_statistics(path: str) -> dict[str, FeatureStatistics]:
    """The features of one split by name.

    Args:
      path: Of `FeatureStats.pb`.
    """
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import statistics_pb2

    with tf.io.gfile.GFile(path, "rb") as file:
        parsed = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())
    # TFDV puts the whole split first, slices behind it.
    dataset = parsed.datasets[0]
    examples = int(dataset.num_examples)
    found = [_feature(each, examples) for each in dataset.features]
    return {each.name: each for each in found}


def _feature(feature: Any, examples: int) -> FeatureStatistics:
    name = ".".join(feature.path.step) or feature.name
    if feature.HasField("num_stats"):
        return _numbers(name, feature, examples)
    texts = feature.string_stats if feature.HasField("string_stats") else feature.bytes_stats
    common = texts.common_stats
    is_text = feature.HasField("string_stats")
    return FeatureStatistics(
        name=name,
        type="string",
        examples=examples,
        missing=examples - int(common.num_non_missing),
        fewest_values=int(common.min_num_values),
        most_values=int(common.max_num_values),
        unique=int(texts.unique),
        average_length=float(texts.avg_length if is_text else texts.avg_num_bytes),
        common=tuple(bucket.label for bucket in (texts.rank_histogram.buckets if is_text else ())),
    )


def _numbers(name: str, feature: Any, examples: int) -> FeatureStatistics:
    numbers = feature.num_stats
    common = numbers.common_stats
    quantiles: list[float] = []
    not_a_number = 0
    for histogram in numbers.histograms:
        not_a_number = max(not_a_number, int(histogram.num_nan))
        if histogram.type == histogram.QUANTILES:
            buckets = histogram.buckets
            quantiles = [buckets[0].low_value, *(each.high_value for each in buckets)]
    return FeatureStatistics(
        name=name,
        type="integer" if feature.type == feature.INT else "float",
        examples=examples,
        missing=examples - int(common.num_non_missing) + not_a_number,
        fewest_values=int(common.min_num_values),
        most_values=int(common.max_num_values),
        mean=float(numbers.mean),
        deviation=float(numbers.std_dev),
        minimum=float(numbers.min),
        maximum=float(numbers.max),
        quantiles=tuple(quantiles),
    )
