"""Raw examples as a teacher from outside is asked them: NumPy arrays by feature name.

All features of the data are there, those that no model takes too, but never the label: a teacher
may know more than its student will.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules.data.spec import EXAMPLE_ID, OURS, DataSpec
from modules.settings import CategoryFeature

Features = dict[str, NDArray[Any]]


class RawReader:
    """Reads the raw examples that are not known yet.

    Args:
      parsing: TensorFlow's parsing specification of the raw features, by name.
      schema: Their `schema_pb2.Schema`, for the number of values.
      spec: What the models take, for the kinds.
    """

    def __init__(self, parsing: Mapping[str, Any], schema: Any, spec: DataSpec):
        self._parsing = {name: each for name, each in parsing.items() if name not in OURS}
        self._images = {each.feature for each in spec.images}
        # What a user's own preprocessing_fn makes of a feature, nobody can say.
        self._text = bool(spec.features)
        several = {each.name for each in schema.feature if each.value_count.max > 1}
        self._lists = several | {
            name
            for name, settings in spec.features.items()
            if isinstance(settings, CategoryFeature) and settings.max_values > 1
        }

    @property
    def names(self) -> list[str]:
        """The features that a teacher is given."""
        return sorted(self._parsing)

    def examples(self, files: Sequence[str]) -> Iterator[tuple[bytes, tf.train.Example]]:
        """Ids and examples, in the order of the files."""
        records = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
        for record in records.as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            yield example.features.feature[EXAMPLE_ID].bytes_list.value[0], example

    def arrays(self, examples: Sequence[tf.train.Example]) -> Features:
        """The raw features `[b]` by name.

        Text is `str`, an encoded image `bytes`; of a `preprocessing_fn` all are `bytes`. What is
        missing is NaN, or empty. Where an example may have several values, it has a list.
        """
        return {name: self._array(name, examples) for name in self._parsing}

    def _array(self, name: str, examples: Sequence[tf.train.Example]) -> NDArray[Any]:
        parsing = self._parsing[name]
        fixed = isinstance(parsing, tf.io.FixedLenFeature)
        size = int(np.prod(parsing.shape)) if fixed else 1
        rows = [self._values(name, each) for each in examples]
        if name in self._lists and not fixed:
            found = np.empty(len(rows), object)
            found[:] = rows
            return found
        if parsing.dtype == tf.string:
            missing: Any = "" if self._is_text(name) else b""
            dtype: Any = object
        else:
            missing = np.nan
            dtype = np.int64 if fixed and parsing.dtype == tf.int64 else np.float64
        filled = [row[:size] if row else [missing] * size for row in rows]
        array = np.array(filled, dtype).reshape(len(rows), size)
        return array[:, 0] if size == 1 else array

    def _values(self, name: str, example: tf.train.Example) -> list[Any]:
        feature = example.features.feature
        kind = feature[name].WhichOneof("kind") if name in feature else None
        values = list(getattr(feature[name], kind).value) if kind else []
        if kind == "bytes_list" and self._is_text(name):
            return [value.decode("utf-8", "replace") for value in values]
        return values

    def _is_text(self, name: str) -> bool:
        return self._text and name not in self._images
