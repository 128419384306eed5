"""TFLite files of models over a dictionary of inputs, made of builtin operations only."""

import tempfile

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter


def convert(model, batch=None):
    """A float32 file; or, with a calibration batch by name, an int8 file with float logits.

    An image enters an int8 file as floats, so that no cast from uint8 stays in the graph.
    """
    inputs = {
        name: keras.Input(
            tensor.shape[1:],
            dtype="float32" if batch and tensor.dtype == "uint8" else tensor.dtype,
            name=name,
        )
        for name, tensor in model.input.items()
    }
    clone = keras.models.clone_model(
        keras.Model(model.input, model.output),  # Not compiled: a loss of one's own is not cloned.
        input_tensors=inputs,
        clone_function=lambda layer: layer,
    )
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in clone.variables]
    specs = {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in inputs.items()
    }
    module.serve = tf.function(
        lambda **given: {"logits": clone(given, training=False)}, input_signature=None
    )
    serve = module.serve.get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if batch:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: _rows(batch, inputs)
        return converter.convert()


def run(content, batch):
    """The file's answer to a batch by name, of any size."""
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner("serving_default")
    details = runner.get_input_details()
    cast = {name: np.asarray(batch[name]).astype(each["dtype"]) for name, each in details.items()}
    (answer,) = runner(**cast).values()
    return answer


def _rows(batch, inputs):
    for index in range(len(next(iter(batch.values())))):
        row = {
            name: np.asarray(values[index : index + 1]).astype(inputs[name].dtype)
            for name, values in batch.items()
        }
        yield "serving_default", row
