"""TFX's ExampleValidator, made to stop the run: stock, it only records anomalies."""

from __future__ import annotations

import hashlib

from ml_metadata import MetadataStore
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import json_utils

from components.example_validator.executor import EARLIER, Executor, statistics_path
from modules import files
from modules.errors import ConfigError
from modules.settings import CheckSettings, DriftSettings


class EarlierStatistics(ResolverStrategy):
    """All statistics of this pipeline; the validator takes the last ones before its own."""

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """As they are; in a first run there are none, which is no error."""
        del store
        return input_dict


class ExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """TFX's ExampleValidatorSpec, with statistics of earlier examples."""

    INPUTS = {
        **standard_component_specs.ExampleValidatorSpec.INPUTS,
        EARLIER: ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
    }


class ExampleValidator(base_component.BaseComponent):
    """Compares the statistics of each split with the schema, and with each other.

    Args:
      statistics: Of the raw examples, by split.
      schema: What they are held to.
      checks: What is compared, and whether it ends the run.
      code_digest: Of the project.
      earlier_statistics: Among which the last ones before `statistics` are looked for; None: there
        are none, or `checks` names a directory.

    Raises:
      ConfigError: There are no statistics in the directory that `checks` names.
    """

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        checks: CheckSettings,
        code_digest: str,
        earlier_statistics: types.BaseChannel | None = None,
    ):
        super().__init__(
            ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                earlier_statistics=earlier_statistics,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
                exclude_splits=json_utils.dumps([]),
            )
        )
        # Part of the cache's key, which knows the executor's name alone.
        self.exec_properties["code_digest"] = code_digest + _digest(checks.drift)
        self.exec_properties["checks"] = checks.model_dump_json()


def _digest(drift: DriftSettings | None) -> str:
    """Of the file that is compared with."""
    if not (drift and drift.statistics):
        return ""
    path = statistics_path(drift.statistics)
    try:
        return hashlib.sha256(files.read_bytes(path)).hexdigest()
    except OSError as error:
        raise ConfigError(
            "data.checks.drift.statistics must be the directory of an ExampleStatistics artifact, "
            f"but {path!r} cannot be read ({error}); fix the path"
        ) from error
