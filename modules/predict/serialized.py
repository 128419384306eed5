"""Raw examples as a server is sent them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.predict.rows import Row


def serialize(row: Row, raw: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A `tf.train.Example`; what is missing is not in it.

    Args:
      row: The example.
      raw: What each raw feature is, as the manifest has it.
    """
    import tensorflow as tf

    example = tf.train.Example()
    for name, values in row.values.items():
        if values:
            feature = example.features.feature[name]
            kind = raw[name]["type"]
            lists = {"string": feature.bytes_list, "integer": feature.int64_list}
            lists.get(kind, feature.float_list).value.extend(values)
    return bytes(example.SerializeToString())
