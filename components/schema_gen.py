"""TFX's SchemaGen, told which texts are no categories to insist on."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.schema_gen import component
from tfx.components.schema_gen import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from modules.data.features.decode import CLASS_NAME


class Executor(tfx_executor.Executor):
    """Infers as TFX does, then takes off all domains but the class names'.

    In a small data set every id is among the "values seen"; every id of eval would be an anomaly.
    Features that only slice the judgment may have values in eval that train never had.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the schema."""
        super().Do(input_dict, output_dict, exec_properties)
        uri = artifact_utils.get_single_uri(output_dict[standard_component_specs.SCHEMA_KEY])
        path = os.path.join(uri, tfx_executor.DEFAULT_FILE_NAME)
        schema = io_utils.SchemaReader().read(path)
        for feature in schema.feature:
            if feature.name != CLASS_NAME:
                feature.ClearField("domain_info")
        named = {feature.domain for feature in schema.feature if feature.HasField("domain")}
        kept = [domain for domain in schema.string_domain if domain.name in named]
        del schema.string_domain[:]
        schema.string_domain.extend(kept)
        io_utils.write_pbtxt_file(path, schema)


class SchemaGen(component.SchemaGen):
    """TFX's SchemaGen with our executor.

    Args:
      code_digest: Of the project.
      **arguments: TFX's.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, code_digest: str, **arguments: Any):
        super().__init__(**arguments)
        # Part of the cache's key, which knows the executor's name alone.
        self.exec_properties["code_digest"] = code_digest
