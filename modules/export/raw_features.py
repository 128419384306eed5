"""The raw features that a model is served with, one by one: the inputs of `serving_raw`.

A missing value is an empty string or NaN. An integer that may be missing is therefore a float64,
which is exact to 2^53.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from modules.data.spec import OURS, DataSpec
from modules.settings import CategoryFeature


@dataclass(frozen=True)
class RawFeature:
    """One raw feature.

    Attributes:
      name: Of the feature.
      argument: Of the input of `serving_raw`; the name, with `_` for what TensorFlow does not
        take in the name of an argument.
      parsing: How it is parsed from a `tf.train.Example`.
      many: Whether an example has a list of them, `[b, n]` in a request; shorter ones are padded
        with missing values.
    """

    name: str
    argument: str
    parsing: Any
    many: bool

    @property
    def optional(self) -> bool:
        """Whether it may be missing."""
        return not isinstance(self.parsing, tf.io.FixedLenFeature)

    @property
    def tensor_spec(self) -> tf.TensorSpec:
        """Of the input of `serving_raw`."""
        dtype = self.parsing.dtype
        if dtype == tf.int64 and self.optional:
            dtype = tf.float64
        shape = [] if self.optional or self._size == 1 else self.parsing.shape
        return tf.TensorSpec([None, *([None] if self.many else shape)], dtype, name=self.argument)

    def parsed(self, values: tf.Tensor) -> Any:
        """What parsing would have made of the values of a request."""
        if not self.optional:
            return tf.reshape(values, [-1, *self.parsing.shape])
        rows = values if self.many else values[:, tf.newaxis]
        given = rows != "" if rows.dtype == tf.string else rows == rows  # NaN is not NaN
        return tf.cast(tf.ragged.boolean_mask(rows, given).to_sparse(), self.parsing.dtype)

    def of_example(self, example: tf.train.Example) -> NDArray[Any]:
        """The values of one example as a request of one example has them."""
        feature = example.features.feature[self.name]
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        spec = self.tensor_spec
        text = spec.dtype == tf.string
        if not values and not self.many:
            values = [b"" if text else np.nan]
        shape = [1, -1] if self.many else [1, *spec.shape[1:]]
        return np.array(values, object if text else spec.dtype.as_numpy_dtype).reshape(shape)

    @property
    def _size(self) -> int:
        return int(np.prod(self.parsing.shape))


def raw_features(transform_output: tft.TFTransformOutput, spec: DataSpec) -> list[RawFeature]:
    """The raw features of a transform graph that the inputs are made of, by name.

    With a `preprocessing_fn` of the user these are all but the label and what belongs to it.
    """
    parsing = transform_output.raw_feature_spec()
    served = set(spec.features) or set(parsing) - set(OURS)
    lists = _lists(transform_output, spec)
    found: dict[str, RawFeature] = {}
    for name in sorted(served):
        argument = _argument(name)
        while argument in found:
            argument += "_"
        many = name in lists and not isinstance(parsing[name], tf.io.FixedLenFeature)
        found[argument] = RawFeature(name, argument, parsing[name], many)
    return list(found.values())


def _lists(transform_output: tft.TFTransformOutput, spec: DataSpec) -> set[str]:
    """Names of the features of which an example may have several values."""
    if spec.features:
        return {
            name
            for name, settings in spec.features.items()
            if isinstance(settings, CategoryFeature) and settings.max_values > 1
        }
    schema = transform_output.raw_metadata.schema
    return {each.name for each in schema.feature if each.value_count.max != 1}


def _argument(name: str) -> str:
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    return text if text[:1].isalnum() else f"feature{text}"


def described(features: list[RawFeature]) -> dict[str, Mapping[str, Any]]:
    """By name, what a client of the pushed files must know: JSON for the manifest."""
    return {
        each.name: {
            "type": {tf.string: "string", tf.int64: "integer"}.get(each.parsing.dtype, "number"),
            "optional": each.optional,
            "many": each.many,
            "argument": each.argument,
        }
        for each in features
    }
