"""The trained model on disk: a SavedModel to serve, and the weights to go on working with.

A Model artifact holds `Format-Serving/` (the SavedModel, preprocessing included) and, beside it,
`Format-Keras/` (what `storage.load_model` reads).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from modules.data.features.decode import model_inputs
from modules.data.spec import DataSpec, OutputSpec, read_spec
from modules.disk import space_for
from modules.distill.saved_states import mark_exported
from modules.distill.trainer_task import TrainedModel
from modules.export.raw_features import RawFeature, raw_features
from modules.models import storage
from modules.settings import ModelSettings

SIGNATURE, RAW_SIGNATURE = "serving_default", "serving_raw"


def export(
    model: keras.Model, settings: ModelSettings, transform_graph: str, serving_dir: str
) -> None:
    """Write the model of a Model artifact, as SavedModel and as weights.

    Args:
      model: A functional model over a dictionary of inputs.
      settings: How it was built.
      transform_graph: Directory of the transform graph, with its specification.
      serving_dir: Where the SavedModel goes.

    Raises:
      UserError: The disk is full.
    """
    spec = read_spec(transform_graph)
    with space_for(serving_dir, 2 * storage.weight_bytes(model), "the model"):
        write_saved_model(model, spec, transform_graph, serving_dir)
    storage.save_model(
        model, settings, spec.by_name, spec.output, storage.keras_directory(serving_dir)
    )


def write_saved_model(
    model: keras.Model, spec: DataSpec, transform_graph: str, directory: str
) -> None:
    """Write a model with its preprocessing.

    The signature `serving_default` takes serialized `tf.train.Example`s `[batch]`, `serving_raw`
    the raw features themselves, each by its name; see `modules.export.raw_features`. Both read
    nothing but what the inputs are made of, and answer

    - classification, binary: `label` (its name) `[batch]`, `probabilities` and `logits`
      `[batch, classes]`;
    - multilabel: `probabilities` and `logits` `[batch, labels]`;
    - regression: `values` `[batch, 1]`.

    Args:
      model: A functional model over a dictionary of inputs.
      spec: What it takes and answers.
      transform_graph: Directory of the transform graph.
      directory: Where the SavedModel goes.
    """
    transform_output = tft.TFTransformOutput(transform_graph)
    module = _ServingModule(
        model,
        transform_output.transform_features_layer(),
        raw_features(transform_output, spec),
        spec,
    )
    signatures = {SIGNATURE: module.serve, RAW_SIGNATURE: module.serve_raw}
    tf.saved_model.save(module, directory, signatures=signatures)


def export_trained(trained: TrainedModel, serving_dir: str) -> None:
    """Write what a Trainer trained; from then on its states may go when it is published."""
    if not trained.chief:
        return  # TFX takes the chief's; the others must not write to the same place.
    export(trained.model, trained.settings, trained.transform_graph, serving_dir)
    mark_exported(trained.state_dir)


class _ServingModule(tf.Module):
    """What is saved: a plain `tf.Module` that holds the variables.

    `tf.saved_model.save` of a Keras 3 model itself writes variables that a TF1 session, which
    TFMA and the TFLite converter may use, does not find.
    """

    def __init__(
        self,
        model: keras.Model,
        transform_layer: tf.Module,
        features: Sequence[RawFeature],
        spec: DataSpec,
    ):
        super().__init__()
        self._model_variables = [variable.value for variable in model.variables]
        self._transform_layer = transform_layer
        self.serve, self.serve_raw = _serving_functions(model, transform_layer, features, spec)


def _serving_functions(
    model: Any, transform_layer: Any, features: Sequence[RawFeature], spec: DataSpec
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Those of `serving_default` and `serving_raw`."""
    parsing = {each.name: each.parsing for each in features}

    def answer(raw: dict[str, Any]) -> dict[str, tf.Tensor]:
        inputs = model_inputs(transform_layer(raw), spec)
        return _answers(tf.cast(model(inputs, training=False), tf.float32), spec.output)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.io.parse_example(examples, parsing))

    @tf.function(input_signature=[{each.argument: each.tensor_spec for each in features}])
    def serve_raw(arguments: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return answer({each.name: each.parsed(arguments[each.argument]) for each in features})

    return serve, serve_raw


def _answers(outputs: tf.Tensor, output: OutputSpec) -> dict[str, tf.Tensor]:
    """What the signatures answer."""
    if output.task == "regression":
        return {"values": outputs}
    if output.task == "multilabel":
        return {"probabilities": tf.sigmoid(outputs), "logits": outputs}
    label = tf.gather(tf.constant(output.classes), tf.argmax(outputs, axis=-1))
    return {"label": label, "probabilities": tf.nn.softmax(outputs), "logits": outputs}
