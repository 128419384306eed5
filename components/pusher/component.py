"""The Pusher component: TFX's, with the TFLite file and what was measured on it."""

from collections.abc import Mapping

from tfx import types
from tfx.components.pusher import component as tfx_pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.artifacts import TFLiteModels
from components.pusher import executor


class PusherSpec(standard_component_specs.PusherSpec):
    """TFX's PusherSpec, with what a TFLite push needs."""

    PARAMETERS: Mapping[str, ExecutionParameter] = {
        **standard_component_specs.PusherSpec.PARAMETERS,
        executor.TFLITE_VARIANT_KEY: ExecutionParameter(type=str),
        executor.CODE_DIGEST_KEY: ExecutionParameter(type=str),
    }
    INPUTS: Mapping[str, ChannelParameter] = {
        **standard_component_specs.PusherSpec.INPUTS,
        executor.TFLITE_KEY: ChannelParameter(type=TFLiteModels),
        executor.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }


class Pusher(tfx_pusher.Pusher):
    """Pushes the SavedModel and one TFLite file of a blessed student to a local directory.

    The output channel `pushed_model` is that of TFX's Pusher: it holds a copy of the SavedModel
    and tells through its custom properties whether, where and as which version it was pushed.
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
        push_destination: pusher_pb2.PushDestination,
        tflite_variant: str,
        code_digest: str,
    ) -> None:
        """Wires the component.

        Args:
          model: the student (`Model`) whose SavedModel is pushed.
          model_blessing: the Evaluator's `ModelBlessing`; without a blessing nothing is pushed.
          tflite: the Exporter's `TFLiteModels`.
          evaluation: the Evaluator's `ModelEvaluation`, with report.json.
          push_destination: a `filesystem` destination; its `base_directory` is a local path.
          tflite_variant: the variant to push, a directory name below `student/` in `tflite`.
          code_digest: digest of the executor's code, so that TFX's cache knows when it changes.
        """
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            push_destination=push_destination,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            tflite=tflite,
            evaluation=evaluation,
            tflite_variant=tflite_variant,
            code_digest=code_digest,
        )
        # TFX's own constructor would build TFX's own spec.
        base_component.BaseComponent.__init__(self, spec=spec)
