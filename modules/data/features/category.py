"""Categories: ids of the values seen in training, by frequency.

Id 0 is padding or a missing value, then come `oov_buckets` ids of unknown values, then the
vocabulary.
"""

from __future__ import annotations

from typing import Any

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import InputSpec
from modules.errors import DataError
from modules.settings import CategoryFeature, FeatureSettings


def vocabulary_name(feature: str) -> str:
    """Name of a feature's vocabulary among the assets of the transform graph."""
    return f"vocabulary_{feature}"


class Category:
    """Kind `category`."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """Ids, `()` or `(max_values,)`."""
        assert isinstance(settings, CategoryFeature)
        if found.type == "float":
            raise DataError(
                f"data.features.{found.name} must be texts or integers to be of kind category, but "
                "its values are floats; set kind: numeric"
            )
        return [
            InputSpec(
                name=found.name,
                kind="category",
                feature=found.name,
                shape=() if settings.max_values == 1 else (settings.max_values,),
                dtype="int32",
            )
        ]

    def transform(
        self, raw: Any, settings: FeatureSettings, made: list[InputSpec]
    ) -> dict[str, Any]:
        """`int64 [b]` or `[b, max_values]`."""
        import tensorflow as tf
        import tensorflow_transform as tft

        from modules.data.features.raw import as_sparse, padded

        assert isinstance(settings, CategoryFeature)
        (spec,) = made
        texts = as_sparse(raw)
        name = vocabulary_name(spec.feature)
        found = tft.compute_and_apply_vocabulary(
            texts,
            frequency_threshold=settings.min_count if settings.min_count > 1 else None,
            num_oov_buckets=settings.oov_buckets,
            vocab_filename=name,
        )
        ids = shifted(found, name, settings.oov_buckets)
        dense = padded(ids, settings.max_values)
        return {spec.name: dense if spec.shape else tf.reshape(dense, [-1])}

    def stored(self, spec: InputSpec) -> Any:
        """Integers."""
        import tensorflow as tf

        return tf.io.FixedLenFeature(spec.shape, tf.int64)

    def decode(self, values: Any, spec: InputSpec) -> Any:
        """As int32."""
        import tensorflow as tf

        return tf.cast(values, tf.int32)


def shifted(found: Any, vocabulary: str, oov_buckets: int) -> Any:
    """TFT's ids, unknown values behind the vocabulary, with 0 free and unknown ones in front."""
    import tensorflow as tf
    import tensorflow_transform as tft

    size = tf.cast(tft.experimental.get_vocabulary_size_by_name(vocabulary), tf.int64)
    known = found.values < size
    ids = tf.where(known, found.values + 1 + oov_buckets, found.values - size + 1)
    return tf.SparseTensor(found.indices, ids, found.dense_shape)
