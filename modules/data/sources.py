"""Where examples come from: sources of encoded images with a label.

A source lists cheap references first (`items`), so that the list can be checked and dealt out to
Beam workers, and reads one image at a time (`read`). A new source is a class here and an entry
in `_SOURCES`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from modules.errors import ConfigError, DataError
from modules.settings import DataSettings

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Optional, in the directory of an image folder; the name and its column are Hugging Face's.
METADATA_FILE, _FILE_COLUMN = "metadata.csv", "file_name"
# What every example has anyway; a column of the same name would replace it.
_RESERVED = ("image", "label", "class_name", "example_id")
# The first bytes of the two formats that can be decoded; the suffix alone proves nothing.
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclass(frozen=True)
class Item:
    """A reference to one image.

    Attributes:
      name: Finds and names it.
      label: An index of `Source.labels`.
      features: Values of `Source.features`, in their order.
    """

    name: str
    label: int
    features: tuple[str, ...] = ()


class Source(Protocol):
    """A data set of labelled images, small enough to pickle to a Beam worker."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; an item's label is a position among them."""

    @property
    def features(self) -> tuple[str, ...]:
        """Further features of every example, by which the judgement can be sliced."""

    def items(self) -> list[Item]:
        """Every image, in a fixed order."""

    def read(self, name: str) -> bytes:
        """The encoded PNG or JPEG image of one item."""


@dataclass(frozen=True)
class DigitsSource:
    """scikit-learn's 1,797 handwritten digits, 8x8 grey levels 0 to 16, as PNG with 0 to 255."""

    labels: tuple[str, ...] = tuple(str(digit) for digit in range(10))
    features: tuple[str, ...] = ()

    def items(self) -> list[Item]:
        """One item per digit; the name is its index in the data set."""
        _, targets = _load_digits()
        return [Item(f"digits/{index}", int(label)) for index, label in enumerate(targets)]

    def read(self, name: str) -> bytes:
        """PNG of the digit with that index."""
        import tensorflow as tf

        images, _ = _load_digits()
        grey = np.rint(images[int(name.rsplit("/", 1)[1])] * (255 / 16)).astype(np.uint8)
        return tf.io.encode_png(grey[..., None]).numpy()


def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    global _DIGITS
    if _DIGITS is None:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        _DIGITS = (bunch.images, bunch.target)
    return _DIGITS


_DIGITS: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class ImageFolderSource:
    """`path/<class name>/<image>.png|jpg|jpeg`; sorted class names become labels 0, 1, ...

    Hidden entries and files beside the class folders are passed over; so are files of other
    types inside them. Any filesystem that TensorFlow can read will do (`gs://`, ...).

    A file `path/metadata.csv` gives every image further features, as texts: its column `file_name`
    has paths relative to `path`, every other column is a feature.
    """

    path: str
    labels: tuple[str, ...] = field(init=False)
    features: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if any(character in self.path for character in "*?[]"):
            # TFX finds the files by a pattern, to notice when they change.
            raise ConfigError(
                f"data.path must not contain *, ?, [ or ], got {self.path!r}; rename the directory"
            )
        if not _isdir(self.path):
            raise ConfigError(
                f"data.path must be an existing directory, but {self.path!r} is none; "
                "set it to a directory with one sub-folder of PNG or JPEG files per class"
            )
        names = tuple(
            name
            for name in sorted(_listdir(self.path))
            if not name.startswith(".") and _isdir(os.path.join(self.path, name))
        )
        if len(names) < 2:
            found = f"only the class {names[0]!r}" if names else "no class sub-folder"
            raise DataError(
                f"data.path must hold at least two class sub-folders, but {self.path!r} has "
                f"{found}; add a sub-folder of images per class"
            )
        for name in names:
            if "\n" in name or "\r" in name:
                raise DataError(
                    f"data.path: the class folder {name!r} has a line break in its name; rename it"
                )
        object.__setattr__(self, "labels", names)
        object.__setattr__(self, "features", self._read_metadata()[0])

    def items(self) -> list[Item]:
        """All images by class, then by file name.

        Raises:
          DataError: A class folder holds no PNG or JPEG file, or an image no row of metadata.
        """
        items = []
        metadata = self._read_metadata()[1]
        for label, class_name in enumerate(self.labels):
            folder = os.path.join(self.path, class_name)
            files = [
                name
                for name in sorted(_listdir(folder))
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            ]
            if not files:
                raise DataError(
                    f"data.path: the class folder {folder!r} holds no .png, .jpg or .jpeg file; "
                    "add images or remove the folder"
                )
            for name in files:
                values = metadata.get(f"{class_name}/{name}", ()) if self.features else ()
                if len(values) != len(self.features):
                    raise DataError(
                        f"data.path: {METADATA_FILE} must have a row for every image, but "
                        f"{class_name}/{name} has none; add it or remove the image"
                    )
                items.append(Item(os.path.join(folder, name), label, values))
        return items

    def _read_metadata(self) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """The names of the features, and their values by file."""
        path = os.path.join(self.path, METADATA_FILE)
        if METADATA_FILE not in _listdir(self.path):
            return (), {}
        try:
            rows = list(csv.DictReader(io.StringIO(self.read(path).decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} must be a CSV file in UTF-8 ({error}); mend it") from error
        # What is too much comes under the key None, what is missing as the value None.
        for row in rows:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}: the row of {row.get(_FILE_COLUMN)!r} must have as many values as "
                    "there are columns; mend it"
                )
        columns = list(rows[0]) if rows else []
        if _FILE_COLUMN not in columns:
            raise DataError(
                f"{path} must have rows with a column {_FILE_COLUMN}, but its columns are "
                f"{columns}; add the images' paths relative to {self.path}"
            )
        names = tuple(name for name in columns if name != _FILE_COLUMN)
        wrong = [name for name in names if name in _RESERVED or not name.isidentifier()]
        if wrong or len(set(names)) != len(names):
            raise DataError(
                f"{path}: columns must be different names of letters, digits and _, other than "
                f"{', '.join(_RESERVED)}, got {', '.join(wrong) or columns}; rename them"
            )
        return names, {row[_FILE_COLUMN]: tuple(row[name] for name in names) for row in rows}

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        return _read(name)


