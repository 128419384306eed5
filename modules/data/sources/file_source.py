"""What sources of data files have in common: where their files are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar

from modules import files
from modules.data.sources.embedded import is_embedded, locate
from modules.data.sources.protocol import Files, Part, Prepared, Summarize
from modules.data.sources.state import files_state
from modules.data.spec import Kind
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings

_SPECIAL = re.compile(r"[*?\[{]")
# What TFX fills in, and what matches any of it.
_SPANS = re.compile(r"\{(SPAN|VERSION)(:\d+)?\}|\{YYYY\}|\{MM\}|\{DD\}")


class FileSource:
    """Files below `data.path`, which is a file, a directory or a pattern.

    Attributes:
      pattern: Of the files of a directory that are read.
    """

    content: ClassVar[str | None] = None
    kinds: ClassVar[dict[str, Kind]] = {}
    pattern: ClassVar[str]

    @classmethod
    def check(cls, settings: DataSettings) -> None:
        """Requires a path."""
        if not settings.path:
            raise ConfigError(
                f"data.path must be set when data.source is {settings.source}; set it to a "
                "directory, a file or a pattern"
            )
        parts = cls._files(settings).parts
        if len({tuple(sorted(m.group() for m in _SPANS.finditer(p.pattern))) for p in parts}) > 1:
            raise ConfigError(
                "data.path, data.splits and data.unlabeled must have the same of {SPAN}, "
                f"{{VERSION}}, got {', '.join(part.pattern for part in parts)}; add what is missing"
            )

    @classmethod
    def files(cls, settings: DataSettings) -> Files | None:
        """None where the data are part of the project, which never change."""
        return None if is_embedded(settings.path) else cls._files(settings)

    @classmethod
    def _files(cls, settings: DataSettings) -> Files:
        """One part, or one for each of the user's own splits."""
        path = locate(str(settings.path))
        if settings.splits:
            base = path.rstrip("/")
            parts = tuple(Part(name, pattern) for name, pattern in settings.splits.items())
        else:
            base, pattern = cls._locate(path)
            parts = (Part("all", pattern),)
        if settings.unlabeled:
            place, pattern = cls._locate(settings.unlabeled)
            parts = (*parts, Part("unlabeled", _below(base, place, pattern)))
        return Files(base, parts)

    @classmethod
    def unwatched(cls, settings: DataSettings) -> bytes:
        """Names and contents of local files; also of what is part of the project."""
        if is_embedded(settings.path):
            return Path(locate(str(settings.path))).read_bytes()
        return files_state(
            (f"{part.name}\0{path}", path)
            for part in cls.absolute(settings)
            for path in cls.local_files(_SPANS.sub("*", part.pattern))
        )

    @classmethod
    def look(cls, settings: DataSettings) -> tuple[str, ...] | None:
        """Only whether there are files; which features they have, a run finds out."""
        for part in cls.absolute(settings):
            pattern = _SPANS.sub("*", part.pattern)
            if files.local_path(pattern) is not None and not cls.local_files(pattern):
                raise no_files(part)
        return None

    @classmethod
    def prepare(
        cls, settings: DataSettings, parts: Sequence[Part], summarize: Summarize
    ) -> Prepared:
        """Only that there are files."""
        for part in parts:
            cls.matching(part)
        return Prepared(parts)

    @staticmethod
    def matching(part: Part) -> list[str]:
        """Sorted paths or URLs of the part's files.

        Raises:
          DataError: There are none.
        """
        from apache_beam.io.filesystems import FileSystems

        (found,) = FileSystems.match([locate(part.pattern)])
        paths = sorted(each.path for each in found.metadata_list)
        paths = [path for path in paths if not path.rpartition("/")[2].startswith((".", "_"))]
        if not paths:
            raise no_files(part)
        for path in paths:
            _check_regular(path)
        return paths

    @classmethod
    def absolute(cls, settings: DataSettings) -> list[Part]:
        """The parts with absolute patterns, in which `{SPAN}` is still open."""
        found = cls._files(settings)
        return [Part(part.name, join(found.base, part.pattern)) for part in found.parts]

    @classmethod
    def local_files(cls, pattern: str) -> list[str]:
        """Sorted local files; none at a URL.

        Raises:
          DataError: One is a pipe, a device or a link to nothing.
        """
        import glob

        local = files.local_path(pattern)
        paths = [path for path in glob.glob(local or "") if not os.path.isdir(path)]
        for path in paths:
            _check_regular(path)
        return sorted(paths)

    @classmethod
    def _locate(cls, path: str) -> tuple[str, str]:
        """A directory, and a pattern below it without a leading slash."""
        special = _SPECIAL.search(path)
        if special:
            base, _, _ = path[: special.start()].rpartition("/")
            if not base and not path.startswith("/"):
                return ".", path
            return base or "/", path[len(base) + 1 :]
        local = files.local_path(path)
        is_file = local is not None and os.path.isfile(local)
        last = path.rstrip("/").rpartition("/")[2]
        # What is not here can only be guessed by its name.
        named = fnmatch(last.lower().removesuffix(".gz"), cls.pattern)
        if is_file or (named and not (local and os.path.isdir(local))):
            base, slash, name = path.rpartition("/")
            return base or slash or ".", name
        return path.rstrip("/") or "/", cls.pattern


def join(base: str, pattern: str) -> str:
    """An absolute pattern, or one below the base; as TFX joins them."""
    return os.path.join(base, pattern)


def _check_regular(path: str) -> None:
    try:
        files.check_regular(path)
    except OSError as error:
        raise DataError(f"data.path: {path} cannot be read, {error.strerror}; remove it") from error


def no_files(part: Part) -> DataError:
    """The error for a pattern without files."""
    key = {"all": "path", "unlabeled": "unlabeled"}.get(part.name, f"splits.{part.name}")
    return DataError(
        f"data.{key}: no file matches {part.pattern}; set it to a file, a directory or a pattern "
        "that does"
    )


def _below(base: str, place: str, pattern: str) -> str:
    """A pattern of another directory as TFX can join it with the base."""
    if place == base:
        return pattern
    if place.startswith(f"{base}/"):
        return f"{place[len(base) + 1 :]}/{pattern}"
    local = files.local_path(place)
    if local is None:
        raise ConfigError(
            f"data.unlabeled must lie below {base} when it is a URL, got {place}; move it there"
        )
    return os.path.join(os.path.abspath(local), pattern)
