"""The rows of a BigQuery query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.sources.protocol import Files, Part, Prepared, Row, Summarize
from modules.data.spec import Kind
from modules.errors import ConfigError, DataError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam


class BigQuery:
    """Needs Google Cloud credentials, and a project and a temporary place in the Beam arguments."""

    content: ClassVar[str | None] = None
    kinds: ClassVar[dict[str, Kind]] = {}

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Requires a query."""
        if not settings.query:
            raise ConfigError("data.query must be set when data.source is bigquery; write SQL")
        for name in ("path", "splits", "unlabeled"):
            if getattr(settings, name):
                raise ConfigError(
                    f"data.{name} must not be set when data.source is bigquery, got "
                    f"{getattr(settings, name)!r}; select what you need in data.query"
                )

    @staticmethod
    def look(settings: DataSettings) -> tuple[str, ...] | None:
        """Nothing: a query costs money."""
        return None

    @staticmethod
    def files(settings: DataSettings) -> Files | None:
        """None."""
        return None

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """Nothing: tables are not watched, the query is part of the settings."""
        return b""

    @staticmethod
    def prepare(settings: DataSettings, parts: Sequence[Part], summarize: Summarize) -> Prepared:
        """Nothing."""
        return Prepared(parts)

    @staticmethod
    def rows(settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """TFX's reader of BigQueryExampleGen; more types than its conversion knows."""
        import apache_beam as beam
        from tfx.extensions.google_cloud_big_query import utils

        return utils.ReadFromBigQuery(query=part.pattern) | "ToRows" >> beam.Map(_rows)


def _rows(record: dict[str, Any]) -> list[Row]:
    from modules.data.values import features_of

    try:
        return [Row("", features_of(record))]
    except DataError as error:
        return [Row("", problem=str(error))]