_SOURCES: dict[str, Callable[[DataSettings], Source]] = {
    "digits": lambda settings: DigitsSource(),
    "image_folder": lambda settings: ImageFolderSource(str(settings.path)),
}


def open_source(settings: DataSettings) -> Source:
    """The source that `data.source` names.

    Raises:
      ConfigError: `data.path` is no directory.
      DataError: The class folders are not usable.
    """
    return _SOURCES[settings.source](settings)


def read_metadata(settings: DataSettings) -> bytes:
    """The file of further features as it is; empty where there is none."""
    if not settings.path or not _isdir(settings.path):
        return b""
    if METADATA_FILE not in _listdir(settings.path):
        return b""
    return _read(os.path.join(settings.path, METADATA_FILE))


def example_id(image: bytes) -> bytes:
    """SHA-256 of the encoded image, as 64 hexadecimal digits: the same content, the same id."""
    return hashlib.sha256(image).hexdigest().encode()


def in_eval_split(identity: bytes, settings: DataSettings) -> bool:
    """Whether an example is for judging: a hash of its id and the seed, below the fraction.

    Equal images get equal answers, so no image is both learnt from and judged on.
    """
    digest = hashlib.sha256(b"%d/" % settings.split_seed + identity).digest()
    return int.from_bytes(digest[:8], "big") < settings.eval_fraction * 2**64


def check_image(
    name: str, image: bytes, label: int, labels: tuple[str, ...], channels: int = 1
) -> None:
    """Refuse what could not be trained on, with the decoder that `Transform` will use.

    Args:
      name: For the message.
      image: The file's bytes.
      label: Index into `labels`.
      labels: Class names.
      channels: `data.channels`; not every file can be decoded to every number (CMYK).

    Raises:
      DataError: Not a readable PNG or JPEG, or a label that is no index of `labels`.
    """
    import tensorflow as tf

    if not 0 <= label < len(labels):
        raise DataError(f"{name}: label {label} is outside 0..{len(labels) - 1}")
    if not image.startswith(_MAGIC):
        raise DataError(f"{name}: not a PNG or JPEG file ({len(image)} bytes)")
    try:
        tf.io.decode_image(image, channels=channels, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("\n")[0].split(" [Op:")[0].split("}} ")[-1]
        raise DataError(f"{name}: the image cannot be decoded ({reason})") from None


def _is_remote(path: str) -> bool:
    return "://" in path


def _read(path: str) -> bytes:
    if _is_remote(path):
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as file:
            return bytes(file.read())
    with open(path, "rb") as file:
        return file.read()


def _isdir(path: str) -> bool:
    if _is_remote(path):
        import tensorflow as tf

        return tf.io.gfile.isdir(path)
    return os.path.isdir(path)


def _listdir(path: str) -> list[str]:
    if _is_remote(path):
        import tensorflow as tf

        return [name.rstrip("/") for name in tf.io.gfile.listdir(path)]
    return os.listdir(path)
