"""CSV files with a header, in UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.names import check_names
from modules.data.sources.file_source import FileSource
from modules.data.sources.protocol import Part, Prepared, Summarize
from modules.errors import DataError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam


class CsvFiles(FileSource):
    """All files of a part have the same header; an empty cell is a missing value."""

    pattern: ClassVar[str] = "*.csv"

    @classmethod
    def look(cls, settings: DataSettings) -> tuple[str, ...] | None:
        """The header of local files, which must have all names of the settings."""
        super().look(settings)
        names: dict[str, None] = {}
        for part in cls.absolute(settings):
            paths = cls.local_files(part.pattern)
            if paths:
                from modules.data.sources.csv_beam import header

                names |= dict.fromkeys(header(paths))
        if names:
            check_names(names, settings)
        return tuple(names) or None

    @classmethod
    def prepare(
        cls, settings: DataSettings, parts: Sequence[Part], summarize: Summarize
    ) -> Prepared:
        """The types of the columns: numbers only where all cells are."""
        import apache_beam as beam

        from modules.data.sources import csv_beam

        paths = {part: cls.matching(part) for part in parts}
        headers = [csv_beam.header(each) for each in paths.values()]
        check_names({name for each in headers for name in each}, settings)
        found = summarize(
            beam.Create([path for each in paths.values() for path in each])
            | "SpreadFiles" >> beam.Reshuffle()
            | "CountCells" >> beam.ParDo(csv_beam.CountCells())
            | "MergeColumns" >> beam.CombineGlobally(csv_beam.merge_columns)
        )
        if isinstance(found, str):
            raise DataError(found)
        return Prepared(parts, found.types(settings))

    @classmethod
    def rows(cls, settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """Rows with the types that were found."""
        import apache_beam as beam

        from modules.data.sources import csv_beam

        return (
            beam.Create(cls.matching(part))
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadRows" >> beam.ParDo(csv_beam.ReadRows(state))
        )
