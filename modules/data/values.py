"""Python values and the features of a `tf.train.Example`."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modules.errors import DataError

Value = int | float | bytes


def values(feature: Any) -> Sequence[Value]:
    """What a feature holds."""
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def example_of(row: Mapping[str, Any]) -> tf.train.Example:
    """A row of a table; a missing value gets no feature, an empty list one without type.

    Raises:
      DataError: A value of a type that examples cannot hold.
    """
    example = tf.train.Example()
    features = example.features.feature
    for name, value in row.items():
        if value is not None:
            _fill(features[name], name, value)
    return example


def _fill(feature: Any, name: str, value: Any) -> None:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    items = [_plain(name, each) for each in (value if isinstance(value, list | tuple) else [value])]
    kinds = {type(item) for item in items}
    if kinds == {int, float}:
        items, kinds = [float(item) for item in items], {float}
    if len(kinds) > 1:
        raise DataError(f"the feature {name!r} must be of one type, got {value!r}; fix it")
    try:
        if not items:
            return
        if kinds == {int}:
            feature.int64_list.value.extend(items)
        elif kinds == {float}:
            feature.float_list.value.extend(items)
        else:
            feature.bytes_list.value.extend(items)
    except ValueError as error:
        raise DataError(f"the feature {name!r} must fit into 64 bits, got {value!r}") from error


def _plain(name: str, value: Any) -> Value:
    match value:
        case bool() | int():
            return int(value)
        case float() | decimal.Decimal():
            return float(value)
        case str():
            return value.encode()
        case bytes():
            return value
        case datetime.date() | datetime.time():  # A datetime is a date.
            return value.isoformat().encode()
        case _:
            raise DataError(
                f"the feature {name!r} must be a number, a text, bytes, a time or a list of one "
                f"of them, got {value!r}; leave the column out of the files"
            )
