"""Transformed examples: how they are parsed, and what the models take of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from modules.data.features.registry import KINDS
from modules.data.spec import EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, DataSpec


def parse_spec(spec: DataSpec) -> dict[str, Any]:
    """For `tf.io.parse_example` of transformed examples."""
    found = {each.name: KINDS[each.kind].stored(each) for each in spec.inputs}
    found |= {EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string), LABEL: label_feature(spec)}
    if spec.weighted:
        found[EXAMPLE_WEIGHT] = tf.io.FixedLenFeature([], tf.float32)
    return found


def label_feature(spec: DataSpec) -> Any:
    """The label in raw and in transformed examples: `[b]`, or `[b, labels]` of many."""
    if spec.output.task == "regression":
        return tf.io.FixedLenFeature([], tf.float32)
    shape = [spec.output.size] if spec.output.task == "multilabel" else []
    return tf.io.FixedLenFeature(shape, tf.int64)


def model_inputs(transformed: Mapping[str, Any], spec: DataSpec) -> dict[str, tf.Tensor]:
    """Parsed transformed features as the models take them, `[b, ...]` by name."""
    return {
        each.name: KINDS[each.kind].decode(transformed[each.name], each) for each in spec.inputs
    }
