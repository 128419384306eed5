"""Holds the statistics of each split to the schema, to each other and to earlier ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as tfx_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, writer_utils

from components.schema_gen import UNLABELED_ENVIRONMENT
from modules import files
from modules.data.distances import Comparison, distant_features
from modules.data.features.statistics import STATISTICS_FILE
from modules.data.splits import EVAL, TRAIN, UNLABELED
from modules.errors import DataError
from modules.settings import CheckSettings

_LOG = logging.getLogger("tfx_distill.example_validator")
_STATISTICS = standard_component_specs.STATISTICS_KEY
_SCHEMA = standard_component_specs.SCHEMA_KEY
_ANOMALIES = standard_component_specs.ANOMALIES_KEY
EARLIER = "earlier_statistics"
_NOT_FITTING = "the examples do not fit their schema"
_ABOUT: dict[Comparison, str] = {
    "skew": "the splits train and eval differ",
    "drift": "the training examples differ from earlier ones",
}


class Executor(tfx_executor.Executor):
    """Validates as TFX does and compares distributions, then raises what was found."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Writes the anomalies of each split.

        Raises:
          DataError: At least one anomaly that shall stop the run, with TFDV's text.
        """
        checks = CheckSettings.model_validate_json(exec_properties["checks"])
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[_ANOMALIES])
        fitting = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            anomalies = anomalies_pb2.Anomalies()
            anomalies.ParseFromString(io_utils.read_bytes_file(_anomalies_path(artifact, split)))
            fitting += describe_anomalies(split, anomalies)
        problems = [(checks.anomalies, _NOT_FITTING, fitting)]
        for comparison, others in _compared(input_dict, checks):
            settings = getattr(checks, comparison)
            distant = _distant(comparison, input_dict, others, settings and settings.limit)
            _record(_anomalies_path(artifact, TRAIN), _ABOUT[comparison], distant)
            lines = [f"feature {name!r}: {line}" for name, line in sorted(distant.items())]
            action = settings.action if settings else checks.anomalies
            problems.append((action, _ABOUT[comparison], lines))
        _act(problems)
        return output

    def _Validate(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> anomalies_pb2.Anomalies:
        """TFX's, in the environment without label where there is none."""
        (directory,) = outputs.values()
        unlabeled = os.path.basename(directory) == f"Split-{UNLABELED}"
        environment = UNLABELED_ENVIRONMENT if unlabeled else None
        anomalies = tfdv.validate_statistics(inputs[_STATISTICS], inputs[_SCHEMA], environment)
        writer_utils.write_anomalies(
            os.path.join(directory, tfx_executor.DEFAULT_FILE_NAME), anomalies
        )
        return anomalies


def statistics_path(directory: str) -> str:
    """The statistics of the training examples in the directory of an ExampleStatistics artifact."""
    return os.path.join(directory, f"Split-{TRAIN}", STATISTICS_FILE)


def _anomalies_path(artifact: types.Artifact, split: str) -> str:
    directory = artifact_utils.get_split_uri([artifact], split)
    return os.path.join(directory, tfx_executor.DEFAULT_FILE_NAME)


def _compared(
    input_dict: dict[str, list[types.Artifact]], checks: CheckSettings
) -> Iterator[tuple[Comparison, str]]:
    """The comparisons, and the file of statistics that the training examples' are compared with."""
    (statistics,) = input_dict[_STATISTICS]
    schema = _schema(input_dict)
    if checks.skew or any(feature.HasField("skew_comparator") for feature in schema.feature):
        yield "skew", _path(statistics, EVAL)
    if checks.drift and checks.drift.statistics:
        yield "drift", statistics_path(checks.drift.statistics)
    elif checks.drift:
        now = (statistics.span, statistics.id)
        earlier = [
            artifact
            for artifact in input_dict.get(EARLIER, [])
            if (artifact.span, artifact.id) < now and files.exists(_path(artifact, TRAIN))
        ]
        if earlier:
            last = max(earlier, key=lambda artifact: (artifact.span, artifact.id))
            yield "drift", _path(last, TRAIN)
        else:
            _LOG.info("no earlier examples to compare with")


def _path(statistics: types.Artifact, split: str) -> str:
    return os.path.join(artifact_utils.get_split_uri([statistics], split), STATISTICS_FILE)


def _distant(
    comparison: Comparison,
    input_dict: dict[str, list[types.Artifact]],
    others: str,
    limit: float | None,
) -> dict[str, str]:
    (statistics,) = input_dict[_STATISTICS]
    train, other = (
        statistics_pb2.DatasetFeatureStatisticsList.FromString(io_utils.read_bytes_file(path))
        for path in (_path(statistics, TRAIN), others)
    )
    return distant_features(comparison, train, other, _schema(input_dict), limit)


def _schema(input_dict: dict[str, list[types.Artifact]]) -> schema_pb2.Schema:
    directory = artifact_utils.get_single_uri(input_dict[_SCHEMA])
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(directory))


def _record(path: str, about: str, distant: dict[str, str]) -> None:
    """Add what differs to the anomalies, from which the report takes them."""
    if not distant:
        return
    anomalies = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(path))
    for name, line in distant.items():
        info = anomalies.anomaly_info[name]
        info.path.step.append(name)
        known = [info.description] if info.description else []
        info.description = " ".join([*known, f"{about}: {line}"])
    writer_utils.write_anomalies(path, anomalies)


def _act(problems: Sequence[tuple[str, str, list[str]]]) -> None:
    """Warn of what shall not stop the run, then stop it for the rest.

    Raises:
      DataError: There is a rest.
    """
    stopping = []
    for action, about, lines in problems:
        text = f"{about}: {'; '.join(lines)}"
        if lines and action == "stop":
            stopping.append(text)
        elif lines:
            _LOG.warning("%s", text)
    if stopping:
        raise DataError("; ".join(stopping))


def describe_anomalies(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One sentence per anomaly, naming split and feature."""
    lines = [
        f"split {split}, feature {name!r}: {info.description or info.short_description}"
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    return lines
