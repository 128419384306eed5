"""The trained model on disk: a SavedModel to serve, and the weights to go on working with.

A Model artifact holds `Format-Serving/` (the SavedModel, preprocessing included) and, beside it,
`Format-Keras/` (what `storage.load_model` reads). The SavedModel brings requests of its own,
with which TensorFlow Serving warms it up before it answers any other.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from modules.data.examples import decode_pixels
from modules.data.preprocessing import IMAGE
from modules.distill.trainer_task import TrainedModel
from modules.models import storage
from modules.settings import ModelSettings

SIGNATURE = "serving_default"
_WARMUP_REQUESTS = 8
# Both names are TensorFlow Serving's.
EXTRA_ASSETS, _WARMUP_FILE = "assets.extra", "tf_serving_warmup_requests"


def export(
    model: keras.Model,
    settings: ModelSettings,
    transform_output: tft.TFTransformOutput,
    serving_dir: str,
) -> None:
    """Write the model of a Model artifact, as SavedModel and as weights.

    The signature `serving_default` takes serialized `tf.train.Example`s `[batch]`, of which only
    the feature `image` is read, and returns `probabilities` and `logits`, `[batch, classes]`.
    """
    input_shape = tuple(model.input_shape[1:])
    module = _ServingModule(model, transform_output.transform_features_layer(), input_shape)
    tf.saved_model.save(module, serving_dir, signatures={SIGNATURE: module.serve})
    storage.save_model(model, settings, input_shape, storage.keras_directory(serving_dir))


def export_trained(trained: TrainedModel, serving_dir: str) -> None:
    """Write what a Trainer trained, with some of its examples as warm-up requests."""
    if not trained.chief:
        return  # TFX takes the chief's; the others must not write to the same place.
    export(trained.model, trained.settings, trained.transform_output, serving_dir)
    pixels, _, _ = next(iter(trained.data.everything(_WARMUP_REQUESTS)))
    write_warmup_requests(pixels.numpy(), serving_dir)


def write_warmup_requests(pixels: np.ndarray, serving_dir: str) -> None:
    """Add what TensorFlow Serving sends a SavedModel as soon as it is loaded.

    Each example becomes one request to `serving_default`, a record of
    `assets.extra/tf_serving_warmup_requests`. The requests name no model: the server runs them on
    the one that they lie in (tensorflow/serving, saved_model_warmup.cc).

    Args:
      pixels: `uint8 [n, height, width, channels]`, n <= 1000, sent as PNG files.
      serving_dir: The SavedModel.
    """
    path = os.path.join(serving_dir, EXTRA_ASSETS, _WARMUP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for image in pixels:
            encoded = tf.train.BytesList(value=[tf.io.encode_png(image).numpy()])
            features = tf.train.Features(feature={IMAGE: tf.train.Feature(bytes_list=encoded)})
            example = tf.train.Example(features=features).SerializeToString()
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(signature_name=SIGNATURE),
                inputs={"examples": tf.make_tensor_proto([example])},
            )
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString(deterministic=True))


class _ServingModule(tf.Module):
    """What is saved: a plain `tf.Module` that holds the variables.

    `tf.saved_model.save` of a Keras 3 model itself writes variables that a TF1 session, which
    TFMA and the TFLite converter may use, does not find.
    """

    def __init__(
        self,
        model: keras.Model,
        transform_layer: tf.Module,
        input_shape: tuple[int, int, int],
    ):
        super().__init__()
        self._model_variables = [variable.value for variable in model.variables]
        self._transform_layer = transform_layer
        self._model = lambda pixels: model(pixels, training=False)
        self._input_shape = input_shape

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The signature; a serving request carries the image alone."""
        features = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([1], tf.string)})
        transformed = self._transform_layer(features)
        logits = self._model(decode_pixels(transformed[IMAGE], self._input_shape))
        logits = tf.cast(logits, tf.float32)
        return {"probabilities": tf.nn.softmax(logits), "logits": logits}
