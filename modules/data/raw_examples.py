"""From a row of any source to the raw example that every later node reads.

A raw example has the user's features under their names, and ours: `label`, `class_name`,
`example_id`, `example_weight`. It is read twice: first to find out what the labels are and which
side of the split everything belongs to, then to be written.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.data.images import decode_image, is_image, plain_image
from modules.data.labels import Labels, label_values
from modules.data.sources.protocol import Row
from modules.data.spec import CLASS_NAME, EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, OURS
from modules.data.splits import EVAL, TRAIN, UNLABELED, Splitter, example_id
from modules.data.values import Features, content, serialize
from modules.errors import DataError, shown
from modules.settings import DataSettings, Task


@dataclass
class RawExample:
    """One example, not yet written.

    Attributes:
      name: For messages.
      features: Without label and id; see `modules.data.values`.
      images: Names of the features that are encoded images.
      label: As values; None if it is unlabeled.
      example_id: 64 hexadecimal digits.
      unit: What stays together: the example's id, or that of its group.
      split: `train`, `eval` or `unlabeled`.
      weight: None if the data have none.
      own: Whether the split is the user's own.
      pixels: Of the images, by feature, when `content_digest` has decoded them.
    """

    name: str
    features: Features
    images: list[str]
    label: Any
    example_id: bytes
    unit: bytes
    split: str
    weight: float | None
    own: bool = False
    pixels: dict[str, Any] = field(default_factory=dict)


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
      images: Whether any feature may be an encoded image.
    """

    settings: DataSettings
    content: str | None
    label: str
    replaces: bool
    task: Task | None
    splitter: Splitter
    images: bool = True

    def read(self, row: Row, part: str) -> RawExample:
        """The example of a row.

        Args:
          row: Without a problem; its features are changed.
          part: Name of the part that it is of.

        Raises:
          DataError: It cannot be used.
        """
        features = row.features
        theirs = [(name, features.pop(old, None)) for name, old in self.settings.rename.items()]
        features |= {name: items for name, items in theirs if items is not None}
        images = [self.content] if self.content else self._images(features)
        for name in images:
            place = row.name or f"the feature {name!r}"
            features[name] = (plain_image(place, features[name][0]),)
        own = row.split or part
        label = None
        if own != UNLABELED:
            label = label_values(self.label, features.get(self.label))
            if not label and self.task != "multilabel":
                label = None
        weight = self._weight(features) if label is not None else None
        identity = self._key(features, "id")
        unit = self._key(features, "group")
        for name in {self.label, *(OURS if self.replaces else ())}:
            features.pop(name, None)
        identity = identity or example_id(self._content(features))
        unit = unit or identity
        split = UNLABELED
        if label is not None:
            time = features.get(self.settings.time or "")
            split = self.splitter.split(own, unit, time)
            if split == TRAIN and not self.splitter.uses_label(identity):
                split, label, weight = UNLABELED, None, None
        is_own = own in (TRAIN, EVAL)
        return RawExample(row.name, features, images, label, identity, unit, split, weight, is_own)

    def _images(self, features: Features) -> list[str]:
        """The features that are one encoded image, sorted."""
        if not self.images:
            return []
        return sorted(
            name
            for name, items in features.items()
            if len(items) == 1 and type(items[0]) is bytes and is_image(items[0])
        )

    def _weight(self, features: Features) -> float | None:
        name = self.settings.weight
        if not name:
            return None
        found = features.get(name)
        try:
            weight = float(found[0]) if found else math.nan
        except ValueError:
            weight = math.nan
        if not weight > 0 or math.isinf(weight):
            raise DataError(f"data.weight: {name!r} must be a number above 0, got {shown(found)}")
        return weight

    def _key(self, features: Features, key: Literal["id", "group"]) -> bytes | None:
        name = getattr(self.settings, key)
        if not name:
            return None
        found = features.get(name)
        if not found:
            raise DataError(f"data.{key}: {name!r} must have a value in every example")
        return example_id(b"\0".join(_text(value) for value in found))

    def _content(self, features: Features) -> Any:
        if self.content:
            return features[self.content][0]
        return content(features, (self.settings.weight,))

    def content_digest(self, raw: RawExample) -> int:
        """64 bits of a digest of what the example is, by its images' pixels.

        Raises:
          DataError: An image cannot be decoded.
        """
        features, images = raw.features, raw.images
        digest = hashlib.sha256()
        for name in images:
            (image,) = features[name]
            assert isinstance(image, bytes)
            pixels = raw.pixels[name] = decode_image(raw.name or name, image)
            digest.update(f"{name} {pixels.shape}".encode() + pixels.tobytes())
        if not images and not self.settings.id:
            return int(raw.example_id[:16], 16)
        if not self.content:
            digest.update(content(features, {self.settings.weight, self.settings.id, *images}))
        return int.from_bytes(digest.digest()[:8], "big")


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def written(raw: RawExample, labels: Labels) -> bytes:
    """The raw example with label, class names, id and weight, serialized."""
    ours: Features = {EXAMPLE_ID: (raw.example_id,)}
    if raw.label is not None:
        ours[LABEL] = tuple(labels.written(raw.label))
        if labels.task != "regression":
            ours[CLASS_NAME] = tuple(name.encode() for name in labels.classes_of(raw.label))
    if raw.weight is not None:
        ours[EXAMPLE_WEIGHT] = (raw.weight,)
    return serialize(raw.features | ours)
