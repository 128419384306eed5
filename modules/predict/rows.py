"""Raw examples in files: rows of tables, JSON lines, lines of text, images.

What a value must be is what the manifest says of the raw feature. Every problem is one line that
names the file, the line and the column.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.data.images import IMAGE_SUFFIXES, plain_image
from modules.data.spec import DataSpec
from modules.errors import ConfigError, DataError
from modules.files import check_regular
from modules.push.manifest import Preprocessing

Value = bytes | int | float
_MOST_PROBLEMS = 20
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Row:
    """One raw example.

    Attributes:
      source: Its file, and in a file of several its line: `data.csv:2`.
      values: By raw feature; none where it is missing.
    """

    source: str
    values: dict[str, list[Value]]


class RowError(Exception):
    """One line on what is wrong with a row; where it is goes before."""


@dataclass(frozen=True)
class RowReader:
    """Reads what a model can be asked.

    Attributes:
      raw: `type`, `optional` and `many` of each raw feature, as the manifest has them.
      images: Names of those that are images.
      texts: Names of those that are texts.
    """

    raw: Mapping[str, Mapping[str, Any]]
    images: frozenset[str]
    texts: frozenset[str]

    @classmethod
    def of(cls, preprocessing: Preprocessing, spec: DataSpec) -> RowReader:
        """The reader for a pushed model."""
        kinds = {each.feature: each.kind for each in spec.inputs}
        images = frozenset(name for name, kind in kinds.items() if kind == "image")
        texts = frozenset(name for name, kind in kinds.items() if kind == "text")
        return cls(preprocessing.raw, images, texts)

    def check(self, paths: Sequence[Path]) -> None:
        """Read everything once.

        Raises:
          ConfigError: Something cannot be read; a line for each, at most 20.
        """
        problems: list[str] = []
        for _ in self.read(paths, problems):
            if len(problems) >= _MOST_PROBLEMS:
                break
        if problems:
            raise ConfigError("\n".join(problems[:_MOST_PROBLEMS]))

    def read(self, paths: Sequence[Path], problems: list[str]) -> Iterator[Row]:
        """The rows of files and directories, one after the other.

        Args:
          paths: `.csv`, `.jsonl` or `.json`, `.txt`, else images; a directory stands for the images
            below it, sorted, without hidden ones.
          problems: What is wrong is put here, and left out.
        """
        for path in paths:
            if path.is_dir():
                images = sorted(_images_below(path))
                if not images:
                    problems.append(
                        f"FILE: {path} must have image files ({', '.join(IMAGE_SUFFIXES)}), but "
                        "has none"
                    )
                for image in images:
                    yield from self._file(image, problems)
            else:
                yield from self._file(path, problems)

    def _file(self, path: Path, problems: list[str]) -> Iterator[Row]:
        reader = {".csv": _csv, ".jsonl": _json, ".json": _json, ".txt": self._lines}
        try:
            check_regular(str(path))
            for where, values in reader.get(path.suffix.lower(), self._image)(path):
                try:
                    if isinstance(values, RowError):
                        raise values
                    yield Row(f"{path}:{where}" if where else str(path), self._row(values, path))
                except RowError as problem:
                    problems.append(f"FILE: {path}{f' line {where}' if where else ''}{problem}")
        except RowError as problem:
            problems.append(f"FILE: {path}{problem}")
        except DataError as error:
            problems.append(f"FILE: {error}; leave it out")
        except UnicodeDecodeError as error:
            problems.append(f"FILE: {path} is not UTF-8 ({error.reason}); save it as UTF-8")
        except OSError as error:
            problems.append(f"FILE: {path} cannot be read ({error.strerror})")

    def _row(self, given: Mapping[str, Any], path: Path) -> dict[str, list[Value]]:
        """The values of a row, by raw feature, as the model takes them."""
        row = {}
        for name, raw in self.raw.items():
            found = given.get(name)
            listed = found if isinstance(found, list) else [] if found is None else [found]
            if not listed and not (raw["optional"] and name not in self.images):
                what = (
                    "is missing, and every example must have it"
                    if name in given
                    else (f"is missing; there are {', '.join(sorted(given)) or 'none'}")
                )
                raise RowError(f", column {name}: {what}")
            if len(listed) > 1 and not raw["many"]:
                raise RowError(f", column {name}: must be one value, got {len(listed)}")
            try:
                row[name] = [self._value(name, raw["type"], each, path) for each in listed]
            except (ValueError, TypeError) as error:
                raise RowError(f", column {name}: {error}") from None
        return row

    def _value(self, name: str, kind: str, given: Any, path: Path) -> Value:
        if name in self.images:
            return given if isinstance(given, bytes) else _image_value(given, path)
        if kind == "string":
            if not isinstance(given, str):
                raise ValueError(f"must be a string, got {json.dumps(given)}")
            return given.encode()
        return _number(kind, given)

    def _lines(self, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
        (name,) = self._only(self.texts, "lines of text")
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield number, {name: line.rstrip("\r\n")}

    def _image(self, path: Path) -> Iterator[tuple[int, dict[str, bytes]]]:
        content = path.read_bytes()
        (name,) = self._only(self.images, "an image")
        yield 0, {name: plain_image(str(path), content)}

    def _only(self, names: frozenset[str], what: str) -> frozenset[str]:
        """The one feature that a file without names gives."""
        needed = {name for name, raw in self.raw.items() if not raw["optional"]} | names
        if len(names) != 1 or needed != names:
            raise RowError(
                f": {what} alone cannot be asked, for the model takes {', '.join(self.raw)}; give "
                "a .csv or .jsonl file"
            )
        return names


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = next(rows, None)
            if not header:
                raise RowError(": must have a header with the names of the columns, but is empty")
            for cells in rows:
                if len(cells) == len(header):
                    # An empty cell is a missing value.
                    yield (
                        rows.line_num,
                        {name: cell or None for name, cell in zip(header, cells, strict=True)},
                    )
                elif cells:
                    yield (
                        rows.line_num,
                        RowError(
                            f": must have {len(header)} cells as the header, got {len(cells)}"
                        ),
                    )
        except csv.Error as error:
            raise RowError(f" line {rows.line_num}: {error}") from None


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError as error:
                yield number, RowError(f": must be one JSON object ({error})")
                continue
            if isinstance(found, dict):
                yield number, found
            else:
                yield number, RowError(f": must be one JSON object, got {line.strip()[:40]}")


def _number(kind: str, given: Any) -> int | float:
    article = "an integer" if kind == "integer" else "a number"
    try:
        if isinstance(given, bool) or (isinstance(given, str) and "_" in given):
            raise ValueError
        number = float(given) if kind == "number" else int(given)
        if kind == "integer" and (
            number not in _INT64 or (not isinstance(given, str) and number != given)
        ):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"must be {article}, got {given!r}") from None
    return number


def _image_value(given: Any, path: Path) -> bytes:
    """An image in a table is the path of a file, in JSON also `{"b64": …}`."""
    try:
        if isinstance(given, dict) and set(given) == {"b64"}:
            return plain_image("image", base64.b64decode(given["b64"], validate=True))
        if isinstance(given, str):
            file = path.parent / given
            check_regular(str(file))
            return plain_image(str(file), file.read_bytes())
    except OSError as error:
        raise ValueError(f"{given} cannot be read ({error.strerror})") from None
    except (DataError, binascii.Error) as error:
        raise ValueError(str(error)) from None
    raise ValueError('must be the path of an image, or {"b64": "…"}')


def _images_below(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
