"""TFX's ExampleValidator, made to stop the run: stock, it only records anomalies."""

from __future__ import annotations

import math
import os
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import component
from tfx.components.example_validator import executor as tfx_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, writer_utils

from components.schema_gen import UNLABELED_ENVIRONMENT
from modules.data.splits import UNLABELED
from modules.errors import DataError


class Executor(tfx_executor.Executor):
    """Validates as TFX does, then raises what was found."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Writes the anomalies of each split.

        Raises:
          DataError: At least one anomaly, with TFDV's text; or infinite numbers.
        """
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        statistics = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.STATISTICS_KEY]
        )
        found = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = os.path.join(
                artifact_utils.get_split_uri([artifact], split), tfx_executor.DEFAULT_FILE_NAME
            )
            anomalies = anomalies_pb2.Anomalies()
            anomalies.ParseFromString(io_utils.read_bytes_file(path))
            found += describe_anomalies(split, anomalies)
            found += infinite_numbers(
                split, stats_artifact_utils.load_statistics(statistics, split).proto()
            )
        if found:
            raise DataError("the examples do not fit their schema: " + "; ".join(found))
        return output

    def _Validate(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> anomalies_pb2.Anomalies:
        """TFX's, in the environment without label where there is none."""
        statistics = inputs[standard_component_specs.STATISTICS_KEY]
        schema = inputs[standard_component_specs.SCHEMA_KEY]
        (directory,) = outputs.values()
        unlabeled = os.path.basename(directory) == f"Split-{UNLABELED}"
        environment = UNLABELED_ENVIRONMENT if unlabeled else None
        anomalies = tfdv.validate_statistics(statistics, schema, environment)
        writer_utils.write_anomalies(
            os.path.join(directory, tfx_executor.DEFAULT_FILE_NAME), anomalies
        )
        return anomalies


class ExampleValidator(component.ExampleValidator):
    """Compares the statistics of each split with the schema; any anomaly ends the run.

    Args:
      code_digest: Of the project.
      **arguments: TFX's.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, code_digest: str, **arguments: Any):
        super().__init__(**arguments)
        # Part of the cache's key, which knows the executor's name alone.
        self.exec_properties["code_digest"] = code_digest


def describe_anomalies(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One sentence per anomaly, naming split and feature."""
    lines = [
        f"split {split}, feature {name!r}: {info.description or info.short_description}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    return lines


def infinite_numbers(
    split: str, statistics: statistics_pb2.DatasetFeatureStatisticsList
) -> list[str]:
    """One sentence per feature that has some; TFDV looks for them only where a schema says so."""
    return [
        f"split {split}, feature {each.path.step[0]!r}: has infinite numbers, or such as do not "
        "fit into 32 bits; fix or empty them, or leave the column out of the files"
        for each in statistics.datasets[0].features
        if math.isinf(each.num_stats.min) or math.isinf(each.num_stats.max)
    ]
