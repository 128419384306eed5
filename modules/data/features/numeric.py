"""Numbers: as they are, on a logarithmic scale, or by their rank; missing ones have an input."""

from __future__ import annotations

import math
from typing import Any

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import InputSpec
from modules.errors import DataError
from modules.settings import FeatureSettings, NumericFeature

MISSING = "_missing"


class Numeric:
    """Kind `numeric`; the models standardize, what is not linear is done by Transform."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """The number, `()` or `(k,)`, and where some are missing `<name>_missing`, 0 or 1."""
        assert isinstance(settings, NumericFeature)
        if found.type == "string":
            raise DataError(
                f"data.features.{found.name} must be numbers to be of kind numeric, but its values "
                f"are texts such as {', '.join(map(repr, found.common[:3]))}; set kind: category"
            )
        if found.fewest_values != found.most_values:
            raise DataError(
                f"data.features.{found.name}: a numeric feature must have the same number of "
                f"values in all examples, got {found.fewest_values} to {found.most_values}; write "
                "a preprocessing_fn"
            )
        if settings.scale == "log" and found.minimum < 0:
            raise DataError(
                f"data.features.{found.name}.scale must not be log, since its least value is "
                f"{found.minimum:g}; use standard or quantile"
            )
        mean, deviation, boundaries = _scaling(settings.scale, found)
        shape = () if found.most_values <= 1 else (found.most_values,)
        number = InputSpec(
            name=found.name,
            kind="numeric",
            feature=found.name,
            shape=shape,
            dtype="float32",
            mean=mean,
            deviation=deviation,
            boundaries=boundaries,
        )
        if not found.missing or shape:
            return [number]
        missing = InputSpec(
            name=found.name + MISSING,
            kind="numeric",
            feature=found.name,
            shape=(),
            dtype="float32",
        )
        return [number, missing]

    def transform(
        self, raw: Any, settings: FeatureSettings, made: list[InputSpec]
    ) -> dict[str, Any]:
        """`float32 [b]` or `[b, k]`; a missing value is the mean."""
        import tensorflow as tf

        from modules.data.features.raw import first

        assert isinstance(settings, NumericFeature)
        number = made[0]
        if number.shape:
            dense = tf.sparse.to_dense(raw) if isinstance(raw, tf.SparseTensor) else raw
            values = tf.ensure_shape(
                tf.reshape(tf.cast(dense, tf.float32), [-1, *number.shape]), [None, *number.shape]
            )
        else:
            if isinstance(raw, tf.SparseTensor):
                raw = tf.SparseTensor(raw.indices, tf.cast(raw.values, tf.float32), raw.dense_shape)
            values = first(tf.cast(raw, tf.float32) if not _is_sparse(raw) else raw, math.nan)
        absent = tf.math.is_nan(values)
        scaled = values
        if settings.scale == "log":
            scaled = tf.math.log1p(tf.maximum(values, 0))
        elif settings.scale == "quantile":
            scaled = _interpolated(values, number.boundaries)
        scaled = tf.where(absent, tf.constant(number.mean, tf.float32), scaled)
        outputs = {number.name: scaled}
        for each in made[1:]:
            outputs[each.name] = tf.cast(absent, tf.float32)
        return outputs

    def stored(self, spec: InputSpec) -> Any:
        """Floats."""
        import tensorflow as tf

        return tf.io.FixedLenFeature(spec.shape, tf.float32)

    def decode(self, values: Any, spec: InputSpec) -> Any:
        """As they are."""
        return values


def _is_sparse(raw: Any) -> bool:
    import tensorflow as tf

    return isinstance(raw, tf.SparseTensor)


def _scaling(scale: str, found: FeatureStatistics) -> tuple[float, float, tuple[float, ...]]:
    """Mean, deviation and boundaries; what is constant is only centered."""
    if scale == "none":
        return 0.0, 1.0, ()
    if scale == "standard":
        return found.mean, found.deviation or 1.0, ()
    if scale == "quantile":
        boundaries = tuple(dict.fromkeys(found.quantiles))
        return 0.5, math.sqrt(1 / 12), boundaries if len(boundaries) > 1 else ()
    # The moments of log(1 + x), from the middles of parts with equally many examples.
    middles = [
        (math.log1p(low) + math.log1p(high)) / 2
        for low, high in zip(found.quantiles, found.quantiles[1:], strict=False)
    ]
    mean = sum(middles) / len(middles)
    variance = sum((middle - mean) ** 2 for middle in middles) / len(middles)
    return mean, math.sqrt(variance) or 1.0, ()


def _interpolated(values: Any, boundaries: tuple[float, ...]) -> Any:
    """The position among the boundaries, 0 to 1, linear between two of them."""
    import tensorflow as tf

    if not boundaries:
        return tf.zeros_like(values)
    places = tf.constant(boundaries, tf.float32)
    flat = tf.clip_by_value(tf.reshape(values, [-1]), boundaries[0], boundaries[-1])
    above = tf.clip_by_value(tf.searchsorted(places, flat, side="right"), 1, len(boundaries) - 1)
    low, high = tf.gather(places, above - 1), tf.gather(places, above)
    share = (flat - low) / (high - low)
    position = (tf.cast(above - 1, tf.float32) + share) / (len(boundaries) - 1)
    return tf.reshape(position, tf.shape(values))
