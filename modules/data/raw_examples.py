"""From a row of any source to the raw example that every later node reads.

A raw example has the user's features under their names, and ours: `label`, `class_name`,
`example_id`, `example_weight`. It is read twice: first to find out what the labels are and which
side of the split everything belongs to, then to be written.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal

from modules.data.images import decode_image, is_image, plain_image
from modules.data.labels import Labels, label_values
from modules.data.sources.protocol import Row
from modules.data.spec import CLASS_NAME, EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, OURS
from modules.data.splits import EVAL, TRAIN, UNLABELED, Splitter, example_id
from modules.data.values import values
from modules.errors import DataError
from modules.settings import DataSettings, Task


@dataclass
class RawExample:
    """One example, not yet written.

    Attributes:
      name: For messages.
      features: A `tf.train.Example` without label and id.
      images: Names of the features that are encoded images.
      label: As values; None if it is unlabeled.
      example_id: 64 hexadecimal digits.
      unit: What stays together: the example's id, or that of its group.
      split: `train`, `eval` or `unlabeled`.
      weight: None if the data have none.
      own: Whether the split is the user's own.
    """

    name: str
    features: Any
    images: list[str]
    label: Any
    example_id: bytes
    unit: bytes
    split: str
    weight: float | None
    own: bool = False


@dataclass
class Reader:
    """Interprets rows.

    Attributes:
      settings: What in the data is what.
      content: The feature that alone makes an example what it is; None: all features.
      label: Name of the feature to predict.
      replaces: Whether the data may have features of our names, which are left out.
      task: As configured.
      splitter: Decides the split.
    """

    settings: DataSettings
    content: str | None
    label: str
    replaces: bool
    task: Task | None
    splitter: Splitter

    def read(self, row: Row, part: str) -> RawExample:
        """The example of a row.

        Args:
          row: Without a problem; its example is changed.
          part: Name of the part that it is of.

        Raises:
          DataError: It cannot be used.
        """
        features = row.example.features.feature
        for ours, theirs in self.settings.rename.items():
            if theirs in features:
                features[ours].CopyFrom(features[theirs])
                del features[theirs]
        images = [self.content] if self.content else _image_names(features)
        for name in images:
            content = features[name].bytes_list.value
            content[0] = plain_image(row.name or f"the feature {name!r}", content[0])
        own = row.split or part
        label = None
        if own != UNLABELED:
            label = label_values(self.label, _values(features, self.label))
            if not label and self.task != "multilabel":
                label = None
        weight = self._weight(features) if label is not None else None
        identity = self._key(features, "id")
        unit = self._key(features, "group")
        for name in {self.label, *(OURS if self.replaces else ())} & set(features):
            del features[name]
        identity = identity or example_id(self._content(row.example))
        unit = unit or identity
        split = UNLABELED
        if label is not None:
            time = _values(features, self.settings.time)
            split = self.splitter.split(own, unit, time)
        is_own = own in (TRAIN, EVAL)
        return RawExample(
            row.name, row.example, images, label, identity, unit, split, weight, is_own
        )

    def _weight(self, features: Any) -> float | None:
        name = self.settings.weight
        if not name:
            return None
        found = _values(features, name)
        try:
            weight = float(found[0]) if found else math.nan
        except ValueError:
            weight = math.nan
        if not weight > 0 or math.isinf(weight):
            shown = found[0] if found else "nothing"
            raise DataError(f"data.weight: {name!r} must be a number above 0, got {shown!r}")
        return weight

    def _key(self, features: Any, key: Literal["id", "group"]) -> bytes | None:
        name = getattr(self.settings, key)
        if not name:
            return None
        found = _values(features, name)
        if not found:
            raise DataError(f"data.{key}: {name!r} must have a value in every example")
        return example_id(b"\0".join(_text(value) for value in found))

    def _content(self, example: Any) -> bytes:
        if self.content:
            return bytes(example.features.feature[self.content].bytes_list.value[0])
        return _serialized(example, self.settings.weight)

    def content_digest(self, raw: RawExample) -> int:
        """64 bits of a digest of what the example is, by its images' pixels.

        Raises:
          DataError: An image cannot be decoded.
        """
        features = raw.features.features.feature
        images = raw.images
        digest = hashlib.sha256()
        for name in images:
            pixels = decode_image(raw.name or name, features[name].bytes_list.value[0])
            digest.update(f"{name} {pixels.shape}".encode() + pixels.tobytes())
        if not images and not self.settings.id:
            return int(raw.example_id[:16], 16)
        if not self.content:
            left_out = {self.settings.weight, self.settings.id, *images}
            digest.update(_serialized(raw.features, *left_out))
        return int.from_bytes(digest.digest()[:8], "big")


def holds_image(feature: Any) -> bool:
    """Whether a feature is one encoded image."""
    if not feature.HasField("bytes_list"):
        return False
    content = feature.bytes_list.value
    return len(content) == 1 and is_image(content[0])


def _image_names(features: Any) -> list[str]:
    return sorted(name for name, feature in features.items() if holds_image(feature))


def _values(features: Any, name: str | None) -> Any:
    return values(features[name]) if name and name in features else None


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _serialized(example: Any, *left_out: str | None) -> bytes:
    features = example.features.feature
    names = [name for name in left_out if name and name in features]
    if names:
        example = type(example).FromString(example.SerializeToString())
        for name in names:
            del example.features.feature[name]
    return example.SerializeToString(deterministic=True)


def written(raw: RawExample, labels: Labels) -> bytes:
    """The raw example with label, class names, id and weight, serialized."""
    features = raw.features.features.feature
    features[EXAMPLE_ID].bytes_list.value.append(raw.example_id)
    if raw.label is not None:
        label = labels.written(raw.label)
        if labels.task == "regression":
            features[LABEL].float_list.value.extend(label)
        else:
            features[LABEL].int64_list.value.extend(label)
            names = labels.classes_of(raw.label)
            features[CLASS_NAME].bytes_list.value.extend(name.encode() for name in names)
    if raw.weight is not None:
        features[EXAMPLE_WEIGHT].float_list.value.append(raw.weight)
    return raw.features.SerializeToString(deterministic=True)
