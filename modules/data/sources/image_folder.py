"""A folder with one sub-folder of image files per class, local or at a URL."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from modules import files
from modules.data.images import IMAGE_SUFFIXES
from modules.data.sources.protocol import Item
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings

# Optional, in the folder itself; the name and its column are Hugging Face's.
METADATA_FILE, _FILE_COLUMN = "metadata.csv", "file_name"
# Features of every example, which a column of the same name would replace.
_RESERVED = ("image", "label", "class_name", "example_id")


@dataclass(frozen=True)
class ImageFolder:
    """`path/<class name>/<image>.png|jpg|jpeg`; sorted class names become labels 0, 1, ...

    Hidden entries, files next to the class folders and files of other types are ignored.

    A file `path/metadata.csv` gives every image more features, as text: its column `file_name` has
    paths relative to `path`, every other column is a feature.
    """

    pattern: ClassVar[str | None] = "*/*"
    path: str
    labels: tuple[str, ...] = field(init=False)
    features: tuple[str, ...] = field(init=False)

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Requires a path that TFX does not take for a pattern."""
        if not settings.path:
            raise ConfigError(
                "data.path must be set when data.source is image_folder; "
                "set it to a directory with one sub-folder of PNG or JPEG files per class"
            )
        if any(character in settings.path for character in "*?[]"):
            # TFX finds the files by a pattern, to notice when they change.
            raise ConfigError(
                f"data.path must not contain *, ?, [ or ], got {settings.path!r}; rename the "
                "directory"
            )

    @classmethod
    def open(cls, settings: DataSettings) -> ImageFolder:
        """Lists the class folders and reads the metadata."""
        return cls(str(settings.path))

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """The metadata file, and which image is in which folder.

        TFX watches number, size and whole seconds of the times, but no name: to TFX, two swapped
        folders are the same. At a URL, that is all that is watched of the images.
        """
        path = str(settings.path)
        try:
            metadata = files.read_bytes(_join(path, METADATA_FILE))
        except FileNotFoundError:
            metadata = b""
        local = files.local_path(path)
        return metadata if local is None else metadata + files.local_state(local)

    def __post_init__(self) -> None:
        if not files.is_dir(self.path):
            raise ConfigError(
                f"data.path must be an existing directory, got {self.path!r}; "
                "set it to a directory with one sub-folder of PNG or JPEG files per class"
            )
        names = tuple(
            name
            for name in files.entries(self.path)
            if not name.startswith(".") and files.is_dir(_join(self.path, name))
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
          DataError: A class folder has no PNG or JPEG file, or an image has no row of metadata.
        """
        items = []
        metadata = self._read_metadata()[1]
        for label, class_name in enumerate(self.labels):
            folder = _join(self.path, class_name)
            names = [
                name
                for name in files.entries(folder)
                if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
            ]
            if not names:
                raise DataError(
                    f"data.path: the class folder {folder!r} holds no .png, .jpg or .jpeg file; "
                    "add images or remove the folder"
                )
            for name in names:
                values = metadata.get(f"{class_name}/{name}", ()) if self.features else ()
                if len(values) != len(self.features):
                    raise DataError(
                        f"data.path: {METADATA_FILE} must have a row for every image, but there "
                        f"is no row for {class_name}/{name}; add it or remove the image"
                    )
                path = _join(folder, name)
                local = files.local_path(path)
                if local is not None and not os.path.isfile(local):
                    raise DataError(
                        f"data.path: {path} must be a regular file or a link to one; remove it"
                    )
                items.append(Item(path, label, values))
        return items

    def _read_metadata(self) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """The names of the features, and their values by file."""
        path = _join(self.path, METADATA_FILE)
        try:
            reader = csv.DictReader(io.StringIO(self.read(path).decode("utf-8-sig")))
            rows, columns = list(reader), list(reader.fieldnames or ())
        except FileNotFoundError:
            return (), {}
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} must be a CSV file in UTF-8 ({error}); fix it") from error
        # Extra values have the key None, missing ones the value None.
        for row in rows:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}: the row of {row.get(_FILE_COLUMN)!r} must have as many values as "
                    "there are columns; fix it"
                )
        if not rows or _FILE_COLUMN not in columns:
            raise DataError(
                f"{path} must have rows with a column {_FILE_COLUMN}, but its columns are "
                f"{columns}; add the images' paths relative to {self.path}"
            )
        names = tuple(name for name in columns if name != _FILE_COLUMN)
        wrong = [name for name in names if name in _RESERVED or not name.isidentifier()]
        if wrong or len(set(columns)) != len(columns):
            raise DataError(
                f"{path}: columns must be different names of letters, digits and _, other than "
                f"{', '.join(_RESERVED)}, got {', '.join(wrong) or columns}; rename them"
            )
        values = {row[_FILE_COLUMN]: tuple(row[name] for name in names) for row in rows}
        if len(values) != len(rows):
            twice = Counter(row[_FILE_COLUMN] for row in rows).most_common(1)[0][0]
            raise DataError(f"{path}: {twice!r} must have one row, but has several; keep one")
        return names, values

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        return files.read_bytes(name)


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
