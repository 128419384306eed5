"""The two readings of a source with Beam: one to find out, one to write.

Between stages, the runner of a local run keeps everything in memory. So no example ever leaves
the stage that read it, except to its file; what is grouped are digests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from modules.data.duplicates import RECORD, Duplicates, by_bucket, find_duplicates
from modules.data.labels import Labels
from modules.data.raw_examples import RawExample, Reader, written
from modules.data.scan import Scan, scan_row
from modules.data.sources.protocol import Prepared, Row, Source
from modules.data.splits import EVAL, TRAIN, UNLABELED, short
from modules.data.tally import Tally
from modules.errors import UserError

# Records in memory before they are packed.
_CHUNK = 1 << 13
_FEATURES_SHOWN = 3


@dataclass(frozen=True)
class Reading:
    """How a source is read.

    Attributes:
      source: The source.
      reader: Interprets its rows.
      prepared: What the source found out beforehand.
    """

    source: type[Source]
    reader: Reader
    prepared: Prepared

    def each_part(self, pipeline: beam.Pipeline, name: str, function: Any) -> list[Any]:
        """Apply `function(part name)`, a ParDo, to the rows of each part."""
        found = []
        for part in self.prepared.parts:
            rows = self.source.rows(self.reader.settings, part, self.prepared.state)
            found.append(
                pipeline
                | f"Read[{part.name}]" >> rows
                | f"{name}[{part.name}]" >> function(part.name)
            )
        return found


@beam.ptransform_fn
def scan_all(pipeline: beam.Pipeline, reading: Reading) -> Any:
    """One dictionary with a `Scan` and `Duplicates` of all rows."""
    parts = reading.each_part(
        pipeline,
        "Scan",
        lambda part: beam.ParDo(_ScanRows(reading.reader, part)).with_outputs(
            "records", main="scans"
        ),
    )
    scan = (
        [part.scans for part in parts]
        | "AllScans" >> beam.Flatten()
        | "AddScans" >> beam.CombineGlobally(lambda found: sum(found, Scan()))
        | "NameScan" >> beam.Map(lambda found: ("scan", found))
    )
    duplicates = (
        [part.records for part in parts]
        | "AllRecords" >> beam.Flatten()
        | "ByBucket" >> beam.GroupByKey()
        | "FindDuplicates" >> beam.MapTuple(lambda _, packed: find_duplicates(b"".join(packed)))
        | "AddDuplicates" >> beam.CombineGlobally(lambda found: sum(found, Duplicates()))
        | "NameDuplicates" >> beam.Map(lambda found: ("duplicates", found))
    )
    return (scan, duplicates) | beam.Flatten() | beam.combiners.ToDict()


class _ScanRows(beam.DoFn):
    """Lists of `Row` -> a few `Scan`s, and packed records by bucket."""

    def __init__(self, reader: Reader, part: str):
        self._reader = reader
        self._part = part

    def start_bundle(self) -> None:
        self._scan = Scan()
        self._records: list[Any] = []

    def process(self, rows: list[Row]) -> Iterator[Any]:
        for row in rows:
            record = scan_row(self._scan, self._reader, row, self._part)
            if record:
                self._records.append(record)
        if len(self._records) >= _CHUNK:
            for packed in self._packed():
                yield beam.pvalue.TaggedOutput("records", packed)

    def finish_bundle(self) -> Iterator[Any]:
        yield GlobalWindows.windowed_value(self._scan)
        for packed in self._packed():
            yield beam.pvalue.TaggedOutput("records", GlobalWindows.windowed_value(packed))

    def _packed(self) -> list[tuple[int, bytes]]:
        records, self._records = np.array(self._records, RECORD), []
        return by_bucket(records)


@beam.ptransform_fn
def write_all(
    pipeline: beam.Pipeline,
    reading: Reading,
    labels: Labels,
    features: Collection[str],
    directories: dict[str, str],
) -> Any:
    """Writes every split that has a directory; one `Tally` of all.

    Args:
      pipeline: Beam's.
      reading: How the source is read.
      labels: Decided by the first reading.
      features: Those that must not give the label away.
      directories: By split.
    """
    parts = reading.each_part(
        pipeline,
        "Write",
        lambda part: beam.ParDo(_WriteRows(reading.reader, labels, features, part)).with_outputs(
            TRAIN, EVAL, UNLABELED, main="tallies"
        ),
    )
    for part, found in zip(reading.prepared.parts, parts, strict=True):
        for split, directory in directories.items():
            if split not in (part.name, UNLABELED) and part.name != "all":
                continue
            # Readers take any file of the directory.
            suffix = "" if part.name == "all" else f"-{part.name}"
            prefix = f"{directory}/data_tfrecord{suffix}"
            # Not TFX's, which shuffles.
            found[split] | f"WriteSplit[{split}][{part.name}]" >> beam.io.WriteToTFRecord(
                prefix, file_name_suffix=".gz"
            )
    return (
        [part.tallies for part in parts]
        | beam.Flatten()
        | beam.CombineGlobally(lambda found: sum(found, Tally()))
    )


class _WriteRows(beam.DoFn):
    """Lists of `Row` -> serialized examples in the outputs of their splits, and a few `Tally`s."""

    def __init__(self, reader: Reader, labels: Labels, features: Collection[str], part: str):
        self._reader = reader
        self._labels = labels
        self._features = features
        self._part = part

    def start_bundle(self) -> None:
        self._tally = Tally()

    def process(self, rows: list[Row]) -> Iterator[Any]:
        dropped = self._reader.splitter.dropped
        train = []
        for row in rows:
            try:
                if row.problem:
                    raise UserError(f"{row.name}: {row.problem}")
                raw = self._reader.read(row, self._part)
                example = written(raw, self._labels)
            except (UserError, KeyError) as error:
                self._tally.problem = str(error)
                continue
            if raw.split == UNLABELED and short(raw.example_id) in dropped:
                self._tally.dropped += 1
                continue
            self._tally.add(raw, self._labels)
            if raw.split == TRAIN:
                train.append(raw)
            yield beam.pvalue.TaggedOutput(raw.split, example)
        self._tally.leaks.add(self._features, train)

    def finish_bundle(self) -> Iterator[Any]:
        yield GlobalWindows.windowed_value(self._tally)


@beam.ptransform_fn
def describe_all(
    pipeline: beam.Pipeline, reading: Reading, contents: Sequence[int], by: str
) -> Any:
    """One dictionary: of each content, an example of each label or split.

    Args:
      pipeline: Beam's.
      reading: How the source is read.
      contents: Digests of which examples are looked for.
      by: `label` or `split`.
    """
    parts = reading.each_part(
        pipeline,
        "Describe",
        lambda part: beam.ParDo(_describe, reading.reader, part, set(contents), by),
    )
    return parts | beam.Flatten() | beam.CombineGlobally(_merge_descriptions)


def _describe(
    rows: list[Row], reader: Reader, part: str, contents: set[int], by: str
) -> Iterator[dict[int, dict[str, str]]]:
    for row in rows:
        raw = reader.read(row, part)
        if raw.label is not None and (content := reader.content_digest(raw)) in contents:
            value = raw.split if by == "split" else ", ".join(map(str, raw.label))
            yield {content: {value: raw.name or _first_features(raw)}}


def _first_features(raw: RawExample) -> str:
    features = raw.features
    shown = []
    for name in sorted(features)[:_FEATURES_SHOWN]:
        first = next(iter(features[name]), b"")
        text = first[:20].decode(errors="replace") if isinstance(first, bytes) else f"{first:g}"
        shown.append(f"{name}={text}")
    return "(" + ", ".join(shown) + (", …" if len(features) > _FEATURES_SHOWN else "") + ")"


def _merge_descriptions(found: Any) -> dict[int, dict[str, str]]:
    merged: dict[int, dict[str, str]] = {}
    for each in found:
        for content, names in each.items():
            ours = merged.setdefault(content, {})
            for value, name in names.items():
                ours[value] = min(name, ours.get(value, name))
    return merged
