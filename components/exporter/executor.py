"""From Model artifacts to TFLite files, and to what travels with them."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from pydantic import TypeAdapter
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from modules.data.examples import ExampleData
from modules.data.spec import read_spec
from modules.export import tflite, warmup
from modules.export.layout import PREPROCESSING, WARMUP
from modules.export.preprocessing import write_preprocessing
from modules.export.raw_features import raw_features
from modules.files import LocalCopies
from modules.models import storage
from modules.models.known import KnownModel
from modules.settings import DataSettings, ExportSettings, TFLiteVariant

MODELS = TypeAdapter(list[KnownModel])


class Executor(base_executor.BaseExecutor):
    """Executor of the Exporter component."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes what `modules.export.layout` describes into the artifact.

        Raises:
          ModelError: A file that must be there cannot be made, or a file does not answer as its
            model does.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = ExportSettings.model_validate_json(exec_properties["export"])
        data = DataSettings.model_validate_json(exec_properties["data"])
        student, *teacher = MODELS.validate_json(exec_properties["models"])
        graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        spec, transform_output = read_spec(graph), tft.TFTransformOutput(graph)
        features = raw_features(transform_output, spec)
        examples = ExampleData(_patterns(input_dict, "examples"), spec, data)
        calibration = examples.balanced_sample(
            settings.calibration_examples, exec_properties["seed"]
        )
        with LocalCopies() as copies:
            written = copies.to_write(artifact_utils.get_single_uri(output_dict["tflite"]))
            models: dict[str, tuple[Any, tuple[TFLiteVariant, ...]]] = {
                "student": (_load(input_dict, "model", student), settings.tflite)
            }
            if input_dict.get("teacher_model"):
                # Like with like: the teacher is timed in the format that the student has.
                models["teacher"] = (
                    _load(input_dict, "teacher_model", *teacher),
                    ("float32",),
                )
            needed = json.loads(exec_properties["needed"])
            tflite.export_models(models, calibration, spec, written, needed, settings.int8_input)
            write_preprocessing(transform_output, spec, features, f"{written}/{PREPROCESSING}")
            warmup.write_requests(_first(input_dict), features, f"{written}/{WARMUP}")


def _patterns(input_dict: dict[str, list[types.Artifact]], key: str) -> list[str]:
    uris = artifact_utils.get_split_uris(input_dict[key], "train")
    return [io_utils.all_files_pattern(uri) for uri in uris]


def _first(input_dict: dict[str, list[types.Artifact]]) -> list[bytes]:
    """The first raw training examples."""
    patterns = _patterns(input_dict, "raw_examples")
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(warmup.REQUESTS)
    return [bytes(record) for record in records.as_numpy_iterator()]


def _load(input_dict: dict[str, list[types.Artifact]], key: str, known: KnownModel) -> Any:
    serving_dir = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[key]))
    return storage.load_model(storage.keras_directory(serving_dir), known)
