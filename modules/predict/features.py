"""Raw examples as the inputs of a TFLite file: what Transform does, in NumPy.

The specification and the vocabularies come from the manifest. TensorFlow is imported for images,
and for unknown values that share several ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from modules.data.features.tokens import PUNCTUATION
from modules.data.spec import DataSpec, InputSpec
from modules.predict.rows import Row, Value
from modules.settings import CategoryFeature, ImageFeature, NumericFeature, TextFeature

_PUNCTUATION = re.compile(PUNCTUATION)
# Values of one feature, of each row, to one input.
_Transformation = Callable[[Sequence[list[Value]]], NDArray[np.generic]]


def transformations(
    spec: DataSpec, vocabularies: Mapping[str, Sequence[bytes]]
) -> Callable[[Sequence[Row]], dict[str, NDArray[np.generic]]]:
    """A function from rows to inputs by name, each `[n, ...]`.

    Args:
      spec: With a kind for every input; not that of a `preprocessing_fn`.
      vocabularies: The lines, by raw feature.
    """
    functions = {
        each.name: (each, _transformation(each, spec, vocabularies)) for each in spec.inputs
    }

    def transform(rows: Sequence[Row]) -> dict[str, NDArray[np.generic]]:
        return {
            name: function([row.values[each.feature] for row in rows])
            for name, (each, function) in functions.items()
        }

    return transform


def _transformation(
    each: InputSpec, spec: DataSpec, vocabularies: Mapping[str, Sequence[bytes]]
) -> _Transformation:
    settings = spec.features[each.feature]
    if isinstance(settings, ImageFeature):
        return lambda values: _images(values, settings)
    if isinstance(settings, NumericFeature):
        if each.name == f"{each.feature}_missing":
            return lambda values: np.isnan(_numbers(values)).astype(np.float32)
        return lambda values: _scaled(_numbers(values), each, settings)
    ids = _ids(vocabularies[each.feature], getattr(settings, "oov_buckets", 1))
    if isinstance(settings, CategoryFeature):
        length = settings.max_values

        def names(values: Sequence[Value]) -> list[bytes]:
            return [one if isinstance(one, bytes) else str(one).encode() for one in values]
    else:
        length = settings.length

        def names(values: Sequence[Value]) -> list[bytes]:
            return _tokens(b"".join(one for one in values if isinstance(one, bytes)), settings)

    def transform(values: Sequence[list[Value]]) -> NDArray[np.int32]:
        found = np.zeros((len(values), length), np.int32)
        for row, one in zip(found, values, strict=True):
            known = [ids(name) for name in names(one)[:length]]
            row[: len(known)] = known
        return found.reshape(len(values), *each.shape)

    return transform


def _numbers(values: Sequence[list[Value]]) -> NDArray[np.float32]:
    """`[n]`; NaN where it is missing."""
    return np.array([one[0] if one else np.nan for one in values], np.float32)


def _scaled(
    numbers: NDArray[np.float32], each: InputSpec, settings: NumericFeature
) -> NDArray[np.float32]:
    if settings.scale == "log":
        numbers = np.log1p(numbers)
    elif settings.scale == "quantile":
        ranks = np.linspace(0, 1, len(each.boundaries))
        numbers = np.interp(numbers, each.boundaries, ranks).astype(np.float32)
    return np.where(np.isnan(numbers), np.float32(each.mean), numbers)


def _ids(vocabulary: Sequence[bytes], buckets: int) -> Callable[[bytes], int]:
    """0 is nothing, then come the buckets of unknown names, then the vocabulary."""
    known = {name: 1 + buckets + at for at, name in enumerate(vocabulary)}

    def find(name: bytes) -> int:
        if not name:
            return 0
        return known[name] if name in known else 1 + _bucket(name, buckets)

    return find


def _bucket(name: bytes, buckets: int) -> int:
    if buckets == 1:
        return 0
    import tensorflow as tf

    return int(tf.strings.to_hash_bucket_fast(name, buckets))


def _tokens(text: bytes, settings: TextFeature) -> list[bytes]:
    decoded = text.decode(errors="replace")
    if settings.tokens == "characters":
        return [character.encode() for character in decoded]
    # As TensorFlow, bytes are split at ASCII's white space alone.
    return _PUNCTUATION.sub(" ", decoded.lower()).encode().split()


def _images(values: Sequence[list[Value]], settings: ImageFeature) -> NDArray[np.uint8]:
    from modules.data.features.image import image_pixels

    return np.stack([image_pixels(one[0], settings).numpy() for one in values])
