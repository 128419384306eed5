"""Reading CSV files with Beam: once for the types of the columns, then for the rows.

TFX's own reader keeps all rows in memory between the two (in the runner of a local run), and
names neither file nor line of what it cannot read.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from modules.data.sources.protocol import Row
from modules.data.values import float32
from modules.errors import DataError
from modules.settings import DataSettings

# A column with at least this share of numbers, and some cells that are none, has mistakes in it.
_NUMBERS, _FEW = 0.9, 20
_INT64 = range(-(2**63), 2**63)
# Bytes that are read and rows that are converted at a time.
_BLOCK, _ROWS = 1 << 18, 512
# Of a zip code or an article number the zeros in front matter: they are texts.
_CODE = re.compile(r"[+-]?0\d+")
# Years and the like are names of columns, measurements are not.
_FRACTION = re.compile(r"[+-]?\d*\.\d+")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Python's own limit is 131,072 characters, which a document can have.
csv.field_size_limit(1 << 24)


def header(paths: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
      DataError: A file is empty or has no header, or headers differ.
    """
    first: tuple[str, ...] = ()
    for path in paths:
        names = _header(path)
        first = first or names
        if names != first:
            odd = sorted(set(names) ^ set(first)) or ["their order"]
            raise DataError(
                f"{path}: all files must have the same header, but it differs from {paths[0]} in "
                f"{', '.join(odd)}; fix it"
            )
    return first


def _header(path: str) -> tuple[str, ...]:
    names = next((tuple(cells) for _, cells in cells_of(path)), ())
    if not names:
        raise DataError(f"{path}: the file is empty; remove it, or write a header and rows")
    numbers = [name for name in names if number(name) is not None]
    if len(numbers) == len(names) or any(map(_FRACTION.fullmatch, names)):
        raise DataError(
            f"{path}: the first line must be a header, but has numbers ({', '.join(numbers[:5])}); "
            "add a line with the names of the columns"
        )
    separator = next((each for each in _SEPARATORS if each in names[0]), None)
    if len(names) == 1 and separator:
        raise DataError(
            f"{path}: cells must be separated by commas, but the header has "
            f"{_SEPARATORS[separator]} ({names[0][:40]!r}); write the file with commas, and "
            "numbers with a decimal point"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        raise DataError(
            f"{path}: the names in the header must differ and must not be empty, got "
            f"{', '.join(map(repr, twice or names))}; rename them, or leave the column out (pandas "
            "writes one without name unless index=False)"
        )
    return names


def cells_of(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank, the header included.

    Raises:
      DataError: Not UTF-8, or no CSV.
    """
    line = 0
    with FileSystems.open(path) as file:
        reader = csv.reader(_lines(path, file), strict=True)
        try:
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield line, cells
        except csv.Error as error:
            raise DataError(
                f"{path}:{line + 1}: cannot be read as CSV ({error}); fix it"
            ) from error


def _lines(path: str, file: Any) -> Iterator[str]:
    """Every line with its end; many are decoded at a time."""
    decode = codecs.getincrementaldecoder("utf-8-sig")().decode
    done, rest, block = 0, "", b"-"
    while block:
        block = file.read(_BLOCK)
        try:
            text = rest + decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = done + 1 + error.object[: error.start].count(b"\n")
            raise DataError(
                f"{path}:{line}: must be text in UTF-8 ({error.reason}); convert the file"
            ) from error
        whole = text.rfind("\n") + 1 if block else len(text)
        rest = text[whole:]
        done += text.count("\n", 0, whole)
        yield from io.StringIO(text[:whole], newline="\n")


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, _ROWS)):
        yield batch


def number(cell: str) -> int | float | None:
    """The number that a cell holds; None if it is a text."""
    if "_" in cell or _CODE.fullmatch(cell):  # Python takes 1_000 for a number.
        return None
    try:
        value = int(cell)
        return value if value in _INT64 else None
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return None


@dataclass
class Columns:
    """Of each column, how many cells are integers, other numbers, and texts; and one such text.

    The text is a number with zeros in front only if all texts are.
    """

    cells: dict[str, tuple[int, int, int, str]] = field(default_factory=dict)

    def __add__(self, other: Columns) -> Columns:
        merged = dict(self.cells)
        for name, (integers, floats, texts, text) in other.cells.items():
            ours = merged.get(name, (0, 0, 0, ""))
            merged[name] = (
                ours[0] + integers,
                ours[1] + floats,
                ours[2] + texts,
                _telling(ours[3], text),
            )
        return Columns(merged)

    def types(self, settings: DataSettings) -> dict[str, type]:
        """What all cells of a column can be read as, by its name in the files.

        Raises:
          DataError: A column is numbers but for a few cells.
        """
        ours = {theirs: name for name, theirs in settings.rename.items()}
        kinds = {name: each.kind for name, each in settings.features.items()}
        found: dict[str, type] = {}
        odd = []
        for name, (integers, floats, texts, text) in self.cells.items():
            kind = kinds.get(ours.get(name, name))
            numbers, is_code = integers + floats, _CODE.fullmatch(text)
            mostly = texts and not is_code and numbers >= max(_FEW, _NUMBERS * (numbers + texts))
            if kind is None and mostly:
                odd.append(f"{name!r} has {numbers} numbers and {texts} texts such as {text!r}")
            is_text = texts or kind == "text"
            found[name] = str if is_text else float if floats else int
        if odd:
            raise DataError(
                f"a column must be of one type, but {'; '.join(odd)}; fix these cells or empty "
                "them (missing), or name the column in data.features as a category or text"
            )
        return found


class CountCells(beam.DoFn):
    """Path -> `Columns` of the file, or what is wrong with it, a text."""

    def process(self, path: str) -> Iterator[Columns | str]:
        """Beam's hook."""
        try:
            rows = cells_of(path)
            names = next(rows)[1]
            found = Columns(dict.fromkeys(names, (0, 0, 0, "")))
            for batch in _batches(rows):
                columns = zip_longest(*(cells for _, cells in batch), fillvalue="")
                # What a row has too many or too few is found when it is read.
                counted = zip(names, map(_count, columns), strict=False)
                found += Columns(dict(counted))
        except DataError as error:
            yield str(error)
            return
        yield found


def _count(cells: Iterable[str]) -> tuple[int, int, int, str]:
    """As in `Columns`; integers among other numbers count as such."""
    counts = Counter(cells)
    counts.pop("", None)
    total = counts.total()
    if "_" not in "".join(counts) and not any(map(_CODE.fullmatch, counts)):
        # Most columns are of one type.
        try:
            whole = [*map(int, counts)]
            if all(value in _INT64 for value in whole):
                return total, 0, 0, ""
        except ValueError:
            try:
                if not (np.abs([*map(float, counts)]) >= _INT64.stop).any():
                    return 0, total, 0, ""
            except ValueError:
                pass
    integers = floats = 0
    text = ""
    for cell, count in counts.items():
        match number(cell):
            case int():
                integers += count
            case float():
                floats += count
            case None:
                text = _telling(text, cell)
    return integers, floats, total - integers - floats, text


def _telling(text: str, other: str) -> str:
    """The one of two texts that could not be a number."""
    return other if not text or (other and _CODE.fullmatch(text)) else text


def merge_columns(found: Iterable[Columns | str]) -> Columns | str:
    """All columns, or the first problem."""
    merged = Columns()
    for each in found:
        if isinstance(each, str):
            return each
        merged += each
    return merged


class ReadRows(beam.DoFn):
    """Path -> lists of a `Row` for every row of the file."""

    def __init__(self, types: Mapping[str, type]):
        self._types = types

    def process(self, path: str) -> Iterator[list[Row]]:
        """Beam's hook."""
        try:
            rows = cells_of(path)
            names = next(rows)[1]
            types = [self._types.get(name, str) for name in names]
            for batch in _batches(rows):
                yield _rows(path, names, types, batch)
        except DataError as error:
            place, _, problem = str(error).partition(": ")
            yield [Row(place, problem=problem)]


def _rows(
    path: str, names: Sequence[str], types: Sequence[type], batch: Sequence[tuple[int, list[str]]]
) -> list[Row]:
    whole = [(line, cells) for line, cells in batch if len(cells) == len(names)]
    columns = map(_convert, types, zip(*(cells for _, cells in whole), strict=True))
    found = [
        Row(
            f"{path}:{line}",
            {name: value for name, value in zip(names, cells, strict=True) if value is not None},
        )
        for (line, _), cells in zip(whole, zip(*columns, strict=True), strict=True)
    ]
    for line, cells in batch if len(whole) < len(batch) else ():
        if len(cells) != len(names):
            problem = f"{len(cells)} cells, but the header has {len(names)}"
            found.append(Row(f"{path}:{line}", problem=problem))
    return found


def _convert(kind: type, cells: Sequence[str]) -> list[tuple[Any] | None]:
    """The values of every cell of a column; None where it is empty."""
    if kind is str:
        return [(cell.encode(),) if cell else None for cell in cells]
    present = [cell for cell in cells if cell]
    numbers = [*map(int, present)] if kind is int else float32(map(float, present))
    if len(present) == len(cells):
        return [*zip(numbers, strict=True)]
    found = zip(numbers, strict=True)
    return [next(found) if cell else None for cell in cells]
