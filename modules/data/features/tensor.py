"""What a user's `preprocessing_fn` made, of whatever meaning."""

from __future__ import annotations

from typing import Any

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import InputSpec
from modules.settings import FeatureSettings


class Tensor:
    """Kind `tensor`: numbers of a fixed shape."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """Never asked: the transformed schema says what there is."""
        raise NotImplementedError

    def transform(
        self, raw: Any, settings: FeatureSettings, made: list[InputSpec]
    ) -> dict[str, Any]:
        """Never asked: the user's function does it."""
        raise NotImplementedError

    def stored(self, spec: InputSpec) -> Any:
        """Floats or integers."""
        import tensorflow as tf

        dtype = tf.float32 if spec.dtype == "float32" else tf.int64
        return tf.io.FixedLenFeature(spec.shape, dtype)

    def decode(self, values: Any, spec: InputSpec) -> Any:
        """In the dtype of the model."""
        import tensorflow as tf

        return tf.cast(values, spec.dtype)
