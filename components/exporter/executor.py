"""From Model artifacts to TFLite files."""

from __future__ import annotations

from typing import Any

import tensorflow_transform as tft
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from modules.data.examples import ExampleData
from modules.data.preprocessing import class_names
from modules.export import tflite
from modules.files import LocalCopies
from modules.models import storage
from modules.settings import DataSettings, ExportSettings


class Executor(base_executor.BaseExecutor):
    """Executor of the Exporter component."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `<role>/<variant>/model.tflite` and `spec.json` into the artifact.

        Raises:
          ModelError: A model does not convert, or its file does not answer as it does.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = ExportSettings.model_validate_json(exec_properties["export"])
        data = DataSettings.model_validate_json(exec_properties["data"])
        graph_dir = artifact_utils.get_single_uri(input_dict["transform_graph"])
        patterns = [
            io_utils.all_files_pattern(uri)
            for uri in artifact_utils.get_split_uris(input_dict["examples"], "train")
        ]
        pixels = ExampleData(patterns, data).balanced_sample(
            settings.calibration_examples, exec_properties["seed"]
        )
        with LocalCopies() as copies:
            tflite.export_models(
                {
                    "student": (_load(input_dict, "model"), settings.tflite),
                    # Like with like: the teacher is timed in the format that the student has.
                    "teacher": (_load(input_dict, "teacher_model"), ("float32",)),
                },
                pixels,
                class_names(tft.TFTransformOutput(graph_dir)),
                copies.to_write(artifact_utils.get_single_uri(output_dict["tflite"])),
            )


def _load(input_dict: dict[str, list[types.Artifact]], key: str) -> Any:
    serving_dir = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[key]))
    return storage.load_model(storage.keras_directory(serving_dir))
