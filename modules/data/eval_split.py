"""The examples that are kept for judging, as a server gets them and as the models do.

Transform may write them in another order. Whatever is compared example by example is first put
into the one order that both know: by id, then label. Equal images share an id, and then it does
not matter which is which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from modules.data.examples import ExampleData
from modules.data.preprocessing import EXAMPLE_ID, LABEL
from modules.errors import ConfigError
from modules.settings import DataSettings

_BATCH = 256


@dataclass(frozen=True)
class EvalSplit:
    """The eval split before and after Transform.

    Attributes:
      raw: File patterns of the serialized examples that a server would be sent.
      transformed: File patterns of the same examples after Transform, perhaps in another order.
      data: Their settings.
      labels: Class names by label.
    """

    raw: Sequence[str]
    transformed: Sequence[str]
    data: DataSettings
    labels: Sequence[str]

    @cached_property
    def ids(self) -> list[str]:
        """Every example's id, in the common order."""
        return self.texts([EXAMPLE_ID])[EXAMPLE_ID].tolist()

    @cached_property
    def raw_order(self) -> np.ndarray:
        """Where in the order of `serialized` the examples are, in the common order; `[n]`."""
        spec = {
            EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        parsed = self._records().batch(_BATCH).map(lambda each: tf.io.parse_example(each, spec))
        return _order((each[EXAMPLE_ID], each[LABEL]) for each in parsed)

    @cached_property
    def transformed_order(self) -> np.ndarray:
        """Where in the order of `pixels` the examples are, in the common order; `[n]`."""
        batches = ExampleData(self.transformed, self.data).everything(_BATCH)
        return _order((ids, labels) for _, labels, ids in batches)

    def serialized(self) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """`(labels [batch], serialized examples [batch])`, in the order of the files."""
        for records in self._records().batch(_BATCH):
            spec = {LABEL: tf.io.FixedLenFeature([], tf.int64)}
            yield tf.io.parse_example(records, spec)[LABEL].numpy(), records

    def pixels(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`(pixels uint8 [batch, height, width, channels], labels [batch])`."""
        for pixels, labels, _ in ExampleData(self.transformed, self.data).everything(_BATCH):
            yield pixels.numpy(), labels.numpy()

    def first_serialized(self, count: int) -> list[bytes]:
        """The first serialized examples."""
        return [bytes(record) for record in self._records().take(count).as_numpy_iterator()]

    def first_pixels(self, count: int) -> np.ndarray:
        """The first examples' pixels, `uint8 [count, height, width, channels]`."""
        data = ExampleData(self.transformed, self.data)
        return next(iter(data.everything(count)))[0].numpy()

    def texts(self, features: Sequence[str]) -> dict[str, np.ndarray]:
        """Values of raw features as texts `[n]`, in the common order.

        Raises:
          ConfigError: An example lacks one of the features.
        """
        found: dict[str, list[str]] = {name: [] for name in features}
        for record in self._records().as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            for name in features:
                found[name].append(_text(example, name))
        order = self.raw_order
        return {name: np.array(values, dtype=object)[order] for name, values in found.items()}

    def images(self, ids: Sequence[str]) -> dict[str, bytes]:
        """PNG files of the pixels that the models were shown, by example id."""
        wanted, found = set(ids), {}
        for pixels, _, batch_ids in ExampleData(self.transformed, self.data).everything(_BATCH):
            for image, identity in zip(pixels, batch_ids.numpy(), strict=True):
                name = identity.decode()
                if name in wanted:
                    found[name] = bytes(tf.io.encode_png(image).numpy())
            if len(found) == len(wanted):
                break
        return found

    def _records(self) -> tf.data.Dataset:
        files = sorted(file for pattern in self.raw for file in tf.io.gfile.glob(pattern))
        return tf.data.TFRecordDataset(files, compression_type="GZIP")


def _order(batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> np.ndarray:
    """Positions sorted by id, then label."""
    ids, labels = zip(*((ids.numpy(), labels.numpy()) for ids, labels in batches), strict=True)
    return np.lexsort((np.concatenate(labels), np.concatenate(ids).astype(bytes)))


def _text(example: tf.train.Example, name: str) -> str:
    """The one value of a feature; TFMA shows bytes and numbers alike as text."""
    feature = example.features.feature
    kind = feature[name].WhichOneof("kind") if name in feature else None
    values = getattr(feature[name], kind).value if kind else []
    if len(values) != 1:
        known = ", ".join(sorted(name for name in feature))
        raise ConfigError(
            f"evaluate.slices must name features that every example has once, but {name!r} has "
            f"{len(values)} values; the features are {known}"
        )
    return values[0].decode() if kind == "bytes_list" else str(values[0])
