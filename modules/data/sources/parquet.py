"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.names import check_names
from modules.data.sources.file_source import FileSource
from modules.data.sources.protocol import Part, Row
from modules.errors import DataError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam

# A row group may have millions of rows; so many are in memory at a time.
_ROWS = 256


class ParquetFiles(FileSource):
    """All types of columns that examples can hold; null is a missing value."""

    pattern: ClassVar[str] = "*.parquet"

    @classmethod
    def look(cls, settings: DataSettings) -> tuple[str, ...] | None:
        """The columns of local files, which must have all names of the settings."""
        super().look(settings)
        names: dict[str, None] = {}
        for part in cls.absolute(settings):
            for path in cls.local_files(part.pattern):
                names |= dict.fromkeys(_open(path).schema_arrow.names)
        if names:
            check_names(names, settings)
        return tuple(names) or None

    @classmethod
    def rows(cls, settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """Read by ourselves: TFX takes 0 and "" for missing, and bytes for text."""
        import apache_beam as beam

        return (
            beam.Create(cls.matching(part))
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadRows" >> beam.FlatMap(_read)
        )


def _open(path: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from apache_beam.io.filesystems import FileSystems

    try:
        return pq.ParquetFile(FileSystems.open(path))
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: must be a Parquet file ({reason}); fix or remove it") from error


def _read(path: str) -> Iterator[list[Row]]:
    first = 0
    try:
        with _open(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield _rows(path, first, batch)
                first += len(batch)
    except DataError as error:
        yield [Row(path, problem=str(error).removeprefix(f"{path}: "))]


def _rows(path: str, first: int, batch: Any) -> list[Row]:
    names = batch.schema.names
    try:
        columns = [_column(*each) for each in zip(names, batch.columns, strict=True)]
    except DataError:
        # Some cannot be used: which?
        return [
            _row(f"{path}, row {number}", row)
            for number, row in enumerate(batch.to_pylist(), start=first)
        ]
    return [
        Row(
            f"{path}, row {number}",
            {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None},
        )
        for number, cells in enumerate(zip(*columns, strict=True), start=first)
    ]


def _column(name: str, column: Any) -> list[Any]:
    """The values of every row of a column; None where it has none."""
    import pyarrow as pa

    from modules.data.values import as_values

    if pa.types.is_floating(column.type):
        column = column.cast(pa.float32())
    elif pa.types.is_string(column.type):
        column = column.cast(pa.binary())
    elif not (pa.types.is_signed_integer(column.type) or pa.types.is_binary(column.type)):
        return [None if cell is None else as_values(name, cell) for cell in column.to_pylist()]
    return [None if cell is None else [cell] for cell in column.to_pylist()]


def _row(name: str, row: dict[str, Any]) -> Row:
    from modules.data.values import features_of

    try:
        return Row(name, features_of(row))
    except DataError as error:
        return Row(name, problem=str(error))
