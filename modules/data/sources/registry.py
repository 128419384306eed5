"""The sources by their names in `data.source`; a new one is a file, an entry here and a test."""

from __future__ import annotations

import re
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


def files_base(settings: DataSettings) -> str | None:
    """The directory of the files in `data.path`; None where there are no files of the user's."""
    files = SOURCES[settings.source].files(settings)
    return files.base if files else None


def with_base(settings: DataSettings, base: str) -> DataSettings:
    """The same files of another directory.

    Args:
      settings: What is read, with the pattern of the files.
      base: The directory instead of `files_base`.

    Raises:
      ConfigError: It is no directory, as far as its name tells.
    """
    before, path = files_base(settings), str(settings.path)
    if base == before:
        return settings
    pattern = path if before == "." else path[len(before or path) :].strip("/")
    last = base.rstrip("/").rpartition("/")[2]
    if re.search(r"[*?\[{]", base) or last.endswith((".csv", ".parquet", ".tfrecord", ".gz")):
        what = f", in which {pattern} is read" if pattern else ""
        raise ConfigError(
            f"data.path as the parameter data_path of a run must be a directory{what}, got "
            f"{base!r}; compile again to read files of other names"
        )
    joined = f"{base.rstrip('/')}/{pattern}" if pattern else base
    return settings.model_copy(update={"path": joined})


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
    if both := [name for name in settings.exclude if name in settings.features]:
        yield (
            f"data.exclude must not name what data.features sets, got {', '.join(both)}; remove it "
            "from one of them"
        )
    if settings.produced_by and settings.source != "examples":
        yield _only_with("produced_by", "examples", settings.source)
    if settings.query and settings.source != "bigquery":
        yield _only_with("query", "bigquery", settings.source)


def _only_with(key: str, source: str, given: str) -> str:
    return (
        f"data.{key} must not be set when data.source is {given}; set data.source: {source}, or "
        "remove it"
    )
