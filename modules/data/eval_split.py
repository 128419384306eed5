"""The examples that are kept for judging, as a server gets them and as the models do.

Transform may write them in another order. Whatever is compared example by example is first put
into the one order that both know: by id, then label. Equal images share an id, and then it does
not matter which is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules.data.examples import ExampleData
from modules.data.features.decode import label_feature
from modules.data.spec import EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, DataSpec, OutputSpec
from modules.errors import ConfigError
from modules.settings import DataSettings

_BATCH = 256


@dataclass(frozen=True, eq=False)
class EvalBatch:
    """Some of the examples.

    Attributes:
      examples: As a model takes them: serialized `[batch]`, or inputs `[batch, ...]` by name.
      labels: `[batch]`; of many labels `[batch, labels]`.
      ids: `[batch]`.
      weights: `[batch]`, or None.
    """

    examples: Any
    labels: NDArray[Any]
    ids: NDArray[Any]
    weights: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EvalSplit:
    """The eval split before and after Transform.

    Attributes:
      raw: File patterns of the serialized examples that a server would be sent.
      transformed: File patterns of the same examples after Transform, perhaps in another order.
      spec: What is in them.
      data: Their settings.
    """

    raw: Sequence[str]
    transformed: Sequence[str]
    spec: DataSpec
    data: DataSettings

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by label; none where values are predicted."""
        return self.spec.output.classes

    @property
    def output(self) -> OutputSpec:
        """What the models answer."""
        return self.spec.output

    @property
    def weighted(self) -> bool:
        """Whether the examples have weights."""
        return self.spec.weighted

    def serialized(self) -> Iterator[EvalBatch]:
        """The raw examples, in the order of their files."""
        features = {
            EXAMPLE_ID: tf.io.FixedLenFeature([], tf.string),
            LABEL: label_feature(self.spec),
        }
        if self.spec.weighted:
            features[EXAMPLE_WEIGHT] = tf.io.FixedLenFeature([], tf.float32)
        for records in self._records().batch(_BATCH):
            parsed = tf.io.parse_example(records, features)
            yield EvalBatch(
                records.numpy(),
                parsed[LABEL].numpy(),
                parsed[EXAMPLE_ID].numpy(),
                parsed[EXAMPLE_WEIGHT].numpy() if self.spec.weighted else None,
            )

    def tensors(self) -> Iterator[EvalBatch]:
        """The transformed examples, in the order of their files."""
        for inputs, labels, ids, weights in self._transformed().weighted(_BATCH):
            yield EvalBatch(
                _arrays(inputs),
                labels.numpy(),
                ids.numpy(),
                weights.numpy() if self.spec.weighted else None,
            )

    def first_serialized(self, count: int) -> list[bytes]:
        """The first serialized examples."""
        return [bytes(record) for record in self._records().take(count).as_numpy_iterator()]

    def first_tensors(self, count: int) -> dict[str, NDArray[Any]]:
        """The first examples' inputs, `[count, ...]` by name."""
        return _arrays(next(iter(self._transformed().everything(count)))[0])

    def images(self, ids: Sequence[str]) -> dict[str, bytes]:
        """PNG files of the pixels that the models were shown, by example id."""
        wanted, found = set(ids), {}
        name = next((each.name for each in self.spec.images), "")
        for batch in self.tensors() if wanted and name else ():
            for image, identity in zip(batch.examples[name], batch.ids, strict=True):
                key = identity.decode()
                if key in wanted:
                    found[key] = bytes(tf.io.encode_png(image).numpy())
            if len(found) == len(wanted):
                break
        return found

    def _transformed(self) -> ExampleData:
        return ExampleData(self.transformed, self.spec, self.data)

    def _records(self) -> tf.data.Dataset:
        files = sorted(file for pattern in self.raw for file in tf.io.gfile.glob(pattern))
        return tf.data.TFRecordDataset(files, compression_type="GZIP")


def _arrays(inputs: dict[str, tf.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: values.numpy() for name, values in inputs.items()}


def common_order(ids: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Positions of examples sorted by id, then label; `[n]`."""
    columns = labels.reshape(len(labels), -1).T
    return np.lexsort((*columns, ids.astype(bytes)))


def texts(serialized: NDArray[Any], features: Sequence[str]) -> dict[str, list[str]]:
    """Values of raw features as texts, by name.

    Args:
      serialized: Of raw examples.
      features: Names.

    Raises:
      ConfigError: An example lacks one of the features.
    """
    found: dict[str, list[str]] = {name: [] for name in features}
    for record in serialized if features else ():
        example = tf.train.Example.FromString(record)
        for name in features:
            found[name].append(_text(example, name))
    return found


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
