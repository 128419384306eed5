"""Images: encoded files become raw `uint8` pixels of one size."""

from __future__ import annotations

import math
from typing import Any

from modules.data.features.protocol import FeatureStatistics
from modules.data.spec import InputSpec
from modules.errors import DataError
from modules.settings import FeatureSettings, ImageFeature


class Image:
    """Kind `image`; stored as one string of raw pixels."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """Pixels, `(height, width, channels)`."""
        assert isinstance(settings, ImageFeature)
        if found.type != "string" or found.most_values > 1 or found.missing:
            raise DataError(
                f"data.features.{found.name} must be one encoded image per example to be of kind "
                f"image, but it is of type {found.type} with {found.missing} missing; set another "
                "kind or remove those examples"
            )
        return [
            InputSpec(
                name=found.name,
                kind="image",
                feature=found.name,
                shape=settings.shape,
                dtype="uint8",
            )
        ]

    def transform(
        self, raw: Any, settings: FeatureSettings, made: list[InputSpec]
    ) -> dict[str, Any]:
        """Strings `[b]` of `height * width * channels` bytes."""
        import tensorflow as tf

        from modules.data.features.raw import first

        assert isinstance(settings, ImageFeature)
        (spec,) = made
        size = math.prod(settings.shape)

        def pixels(encoded: tf.Tensor) -> tf.Tensor:
            # TensorFlow decodes raw bytes but does not encode them. A serialized tensor ends with
            # its content, so the tail of it is the pixels, one byte each.
            serialized = tf.io.serialize_tensor(image_pixels(encoded, settings))
            return tf.strings.substr(serialized, -size, size)

        return {spec.name: tf.map_fn(pixels, first(raw, ""), fn_output_signature=tf.string)}

    def stored(self, spec: InputSpec) -> Any:
        """One string."""
        import tensorflow as tf

        return tf.io.FixedLenFeature([], tf.string)

    def decode(self, values: Any, spec: InputSpec) -> Any:
        """`uint8 [b, height, width, channels]`."""
        import tensorflow as tf

        return tf.reshape(tf.io.decode_raw(values, tf.uint8), [-1, *spec.shape])


def image_pixels(encoded: Any, settings: ImageFeature) -> Any:
    """One encoded image as the pixels that a model is given.

    Args:
      encoded: Scalar string: a PNG or JPEG file of any size.
      settings: Size, channels, and what happens to the proportions.

    Returns:
      `uint8` pixels of that shape.
    """
    import tensorflow as tf

    height, width, channels = settings.shape
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, channels])
    if settings.resize == "stretch":
        image = tf.image.resize(image, (height, width), antialias=True)
    elif settings.resize == "pad":
        image = tf.image.resize(image, (height, width), preserve_aspect_ratio=True, antialias=True)
        image = tf.image.resize_with_crop_or_pad(image, height, width)
    else:
        image = tf.image.resize(_center(image, height, width), (height, width), antialias=True)
    return tf.saturate_cast(tf.round(image), tf.uint8)


def _center(image: Any, height: int, width: int) -> Any:
    """The largest part of the wanted proportions in the middle of an image."""
    import tensorflow as tf

    rows, columns = tf.shape(image)[0], tf.shape(image)[1]
    # Whole numbers, so that nothing depends on rounding.
    kept_rows = tf.minimum(rows, tf.maximum(1, columns * height // width))
    kept_columns = tf.minimum(columns, tf.maximum(1, rows * width // height))
    return tf.image.crop_to_bounding_box(
        image, (rows - kept_rows) // 2, (columns - kept_columns) // 2, kept_rows, kept_columns
    )
