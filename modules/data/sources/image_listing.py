"""Which files of an image folder are images, of which class and split, and what is passed over."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from modules import files
from modules.data.images import IMAGE_SUFFIXES
from modules.data.splits import EVAL, TRAIN, UNLABELED
from modules.errors import ConfigError, DataError

# Optional, in the folder itself; the name and its column are Hugging Face's.
METADATA_FILE = "metadata.csv"
_LOG = logging.getLogger("tfx_distill.data")
# Folders of this name are splits if there is one for training and one for judging.
_SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": EVAL,
    "valid": EVAL,
    "validation": EVAL,
    "test": EVAL,
    "eval": EVAL,
    "unlabeled": UNLABELED,
}
# What systems leave behind; hidden files are left out as well.
_LEFTOVERS = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
_NAMED = 5


@dataclass(frozen=True)
class ImageFile:
    """One image.

    Attributes:
      name: Below the folder, with `/`.
      class_name: In Unicode's composed form; "" of an unlabeled image.
      split: `train`, `eval`, `unlabeled`; "" if the folder has no splits.
    """

    name: str
    class_name: str
    split: str


@dataclass
class Listing:
    """All images of a folder, by split, class and name.

    Attributes:
      path: The folder.
      images: Sorted by name.
      class_names: Sorted.
    """

    path: str
    images: list[ImageFile] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: str) -> Listing:
        """List a folder of class folders, or of splits with class folders in them.

        Images in a folder `unlabeled` beside either have no class.

        Raises:
          ConfigError: There is no such folder.
          DataError: Too few classes, an empty class, or something that is no regular file.
        """
        if not files.is_dir(path):
            raise ConfigError(
                f"data.path must be an existing directory, got {path!r}; "
                "set it to a directory with one sub-folder of image files per class"
            )
        listing = cls(path)
        splits = {name: _SPLITS.get(name.lower(), "") for name in _folders(path)}
        pool = [name for name, split in splits.items() if split == UNLABELED]
        if not {TRAIN, EVAL} <= set(splits.values()) or "" in splits.values():
            splits = {"": ""} | dict.fromkeys(pool, UNLABELED)
        classes: dict[str, list[tuple[str, int]]] = {}
        for folder, split in splits.items():
            if split == UNLABELED:
                listing.images += _images(path, folder, "", split)
            else:
                below = _join(path, folder) if folder else path
                for name in _folders(below):
                    if not folder and name in pool:
                        continue
                    place = f"{folder}/{name}" if folder else name
                    found = list(_images(path, place, _class_name(name), split))
                    classes.setdefault(_class_name(name), []).append((place, len(found)))
                    listing.images += found
        listing.class_names = sorted(classes)
        listing._check(classes)
        return listing

    @classmethod
    def unlabeled(cls, path: str) -> Listing:
        """All images below a folder, without class.

        Raises:
          DataError: There are none.
        """
        listing = cls(path, list(_images(path, "", "", UNLABELED)))
        if not listing.images:
            raise DataError(
                f"data.unlabeled: {path!r} holds no image file; set it to a directory of images"
            )
        return listing

    def _check(self, classes: dict[str, list[tuple[str, int]]]) -> None:
        if len(classes) < 2:
            found = f"only the class {self.class_names[0]!r}" if classes else "no class sub-folder"
            raise DataError(
                f"data.path must hold at least two class sub-folders, but {self.path!r} has "
                f"{found}; add a sub-folder of images per class"
            )
        broken = [name for name in classes if "\n" in name or "\r" in name]
        if broken:
            raise DataError(
                f"data.path: the class folder {broken[0]!r} has a line break in its name; rename it"
            )
        for places in classes.values():
            empty = [place for place, count in places if not count]
            if empty:
                raise DataError(
                    f"data.path: the class folder {_join(self.path, empty[0])!r} holds no "
                    f"{', '.join(IMAGE_SUFFIXES)} file; add images or remove the folder"
                )


def _class_name(folder: str) -> str:
    # macOS writes ä as two code points, others as one.
    return unicodedata.normalize("NFC", folder)


def _folders(path: str) -> Iterator[str]:
    for name in files.entries(path):
        if not _is_leftover(name) and files.is_dir(_join(path, name)):
            yield name


def _images(path: str, folder: str, class_name: str, split: str) -> Iterator[ImageFile]:
    """Images of a folder and of those in it; what else is there is named in the log."""
    place = _join(path, folder) if folder else path
    nested: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for name in files.file_names(place):
        if any(_is_leftover(each) for each in name.split("/")):
            continue
        if not name.lower().endswith(IMAGE_SUFFIXES):
            unknown[os.path.splitext(name)[1].lower() or name] += 1
            continue
        if "/" in name:
            nested[name.rpartition("/")[0]] += 1
        local = files.local_path(_join(place, name))
        if local is not None and not os.path.isfile(local):
            raise DataError(
                f"data.path: {local} must be a regular file or a link to one; remove it"
            )
        yield ImageFile(f"{folder}/{name}" if folder else name, class_name, split)
    if nested and class_name:
        _LOG.warning(
            "%s: %d image(s) of folders in it count as %r: %s",
            *(place, nested.total(), class_name, _first(nested)),
        )
    if unknown:
        _LOG.warning(
            "%s: %d file(s) are no images by their names: %s",
            *(place, unknown.total(), _first(unknown)),
        )


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFTOVERS


def _first(found: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in found.most_common(_NAMED))
    return shown + (", …" if len(found) > _NAMED else "")


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
