"""The Transform module: encoded images become raw `uint8` pixels of one size.

Raw features (written by ExampleGen): `image` encoded bytes, `label` int64, `class_name` bytes,
`example_id` bytes. Transformed features: `image` raw bytes of `height * width * channels`
pixels, `label`, `example_id`. The class names become the vocabulary asset `labels`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

IMAGE, LABEL, CLASS_NAME, EXAMPLE_ID = "image", "label", "class_name", "example_id"
LABEL_VOCABULARY = "labels"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Called by TFX Transform with batches of raw features, shape `[batch, 1]` or sparse."""
    size = custom_config["image_size"]
    shape = (size, size, custom_config["channels"])
    tft.vocabulary(_dense(inputs[CLASS_NAME], ""), vocab_filename=LABEL_VOCABULARY)
    encoded = _dense(inputs[IMAGE], "")
    pixels = tf.map_fn(lambda image: _decode(image, shape), encoded, fn_output_signature=tf.string)
    return {
        IMAGE: pixels,
        LABEL: _dense(inputs[LABEL], -1),
        EXAMPLE_ID: _dense(inputs[EXAMPLE_ID], ""),
    }


def class_names(transform_output: tft.TFTransformOutput) -> list[str]:
    """The class names by label: labels are positions among the sorted names."""
    names = transform_output.vocabulary_by_name(LABEL_VOCABULARY)
    return sorted(name.decode() for name in names)


def image_pixels(encoded: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """One encoded image as the pixels that a model is given.

    Args:
      encoded: Scalar string: a PNG or JPEG file of any size.
      shape: `(height, width, channels)`.

    Returns:
      `uint8` pixels of that shape.
    """
    height, width, channels = shape
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, channels])
    image = tf.image.resize(image, (height, width), antialias=True)
    return tf.saturate_cast(tf.round(image), tf.uint8)


def _dense(feature: Any, default: Any) -> tf.Tensor:
    """`[batch]` values of a feature that Transform delivers sparse or as `[batch, 1]`."""
    if isinstance(feature, tf.SparseTensor):
        feature = tf.sparse.to_dense(
            tf.SparseTensor(feature.indices, feature.values, [feature.dense_shape[0], 1]), default
        )
    return tf.reshape(feature, [-1])


def _decode(encoded: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """One encoded image as a scalar string of raw pixels."""
    height, width, channels = shape
    image = image_pixels(encoded, shape)
    # TensorFlow decodes raw bytes but does not encode them. A serialized tensor ends with its
    # content, so the tail of it is the pixels, one byte each.
    size = height * width * channels
    return tf.strings.substr(tf.io.serialize_tensor(image), -size, size)
