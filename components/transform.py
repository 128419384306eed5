"""TFX's Transform with the feature kinds: it reads the statistics, and says what models take."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow_transform as tft
from tfx import types
from tfx.components.transform import component
from tfx.components.transform import executor as tfx_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter

from modules.data.features.plan import data_spec, plan_features
from modules.data.features.statistics import STATISTICS_FILE, read_statistics
from modules.data.preprocessing import inputs_of_schema, with_vocabularies
from modules.data.spec import SPEC_FILE, read_dataset, write_json
from modules.settings import DataSettings


class Executor(tfx_executor.Executor):
    """Plans the features, transforms as TFX does, and writes `data_spec.json`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the transform graph, the transformed examples and the specification.

        Raises:
          ConfigError: A feature that does not exist.
          DataError: A feature cannot be of its kind.
        """
        custom_config = json.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        data = DataSettings.model_validate_json(custom_config["data"])
        dataset = read_dataset(
            artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY])
        )
        plan = {}
        if not data.preprocessing_fn:
            plan = plan_features(data, dataset, _statistics(input_dict))
        spec = data_spec(plan, data, dataset)
        told = {
            "spec": spec.model_dump_json(),
            "preprocessing_fn": data.preprocessing_fn,
        }
        super().Do(
            input_dict,
            output_dict,
            {**exec_properties, standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(told)},
        )
        graph = artifact_utils.get_single_uri(
            output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY]
        )
        output = tft.TFTransformOutput(graph)
        inputs = inputs_of_schema(output) if not plan else with_vocabularies(spec, output)
        write_json(spec.model_copy(update={"inputs": inputs}), graph, SPEC_FILE)


class TransformSpec(standard_component_specs.TransformSpec):
    """TFX's TransformSpec, with the statistics."""

    INPUTS = {
        **standard_component_specs.TransformSpec.INPUTS,
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }


class Transform(component.Transform):
    """TFX's Transform with the preprocessing of `modules.preprocessing`.

    Args:
      examples: Raw examples, with `dataset.json`.
      schema: Of the raw examples.
      statistics: Of the raw examples; those of the split train scale numbers and suggest kinds.
      data: Features and the user's preprocessing function.
      code_digest: Of the project, and of the user's function.
    """

    SPEC_CLASS = TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        statistics: types.BaseChannel,
        data: DataSettings,
        code_digest: str,
    ):
        transformed = types.Channel(type=standard_artifacts.Examples)
        transformed.matching_channel_name = standard_component_specs.EXAMPLES_KEY
        custom_config = {
            # Splits and sources are ExampleGen's: changing them changes the examples.
            "data": data.model_dump_json(include=_RELEVANT),
            # Part of the cache's key, which knows a dotted path but not the code behind it.
            "code_digest": code_digest,
        }
        spec = TransformSpec(
            examples=examples,
            schema=schema,
            statistics=statistics,
            preprocessing_fn="modules.preprocessing.preprocessing_fn",
            custom_config=json.dumps(custom_config),
            force_tf_compat_v1=0,
            disable_statistics=1,
            transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
            transformed_examples=transformed,
        )
        # What the constructor of TFX's Transform does, which would build TFX's own spec.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)


_RELEVANT = {
    "source",
    "features",
    "exclude",
    "id",
    "group",
    "time",
    "weight",
    "class_weights",
    "preprocessing_fn",
}


def _statistics(input_dict: dict[str, list[types.Artifact]]) -> Any:
    artifact = artifact_utils.get_single_instance(input_dict["statistics"])
    return read_statistics(
        os.path.join(artifact_utils.get_split_uri([artifact], "train"), STATISTICS_FILE)
    )
