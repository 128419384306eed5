"""Tiny models in files, for the tests of what runs files: known answers, known manners."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# uint8 [3, 2, 2, 1]; the answers are the sum and minus the sum.
PIXELS = np.array([[1, 2, 3, 4], [10, 20, 30, 40], [0, 0, 0, 255]], np.uint8).reshape(3, 2, 2, 1)
TENSORS = {"image": PIXELS}
ANSWERS = np.array([[10, -10], [100, -100], [255, -255]], np.float32)


def serialized() -> list[bytes]:
    """`PIXELS` as `tf.train.Example`s."""
    import tensorflow as tf

    def example(pixels: np.ndarray) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
        return tf.train.Example(
            features=tf.train.Features(feature={"image": feature})
        ).SerializeToString()

    return [example(pixels) for pixels in PIXELS]


def sums(pixels: Any) -> Any:
    """Answers batches of any size."""
    import tensorflow as tf

    total = tf.reduce_sum(tf.cast(pixels, tf.float32), axis=[1, 2])
    return tf.concat([total, -total], axis=1)


def slow_sums(pixels: Any) -> Any:
    """The same, after work that takes tens of times as long and changes nothing."""
    import tensorflow as tf

    # The sums in columns 0 and 255; an even number of half rotations brings them back.
    wide = tf.matmul(sums(pixels), np.eye(2, 256, dtype=np.float32)[:, np.r_[0, 2:256, 1]])
    rotation = tf.constant(np.roll(np.eye(256, dtype=np.float32), 128, axis=0))
    for _ in range(16):
        wide = tf.matmul(wide, rotation)
    return tf.concat([wide[:, :1], wide[:, 255:]], axis=1)


def stubborn_sums(pixels: Any) -> Any:
    """The same, for one example and no more."""
    import tensorflow as tf

    total = tf.reduce_sum(tf.reshape(tf.cast(pixels, tf.float32), [1, 4]), axis=1, keepdims=True)
    return tf.concat([total, -total], axis=1)


def greedy_sums(pixels: Any) -> Any:
    """The same, by way of 800 MB."""
    import tensorflow as tf

    values = tf.cast(pixels, tf.float32)
    large = tf.tile(values, [1, 1, 1, 50_000_000])
    return sums(pixels) + tf.reduce_max(values) - tf.reduce_max(large)


def patient_sums(pixels: Any) -> Any:
    """The same, after about a year."""
    import tensorflow as tf

    total = tf.while_loop(
        lambda turn, _: turn < 10**15,
        lambda turn, kept: (turn + 1, kept * 1),
        (tf.constant(0, tf.int64), sums(pixels)),
    )[1]
    return total


def write_tflite(path: Path, answer: Callable[[Any], Any]) -> str:
    """A TFLite file: uint8 `[1, 2, 2, 1]` in, float32 `[1, 2]` out."""
    import tensorflow as tf

    module = tf.Module()
    function = tf.function(
        lambda image: {"logits": answer(image)},
        input_signature=[tf.TensorSpec((1, 2, 2, 1), tf.uint8)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())
    return str(path)


def write_int8_tflite(path: Path) -> str:
    """`sums` with int8 weights, activations and output, and uint8 input."""
    import tensorflow as tf

    module = tf.Module()
    function = tf.function(
        lambda image: {"logits": sums(image)},
        input_signature=[tf.TensorSpec((1, 2, 2, 1), tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None].astype(np.float32)] for each in PIXELS)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return str(path)


def write_saved_model(path: Path, answer: Callable[[Any], Any]) -> str:
    """A SavedModel that takes serialized examples and answers logits."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: Any) -> dict[str, Any]:
        features = tf.io.parse_example(examples, {"image": tf.io.FixedLenFeature([], tf.string)})
        pixels = tf.reshape(tf.io.decode_raw(features["image"], tf.uint8), [-1, 2, 2, 1])
        return {"logits": answer(pixels)}

    module.serve = serve
    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return str(path)
