"""TFX's SchemaGen, told what our examples have, or replaced by a curated schema."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.components.schema_gen import component
from tfx.components.schema_gen import executor as tfx_executor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, json_utils

from modules import files
from modules.data.spec import CLASS_NAME, EXAMPLE_WEIGHT, LABEL, OURS
from modules.data.splits import EVAL, TRAIN, UNLABELED
from modules.errors import ConfigError, DataError, did_you_mean

# Environments of the schema; in the second one, nobody expects a label.
LABELED_ENVIRONMENT, UNLABELED_ENVIRONMENT = "LABELED", "UNLABELED"
_OF_LABELED = (LABEL, CLASS_NAME, EXAMPLE_WEIGHT)


class Executor(tfx_executor.Executor):
    """Infers as TFX does, then loosens what would be an anomaly in any data.

    - In a small data set every id is among the "values seen"; so the class names alone keep theirs.
    - A value that is missing in no training example may be missing in another.
    - Unlabeled examples have no label.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the schema.

        Raises:
          ConfigError: There is no such `data.schema_file`.
          DataError: It is no schema, or names of features are not in the data.
        """
        artifact = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.STATISTICS_KEY]
        )
        statistics = {
            split: stats_artifact_utils.load_statistics(artifact, split).proto()
            for split in artifact_utils.decode_split_names(artifact.split_names)
        }
        _check_names(json_utils.loads(exec_properties["features"]), statistics[TRAIN])
        uri = artifact_utils.get_single_uri(output_dict[standard_component_specs.SCHEMA_KEY])
        path = os.path.join(uri, tfx_executor.DEFAULT_FILE_NAME)
        super().Do(input_dict, output_dict, exec_properties)
        schema = io_utils.SchemaReader().read(path)
        _loosen(schema, statistics)
        if curated := exec_properties.get("schema_file"):
            schema = _curated(parse_schema(curated, exec_properties["schema_text"]), schema)
        _add_environments(schema, unlabeled=UNLABELED in statistics)
        io_utils.write_pbtxt_file(path, schema)


class SchemaGen(component.SchemaGen):
    """TFX's SchemaGen with our executor; learns from the training examples alone.

    Args:
      code_digest: Of the project.
      features: Keys of the configuration, and the names of features that they have.
      schema_file: A curated schema instead of the inferred one.
      **arguments: TFX's.

    Raises:
      ConfigError: There is no such file.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        code_digest: str,
        features: Mapping[str, Sequence[str]],
        schema_file: str | None,
        **arguments: Any,
    ):
        # What is odd in eval alone must not become part of what is expected.
        super().__init__(exclude_splits=[EVAL, UNLABELED], **arguments)
        # Part of the cache's key, which knows the executor's name alone.
        self.exec_properties["code_digest"] = code_digest
        self.exec_properties["features"] = json_utils.dumps(
            {key: list(names) for key, names in features.items()}
        )
        if schema_file:
            self.exec_properties["schema_file"] = schema_file
            self.exec_properties["schema_text"] = _read(schema_file)


def _read(path: str) -> str:
    try:
        return files.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"data.schema_file must be a schema.pbtxt, but {path!r} cannot be read ({error}); "
            "fix the path"
        ) from error


def parse_schema(path: str, text: str) -> schema_pb2.Schema:
    """The schema in a file.

    Raises:
      DataError: It is no schema.
    """
    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise DataError(
            f"data.schema_file: {path} must be a Schema of TensorFlow Metadata as text, but "
            f"{error}; fix it"
        ) from error


def _curated(schema: schema_pb2.Schema, inferred: schema_pb2.Schema) -> schema_pb2.Schema:
    """The user's schema, with the features that are ours where it has none."""
    domains = {domain.name: domain for domain in inferred.string_domain}
    known = {feature.name for feature in schema.feature}
    for feature in inferred.feature:
        if feature.name in OURS and feature.name not in known:
            schema.feature.append(feature)
            if feature.domain in domains:
                schema.string_domain.append(domains[feature.domain])
    return schema


def _check_names(asked: Mapping[str, Sequence[str]], statistics: Any) -> None:
    known = {_name(each) for each in statistics.datasets[0].features}
    choices = sorted(known - set(OURS))
    problems = [
        f"{key}: there is no feature {name!r}{did_you_mean(name, choices)}; there are "
        f"{', '.join(choices)}"
        for key, names in asked.items()
        for name in names
        if name not in choices
    ]
    if problems:
        raise DataError("; ".join(problems))


def _name(feature: statistics_pb2.FeatureNameStatistics) -> str:
    return feature.name or ".".join(feature.path.step)


def _loosen(schema: schema_pb2.Schema, statistics: Mapping[str, Any]) -> None:
    incomplete = set(_incomplete(statistics.values()))
    for feature in schema.feature:
        if feature.name != CLASS_NAME:
            feature.ClearField("domain_info")
        if feature.name in incomplete and feature.name not in OURS:
            _make_optional(feature)
    named = {feature.domain for feature in schema.feature if feature.HasField("domain")}
    kept = [domain for domain in schema.string_domain if domain.name in named]
    del schema.string_domain[:]
    schema.string_domain.extend(kept)


def _incomplete(statistics: Iterable[Any]) -> Iterable[str]:
    """Features that some example of some split lacks, or has another number of values of."""
    for split in statistics:
        (dataset,) = split.datasets
        for feature in dataset.features:
            common = getattr(feature, feature.WhichOneof("stats")).common_stats
            if common.num_missing or common.num_non_missing < dataset.num_examples:
                yield _name(feature)


def _make_optional(feature: schema_pb2.Feature) -> None:
    if feature.HasField("shape"):
        feature.ClearField("shape")
        feature.value_count.min = 1
    feature.presence.ClearField("min_fraction")


def _add_environments(schema: schema_pb2.Schema, *, unlabeled: bool) -> None:
    """Labels are expected in one environment only; then their shape must leave room for none."""
    if not unlabeled:
        return
    known = {LABELED_ENVIRONMENT, UNLABELED_ENVIRONMENT}
    schema.default_environment.extend(sorted(known - set(schema.default_environment)))
    for feature in schema.feature:
        if feature.name in _OF_LABELED:
            feature.ClearField("shape")
            if UNLABELED_ENVIRONMENT not in feature.not_in_environment:
                feature.not_in_environment.append(UNLABELED_ENVIRONMENT)
