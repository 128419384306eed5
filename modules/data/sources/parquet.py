"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.sources.file_source import FileSource
from modules.data.sources.protocol import Part, Row
from modules.errors import DataError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam

# A row group may have millions of rows; so many are in memory at a time.
_ROWS = 1024


class ParquetFiles(FileSource):
    """All types of columns that examples can hold; null is a missing value."""

    pattern: ClassVar[str] = "*.parquet"

    @classmethod
    def look(cls, settings: DataSettings) -> tuple[str, ...] | None:
        """The columns of local files."""
        super().look(settings)
        names: dict[str, None] = {}
        for part in cls.absolute(settings):
            for path in cls.local_files(part.pattern):
                names |= dict.fromkeys(_open(path).schema_arrow.names)
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


def _read(path: str) -> Iterator[Row]:
    from modules.data.values import example_of

    try:
        for number, row in enumerate(_rows(path)):
            name = f"{path}, row {number}"
            try:
                yield Row(name, example_of(row))
            except DataError as error:
                yield Row(name, problem=str(error))
    except DataError as error:
        yield Row(path, problem=str(error).removeprefix(f"{path}: "))


def _rows(path: str) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS):
            yield from batch.to_pylist()
