"""Features as plain Python values, and as a `tf.train.Example`.

`{"x": (1.5,), "color": (b"red",)}`: a missing value has no feature, an empty list is `()`.
Floats are rounded to 32 bits, as examples hold them, so that a value is the same before it is
written and after.
"""

from __future__ import annotations

import datetime
import decimal
import marshal
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modules.errors import DataError

Value = int | float | bytes
Features = dict[str, tuple[Any, ...]]
_INT64 = range(-(2**63), 2**63)


def values(feature: Any) -> Sequence[Value]:
    """What a feature of a `tf.train.Example` holds."""
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def features_of(row: Mapping[str, Any]) -> Features:
    """The features of a row of a table, in which None is a missing value.

    Raises:
      DataError: A value of a type that examples cannot hold.
    """
    return {name: as_values(name, value) for name, value in row.items() if value is not None}


def as_values(name: str, value: Any) -> tuple[Value, ...]:
    """The values of one feature.

    Args:
      name: For the message.
      value: A number, a text, bytes, a time or a list of one of them.

    Raises:
      DataError: A value of a type that examples cannot hold.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    items = [_plain(name, each) for each in (value if isinstance(value, list | tuple) else [value])]
    kinds = {type(item) for item in items}
    if kinds == {int} and any(item not in _INT64 for item in items):
        raise DataError(f"the feature {name!r} must fit into 64 bits, got {value!r}")
    if kinds in ({float}, {int, float}):
        return tuple(float32(items))
    if len(kinds) > 1:
        raise DataError(f"the feature {name!r} must be of one type, got {value!r}; fix it")
    return tuple(items)


def float32(numbers: Iterable[Any]) -> list[float]:
    """Numbers as examples hold them; those that are too large become infinite."""
    with np.errstate(over="ignore"):
        return np.array(list(numbers), np.float64).astype(np.float32).tolist()


def _plain(name: str, value: Any) -> Any:
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


def parse(record: bytes) -> Features:
    """The features of a serialized `tf.train.Example`.

    Raises:
      google.protobuf.message.DecodeError: It is none.
    """
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    # What other programs write for a missing value has no kind.
    return {
        name: tuple(getattr(feature, kind).value)
        for name, feature in features.items()
        if (kind := feature.WhichOneof("kind"))
    }


def serialize(features: Features) -> bytes:
    """A `tf.train.Example` with these features; equal ones give equal bytes."""
    import tensorflow as tf

    example = tf.train.Example()
    written = example.features.feature
    for name, items in features.items():
        kind = type(items[0]) if items else None
        if kind is float:
            written[name].float_list.value.extend(items)
        elif kind is int:
            written[name].int64_list.value.extend(items)
        elif kind is bytes:
            written[name].bytes_list.value.extend(items)
        else:
            written[name].SetInParent()
    return example.SerializeToString(deterministic=True)


def content(features: Features, left_out: Container[str | None] = ()) -> bytes:
    """Bytes that are equal if and only if the features are."""
    # Version 2 knows no references: nothing but the values matters. It is ten times as fast as
    # an example, and a test holds what it writes.
    kept = [(name, features[name]) for name in sorted(features) if name not in left_out]
    return marshal.dumps(kept, 2)
