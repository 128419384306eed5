"""The sources by their names in `data.source`; a new one is a file, an entry here and a test."""

from __future__ import annotations

from collections.abc import Iterator

from modules.data.sources.bigquery import BigQuery
from modules.data.sources.csv_files import CsvFiles
from modules.data.sources.digits import Digits
from modules.data.sources.embedded import embedded_problems
from modules.data.sources.examples import Examples
from modules.data.sources.image_folder import ImageFolder
from modules.data.sources.parquet import ParquetFiles
from modules.data.sources.protocol import Source
from modules.data.sources.tfrecord import TFRecordFiles
from modules.data.splits import check_eval_from
from modules.errors import ConfigError, did_you_mean, raise_problems
from modules.settings import DataSettings

SOURCES: dict[str, type[Source]] = {
    "digits": Digits,
    "image_folder": ImageFolder,
    "csv": CsvFiles,
    "parquet": ParquetFiles,
    "tfrecord": TFRecordFiles,
    "examples": Examples,
    "bigquery": BigQuery,
}


def find_source(settings: DataSettings) -> type[Source]:
    """The source that `data.source` names.

    Raises:
      ConfigError: There is no such source, or the settings do not suit it.
    """
    check_source(settings)
    return SOURCES[settings.source]


def check_source(settings: DataSettings) -> None:
    """Checks that the source exists and that the settings suit it and each other.

    Raises:
      ConfigError: Naming the key.
    """
    if settings.source not in SOURCES:
        raise ConfigError(
            f"data.source must be one of {', '.join(SOURCES)}, got {settings.source!r}"
            f"{did_you_mean(settings.source, SOURCES)}"
        )
    raise_problems([*_contradictions(settings), *embedded_problems(settings)])
    check_eval_from(settings)
    SOURCES[settings.source].check(settings)


def _contradictions(settings: DataSettings) -> Iterator[str]:
    if (settings.time is None) != (settings.eval_from is None):
        given, other = ("time", "eval_from") if settings.time else ("eval_from", "time")
        yield f"data.{given} needs data.{other}; set both or neither"
    ways = [name for name in ("splits", "time", "group") if getattr(settings, name)]
    if len(ways) > 1:
        yield (
            f"data.{ways[0]} and data.{ways[1]} are two ways to split the examples; remove one of "
            "them"
        )
    missing = [
        name for name in ("train", "eval") if settings.splits and name not in settings.splits
    ]
    if missing:
        yield (
            f"data.splits must have train and eval, got {', '.join(settings.splits)}; add "
            f"{missing[0]}, or remove data.splits to split by a hash"
        )
    if settings.unlabeled and "unlabeled" in settings.splits:
        yield "data.unlabeled and data.splits.unlabeled say the same; remove one of them"
    if settings.produced_by and settings.source != "examples":
        yield f"data.produced_by is for the source examples, but data.source is {settings.source}"
    if settings.query and settings.source != "bigquery":
        yield f"data.query is for the source bigquery, but data.source is {settings.source}"
