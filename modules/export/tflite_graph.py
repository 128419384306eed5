"""Keras models as the TFLite converter is given them: a graph in which scales stay apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from modules.data.spec import OutputSpec
from modules.export.descriptions import LOGITS, VALUES

# Of a regression the answer in deviations of the label. No file keeps this output.
_STANDARD = "standard"
# No number is larger, but the converter does not know; it folds nothing across a minimum.
_HUGE = 3e38


def serving_module(model: Any, names: Mapping[str, str], output: OutputSpec) -> tf.Module:
    """A `tf.Module` with the signature; Keras 3's own SavedModels lose their variables here."""
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    # With a batch of 1 the converter would rewrite operations in ways that hold for 1 alone.
    specs = {
        key: tf.TensorSpec([None, *model.input[name].shape[1:]], model.input[name].dtype, name=key)
        for key, name in names.items()
    }

    def serve(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answer = model({name: inputs[key] for key, name in names.items()}, training=False)
        answer = tf.cast(answer, tf.float32)
        if output.task != "regression":
            return {LOGITS: answer}
        # The label's scale is taken out of the last layer, into which the converter folds sums and
        # products, and put behind it: what is an output itself is not folded.
        standard = (answer + -output.mean) * (1 / output.deviation)
        return {_STANDARD: standard, VALUES: standard * output.deviation + output.mean}

    module.serve = tf.function(serve, input_signature=[specs])
    return module


def is_image(tensor: Any) -> bool:
    """Whether an input is an image: no other is uint8."""
    return bool(tensor.dtype == "uint8")


def to_convert(model: keras.Model, float_images: bool) -> keras.Model:
    """The same layers in another graph, which the converter leaves as it is.

    Args:
      model: A functional model.
      float_images: Whether images come in as floats, so that no cast from uint8 stays in the
        graph; what comes in is quantized then, with scale 1.
    """
    inputs = {
        name: keras.Input(
            each.shape[1:],
            dtype="float32" if float_images and is_image(each) else each.dtype,
            name=name,
        )
        for name, each in model.input.items()
    }
    given = {id(inputs[name]) for name, each in model.input.items() if each.dtype == "float32"}
    scaled = set(given)

    def keep_apart(tensor: Any) -> Any:
        # Or its scale would be folded into the layer, and its raw size be quantized.
        return keras.ops.minimum(tensor, _HUGE) if id(tensor) in scaled - given else tensor

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        taken = [
            each for each in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(each)
        ]
        if not _only_scales(operation):
            args, kwargs = keras.tree.map_structure(keep_apart, (args, kwargs))
        answer = operation(*args, **kwargs)
        if _only_scales(operation) and {id(each) for each in taken} <= scaled:
            scaled.update(id(each) for each in keras.tree.flatten(answer))
        return answer

    # Not compiled: a loss of one's own cannot be cloned.
    plain = keras.Model(model.input, model.output, name=model.name)
    return keras.models.clone_model(
        plain, inputs, clone_function=lambda layer: layer, call_function=call
    )


def _only_scales(operation: Any) -> bool:
    """Whether numbers are still numbers after it, each with its own meaning."""
    normalizations = keras.layers.Normalization | keras.layers.BatchNormalization
    return isinstance(operation, normalizations) or not getattr(operation, "weights", ())
