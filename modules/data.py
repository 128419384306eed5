"""Input pipelines over Transform's examples: streamed, batched parsing, deterministic order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from modules.preprocessing import EXAMPLE_ID, IMAGE, LABEL
from modules.settings import DataSettings

_PARSE_BATCH = 1024
_SHUFFLE_BUFFER = 20_000
# Below this many bytes of pixels the examples are kept in memory between epochs.
_CACHE_LIMIT = 512 * 1024**2
_VALIDATION_BUCKETS = 1_000_000
_FEATURES = {
    IMAGE: tf.io.FixedLenFeature([], tf.string),
    LABEL: tf.io.FixedLenFeature([], tf.int64),
    EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
}


def decode_pixels(raw: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Raw pixel strings `[batch]` as `uint8` `[batch, height, width, channels]`."""
    return tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, *shape])


class ExampleData:
    """The transformed examples under some file patterns.

    Args:
      file_patterns: Globs of gzipped TFRecord files of transformed examples.
      settings: Their shape, and the share of `train` that is held out for validation.
    """

    def __init__(self, file_patterns: Sequence[str], settings: DataSettings):
        self._files = sorted(
            file for pattern in file_patterns for file in tf.io.gfile.glob(pattern)
        )
        self._settings = settings

    def training(self, batch_size: int, seed: int, examples: int) -> tf.data.Dataset:
        """Shuffled `(pixels, labels)` batches of the training part; a new order every epoch.

        Args:
          batch_size: Examples per batch; the last batch may be smaller.
          seed: Of the order; the same seed gives the same sequence of epochs.
          examples: How many there are; decides whether they are cached in memory.
        """
        height, width, channels = self._settings.input_shape
        data = self._records(validation=False)
        if examples * height * width * channels <= _CACHE_LIMIT:
            data = data.cache()
        data = data.shuffle(_SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
        return self._batches(data, batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """`(pixels, labels)` batches of the part of `train` that is held out, in fixed order."""
        return self._batches(self._records(validation=True), batch_size).cache()

    def everything(self, batch_size: int) -> tf.data.Dataset:
        """`(pixels, labels)` batches of all examples, in the order of the files."""
        return self._batches(self._read(), batch_size)

    def sample(self, examples: int) -> np.ndarray:
        """Pixels `uint8 [n, height, width, channels]` of up to `examples` training examples."""
        shuffled = self._records(validation=False).shuffle(_SHUFFLE_BUFFER, seed=0)
        (batch,) = self._batches(shuffled.take(examples), examples).take(1)
        return batch[0].numpy()

    def _read(self) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(self._files, compression_type="GZIP")

    def _records(self, validation: bool) -> tf.data.Dataset:
        """Serialized examples that are (or are not) held out, decided by a hash of their id."""
        threshold = round(self._settings.validation_fraction * _VALIDATION_BUCKETS)
        # A keyed hash, so that the choice is independent of the train/eval split's.
        key = [0x7F4A7C15, self._settings.split_seed]

        def choose(serialized: tf.Tensor) -> tf.Tensor:
            ids = tf.io.parse_example(serialized, {EXAMPLE_ID: _FEATURES[EXAMPLE_ID]})[EXAMPLE_ID]
            bucket = tf.strings.to_hash_bucket_strong(ids, _VALIDATION_BUCKETS, key)
            return tf.boolean_mask(serialized, (bucket < threshold) == validation)

        return self._read().batch(_PARSE_BATCH).map(choose).unbatch()

    def _batches(self, records: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features = tf.io.parse_example(serialized, _FEATURES)
            return decode_pixels(features[IMAGE], self._settings.input_shape), features[LABEL]

        return (
            records.batch(batch_size)
            .map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )
