"""Reading CSV files with Beam: once for the types of the columns, then for the rows.

TFX's own reader keeps all rows in memory between the two (in the runner of a local run), and
names neither file nor line of what it cannot read.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems

from modules.data.sources.protocol import Row
from modules.errors import DataError
from modules.settings import DataSettings

# A column with at least this share of numbers, and some cells that are none, has mistakes in it.
_NUMBERS, _FEW = 0.9, 20
_INT64 = range(-(2**63), 2**63)


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
    if all(number(name) is not None for name in names):
        raise DataError(
            f"{path}: the first line must be a header, but all of it are numbers "
            f"({', '.join(names[:5])}); add a line with the names of the columns"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or "" in names:
        raise DataError(
            f"{path}: the names in the header must differ and must not be empty, got "
            f"{', '.join(map(repr, twice or names))}; rename them"
        )
    return names


def cells_of(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank, the header included.

    Raises:
      DataError: Not UTF-8, or no CSV.
    """
    line = 0
    with FileSystems.open(path) as file:
        # Beam's compressed files cannot be iterated.
        lines = codecs.iterdecode(iter(file.readline, b""), "utf-8-sig")
        reader = csv.reader(lines, strict=True)
        try:
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield line, cells
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{line + 1}: must be text in UTF-8 ({error.reason}); convert the file"
            ) from error
        except csv.Error as error:
            raise DataError(
                f"{path}:{line + 1}: cannot be read as CSV ({error}); fix it"
            ) from error


def number(cell: str) -> int | float | None:
    """The number that a cell holds; None if it is a text."""
    if "_" in cell:  # Python takes 1_000 for a number.
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
    """Of each column, how many cells are integers, other numbers, and texts; and one such text."""

    cells: dict[str, tuple[int, int, int, str]] = field(default_factory=dict)

    def __add__(self, other: Columns) -> Columns:
        merged = dict(self.cells)
        for name, (integers, floats, texts, text) in other.cells.items():
            ours = merged.get(name, (0, 0, 0, ""))
            merged[name] = (
                ours[0] + integers,
                ours[1] + floats,
                ours[2] + texts,
                ours[3] or text,
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
            numbers = integers + floats
            if kind is None and texts and numbers >= max(_FEW, _NUMBERS * (numbers + texts)):
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
            counts = [[0, 0, 0] for _ in names]
            texts = [""] * len(names)
            for _, cells in rows:
                for index, cell in enumerate(cells[: len(names)]):
                    if not cell:
                        continue
                    value = number(cell)
                    kind = 2 if value is None else 0 if isinstance(value, int) else 1
                    counts[index][kind] += 1
                    if kind == 2 and not texts[index]:
                        texts[index] = cell
        except DataError as error:
            yield str(error)
            return
        yield Columns(
            {
                name: (integers, floats, other, text)
                for name, (integers, floats, other), text in zip(names, counts, texts, strict=True)
            }
        )


def merge_columns(found: Iterable[Columns | str]) -> Columns | str:
    """All columns, or the first problem."""
    merged = Columns()
    for each in found:
        if isinstance(each, str):
            return each
        merged += each
    return merged


class ReadRows(beam.DoFn):
    """Path -> a `Row` for every row of the file."""

    def __init__(self, types: Mapping[str, type]):
        self._types = types

    def process(self, path: str) -> Iterator[Row]:
        """Beam's hook."""
        try:
            rows = cells_of(path)
            names = next(rows)[1]
            types = [self._types.get(name, str) for name in names]
            for line, cells in rows:
                name = f"{path}:{line}"
                if len(cells) == len(names):
                    yield Row(name, _example(names, types, cells))
                else:
                    problem = f"{len(cells)} cells, but the header has {len(names)}"
                    yield Row(name, problem=problem)
        except DataError as error:
            place, _, problem = str(error).partition(": ")
            yield Row(place, problem=problem)


def _example(names: Sequence[str], types: Sequence[type], cells: Sequence[str]) -> tf.train.Example:
    example = tf.train.Example()
    features = example.features.feature
    for name, kind, cell in zip(names, types, cells, strict=True):
        if not cell:
            continue
        if kind is int:
            features[name].int64_list.value.append(int(cell))
        elif kind is float:
            features[name].float_list.value.append(float(cell))
        else:
            features[name].bytes_list.value.append(cell.encode())
    return example
