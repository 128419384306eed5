"""The Pusher's executor: from artifacts to paths, then one call of `modules.push.publish`."""

import json
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

from modules.errors import ConfigError, UserError
from modules.files import copy_tree, read_bytes
from modules.push import publish, registry
from modules.push.candidate import Candidate
from modules.settings import PushSettings

TFLITE_KEY = "tflite"
EVALUATION_KEY = "evaluation"
PUSH_KEY = "push"
PIPELINE_KEY = "pipeline"
CODE_DIGEST_KEY = "code_digest"
DESTINATION_KEY = "run_destination"
PUSHED_TFLITE_PROPERTY = "pushed_tflite"
REPORT_FILE = "report.json"

Artifacts = dict[str, list[types.Artifact]]


class Executor(tfx_executor.Executor):
    """Pushes the student's SavedModel and TFLite files if the Evaluator blessed the student."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Pushes, archives the SavedModel in `pushed_model` and marks that artifact.

        Args:
          input_dict: `model`, `model_blessing`, `tflite`, `evaluation`; one artifact each.
          output_dict: `pushed_model`.
          exec_properties: `push_destination` (proto as JSON), `run_destination` that overrides it
            or None, `push` (PushSettings as JSON), `pipeline`.

        Raises:
          UserError: there is no report, or what `modules.push.publish.push` or
            `modules.push.registry.register` raise.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        settings = PushSettings.model_validate_json(exec_properties[PUSH_KEY])
        model_uri = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
        model_path = path_utils.serving_model_dir(model_uri)
        tflite_uri = artifact_utils.get_single_uri(input_dict[TFLITE_KEY])
        evaluation_uri = artifact_utils.get_single_uri(input_dict[EVALUATION_KEY])
        candidate = Candidate(
            saved_model_dir=model_path,
            export_dir=tflite_uri,
            report=_report(f"{evaluation_uri}/{REPORT_FILE}"),
            pipeline=exec_properties[PIPELINE_KEY],
        )
        destination = exec_properties.get(DESTINATION_KEY) or _base_directory(exec_properties)
        pushed = publish.push(candidate, destination, keep=settings.keep)
        logging.info("Version %d %s", pushed.version, "pushed" if pushed.copied else "kept")
        if settings.vertex:
            name = registry.register(pushed.manifest, pushed.saved_model_dir, settings.vertex)
            logging.info("Version %d registered as %s", pushed.version, name)

        copy_tree(pushed.saved_model_dir, pushed_model.uri)
        self._MarkPushed(pushed_model, pushed.saved_model_dir, str(pushed.version))
        pushed_model.set_string_custom_property(PUSHED_TFLITE_PROPERTY, pushed.tflite_dir)


def _base_directory(exec_properties: dict[str, Any]) -> str:
    """The destination directory out of the PushDestination proto."""
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(
        exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
    )
    kind = destination.WhichOneof("destination")
    if kind != "filesystem":
        raise ConfigError(
            f"push_destination must be of kind filesystem, not {kind}; "
            "set filesystem.base_directory"
        )
    return str(destination.filesystem.base_directory)


def _report(path: str) -> dict[str, Any]:
    """The Evaluator's report."""
    try:
        return dict(json.loads(read_bytes(path)))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} must be the Evaluator's report ({type(error).__name__}: {error}); "
            "evaluate the model again"
        ) from error
