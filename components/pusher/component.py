"""The Pusher component: TFX's, with the TFLite files and what was measured on them."""

from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components.pusher import component as tfx_pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.artifacts import TFLiteModels
from components.pusher import executor
from modules.settings import PushSettings


class PusherSpec(standard_component_specs.PusherSpec):
    """TFX's PusherSpec, with what a TFLite push needs."""

    PARAMETERS: Mapping[str, ExecutionParameter] = {
        **standard_component_specs.PusherSpec.PARAMETERS,
        executor.PUSH_KEY: ExecutionParameter(type=str),
        executor.PIPELINE_KEY: ExecutionParameter(type=str),
        executor.CODE_DIGEST_KEY: ExecutionParameter(type=str),
        executor.DESTINATION_KEY: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: Mapping[str, ChannelParameter] = {
        **standard_component_specs.PusherSpec.INPUTS,
        executor.TFLITE_KEY: ChannelParameter(type=TFLiteModels),
        executor.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }


class Pusher(tfx_pusher.Pusher):
    """Pushes the SavedModel and the TFLite files of a blessed student.

    Which TFLite files ship is the gate's decision, and read from report.json.

    The output channel `pushed_model` is that of TFX's Pusher: it holds a copy of the SavedModel
    and its custom properties say whether, where and as which version it was pushed.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        tflite: types.BaseChannel,
        evaluation: types.BaseChannel,
        push: PushSettings,
        destination: str,
        pipeline: str,
        code_digest: str,
        run_destination: Any = None,
    ) -> None:
        """Wires the component.

        Args:
          model: the student (`Model`) whose SavedModel is pushed.
          model_blessing: the Evaluator's `ModelBlessing`; without a blessing nothing is pushed.
          tflite: the Exporter's `TFLiteModels`.
          evaluation: the Evaluator's `ModelEvaluation`, with report.json.
          push: `keep` and `vertex` are used here; the gate uses `tflite`, and the caller
            `destination` for the next argument.
          destination: base directory of all versions, a local path or a URL.
          pipeline: the pipeline's name.
          code_digest: digest of the executor's code, so that TFX's cache knows when it changes.
          run_destination: a TFX RuntimeParameter that overrides `destination`, or None.
        """
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            push_destination=pusher_pb2.PushDestination(
                filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=destination)
            ),
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            tflite=tflite,
            evaluation=evaluation,
            push=push.model_dump_json(),
            pipeline=pipeline,
            code_digest=code_digest,
            **({executor.DESTINATION_KEY: run_destination} if run_destination else {}),
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)
