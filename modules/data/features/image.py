"""Images: encoded files of any size become pixels of one."""

from __future__ import annotations

import tensorflow as tf

from modules.settings import ImageFeature


def image_pixels(encoded: tf.Tensor, settings: ImageFeature) -> tf.Tensor:
    """One encoded image as the pixels that a model is given.

    Args:
      encoded: Scalar string: a PNG or JPEG file of any size.
      settings: Size, channels, and what becomes of other proportions.

    Returns:
      `uint8 [height, width, channels]`.
    """
    height, width, channels = settings.shape
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, channels])
    if settings.resize == "stretch":
        return _resize(image, height, width)
    given = tf.cast(tf.shape(image)[:2], tf.float32)
    factors = tf.constant([height, width], tf.float32) / given
    pad = settings.resize == "pad"
    factor = tf.reduce_min(factors) if pad else tf.reduce_max(factors)
    size = tf.cast(tf.round(given * factor), tf.int32)
    size = tf.maximum(size, 1) if pad else tf.maximum(size, [height, width])
    resized = _resize(image, size[0], size[1])
    return tf.image.resize_with_crop_or_pad(resized, height, width)


def _resize(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    resized = tf.image.resize(image, (height, width), antialias=True)
    return tf.saturate_cast(tf.round(resized), tf.uint8)
