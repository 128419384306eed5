"""The rows of a source, read with Beam."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from modules.data.sources.protocol import Part, Row
from modules.data.sources.registry import SOURCES
from modules.settings import DataSettings


def single(transform: Any) -> Any:
    """The only element that a transform makes of a pipeline."""
    with tempfile.NamedTemporaryFile() as file:
        options = PipelineOptions(["--runner=FnApiRunner"])
        with beam.Pipeline(options=options) as pipeline:
            pipeline | transform | "Write" >> beam.Map(_write, file.name)
        return pickle.loads(Path(file.name).read_bytes())


def _write(element: Any, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(element))


def rows_of(settings: DataSettings, parts: list[Part] | None = None) -> list[Row]:
    """All rows of a source, in the order in which they are read."""
    source = SOURCES[settings.source]
    if parts is None:
        files = source.files(settings)
        assert files is not None
        parts = [Part(part.name, f"{files.base}/{part.pattern}") for part in files.parts]
    prepared = source.prepare(settings, parts, single)
    return [
        row
        for part in prepared.parts
        for rows in single(
            source.rows(settings, part, prepared.state) | "All" >> beam.combiners.ToList()
        )
        for row in rows
    ]
