"""Requests that TensorFlow Serving answers for itself before it answers any other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from modules.export.layout import WARMUP_FILE
from modules.export.raw_features import RawFeature
from modules.export.saved_model import RAW_SIGNATURE, SIGNATURE

REQUESTS = 8


def write_requests(
    serialized: Sequence[bytes], features: Sequence[RawFeature], directory: str
) -> None:
    """Write `tf_serving_warmup_requests`, which belongs into a SavedModel's `assets.extra`.

    Each example becomes one request to `serving_default` and one to `serving_raw`. The requests
    name no model: the server runs them on the one that they lie in (tensorflow/serving,
    saved_model_warmup.cc).

    Args:
      serialized: Raw `tf.train.Example`s, at most 500.
      features: What `serving_raw` takes.
      directory: Where the file goes.
    """
    os.makedirs(directory, exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(directory, WARMUP_FILE)) as writer:
        for record in serialized:
            example = tf.train.Example.FromString(record)
            # The label is none of a server's business.
            request = tf.train.Example()
            for each in features:
                if each.name in example.features.feature:
                    request.features.feature[each.name].CopyFrom(
                        example.features.feature[each.name]
                    )
            writer.write(_log(SIGNATURE, {"examples": [request.SerializeToString()]}))
            raw = {each.argument: each.of_example(example) for each in features}
            writer.write(_log(RAW_SIGNATURE, raw))


def _log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(signature_name=signature),
        inputs={name: tf.make_tensor_proto(values) for name, values in inputs.items()},
    )
    log = prediction_log_pb2.PredictLog(request=request)
    record = prediction_log_pb2.PredictionLog(predict_log=log)
    return bytes(record.SerializeToString(deterministic=True))
