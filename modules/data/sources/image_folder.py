"""A folder with one sub-folder of image files per class, local or at a URL."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from modules import files
from modules.data.sources.image_listing import METADATA_FILE, ImageFile, Listing
from modules.data.sources.protocol import Files, Part, Prepared, Row, Summarize
from modules.data.sources.state import folder_state
from modules.data.spec import Kind
from modules.data.splits import UNLABELED, example_id
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam

_FILE_COLUMN = "file_name"
# Features of every example, which a column of the same name would replace.
_RESERVED = ("image", "label", "class_name", "example_id", "example_weight")


class ImageFolder:
    """`path/<class name>/<image>`, or `path/<split>/<class name>/<image>`.

    Splits are folders `train` and `val`, `valid`, `validation`, `test` or `eval`. Images below
    `path/unlabeled` have no class. A file `path/metadata.csv` gives every image more features, as
    text: its column `file_name` has paths relative to `path`, every other column is a feature.
    """

    content: ClassVar[str | None] = "image"
    kinds: ClassVar[dict[str, Kind]] = {"image": "image"}

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Requires a path that TFX does not take for a pattern."""
        if not settings.path:
            raise ConfigError(
                "data.path must be set when data.source is image_folder; "
                "set it to a directory with one sub-folder of image files per class"
            )
        for key, path in (("path", settings.path), ("unlabeled", settings.unlabeled or "")):
            if any(character in path for character in "*?[]{}"):
                # TFX finds the files by a pattern, to notice when they change.
                raise ConfigError(
                    f"data.{key} must not contain any of *?[]{{}}, got {path!r}; rename the "
                    "directory"
                )
        pool = settings.unlabeled or ""
        if pool.startswith(f"{settings.path.rstrip('/')}/"):
            raise ConfigError(
                f"data.unlabeled must not lie within data.path, where folders are classes, got "
                f"{pool!r}; move it, or call it unlabeled and remove the key"
            )
        for name in ("splits", "label", "rename"):
            if value := getattr(settings, name):
                raise ConfigError(
                    f"data.{name} must not be set when data.source is image_folder, got {value!r}; "
                    "the folders give labels and splits"
                )

    @staticmethod
    def look(settings: DataSettings) -> tuple[str, ...]:
        """The image and the columns of the metadata."""
        listing = Listing.of(str(settings.path))
        names, values = _read_metadata(listing.path)
        for image in listing.images:
            _features(names, values, image)
        if settings.unlabeled:
            Listing.unlabeled(settings.unlabeled)
        return ("image", *names)

    @staticmethod
    def files(settings: DataSettings) -> Files:
        """Class folders, and those of splits; at a URL, deeper files are not watched."""
        parts: tuple[Part, ...] = (Part("all", "*/*"), Part("nested", "*/*/*"))
        if settings.unlabeled:
            parts = (*parts, Part(UNLABELED, f"{settings.unlabeled.rstrip('/')}/*"))
        return Files(str(settings.path), parts)

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """Every file below the folders but hidden ones, the metadata file among them."""
        folders = (str(settings.path), settings.unlabeled)
        return b"".join(folder_state(each) for each in folders if each)

    @staticmethod
    def prepare(settings: DataSettings, parts: Sequence[Part], summarize: Summarize) -> Prepared:
        """Listed once; what is watched as several patterns is read as one."""
        listings = {"all": Listing.of(str(settings.path))}
        if settings.unlabeled:
            listings[UNLABELED] = Listing.unlabeled(settings.unlabeled)
        return Prepared([part for part in parts if part.name in listings], listings)

    @staticmethod
    def rows(settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """Reads the images of the listing wherever Beam does."""
        import apache_beam as beam

        names: tuple[str, ...] = ()
        values: dict[str, tuple[str, ...]] = {}
        listing: Listing = state[part.name]
        if part.name != UNLABELED:
            names, values = _read_metadata(listing.path)
        # Not class by class, or a reader that shuffles a part at a time would see one class.
        images = sorted(listing.images, key=lambda image: example_id(image.name.encode()))
        items = [
            (_join(listing.path, image.name), image, _features(names, values, image))
            for image in images
        ]
        return (
            beam.Create(items) | "Spread" >> beam.Reshuffle() | "ReadImages" >> beam.MapTuple(_row)
        )


def _row(path: str, image: ImageFile, features: dict[str, str]) -> list[Row]:
    from modules.data.values import features_of

    try:
        content = files.read_bytes(path)
    except OSError as error:
        return [Row(path, problem=f"the file cannot be read ({error.strerror or error})")]
    label = {"label": image.class_name} if image.class_name else {}
    return [Row(path, features_of({"image": content, **label, **features}), image.split)]


def _features(
    names: tuple[str, ...], values: dict[str, tuple[str, ...]], image: ImageFile
) -> dict[str, str]:
    if not names:
        return {}
    if image.name not in values:
        raise DataError(
            f"data.path: {METADATA_FILE} must have a row for every image, but there "
            f"is no row for {image.name}; add it or remove the image"
        )
    return dict(zip(names, values[image.name], strict=True))


def _read_metadata(folder: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The names of the features, and their values by file."""
    path = _join(folder, METADATA_FILE)
    try:
        reader = csv.DictReader(io.StringIO(files.read_bytes(path).decode("utf-8-sig")))
        rows, columns = list(reader), list(reader.fieldnames or ())
    except FileNotFoundError:
        return (), {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must be a CSV file in UTF-8 ({error}); fix it") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); fix it") from error
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
            f"{columns}; add the images' paths relative to {folder}"
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


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
