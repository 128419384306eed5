"""From transformed features to the models' inputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from modules.data.spec import DataSpec


def model_inputs(transformed: dict[str, Any], spec: DataSpec) -> dict[str, tf.Tensor]:
    """The models' inputs of transformed features, each `[b, ...]`, by name."""
    found = {}
    for each in spec.inputs:
        values = transformed[each.name]
        if isinstance(values, tf.SparseTensor):
            values = tf.sparse.to_dense(values)
        if each.kind == "image":
            values = tf.io.decode_raw(tf.reshape(values, [-1]), tf.uint8)
        found[each.name] = tf.cast(tf.reshape(values, [-1, *each.shape]), each.dtype)
    return found


def vocabulary_name(feature: str) -> str:
    """Name of the vocabulary of a raw feature in the transform graph."""
    return f"vocabulary_{feature}"
