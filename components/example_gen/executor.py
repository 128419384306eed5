"""From a source to TFRecord files of raw examples, with Beam."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
from typing import Any

import apache_beam as beam
from google.protobuf import json_format, struct_pb2
from tfx import types
from tfx.components.example_gen import base_example_gen_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.example_gen.passes import Reading, describe_all, scan_all, write_all
from components.example_gen.results import take_result, write_result
from modules.data.duplicates import Duplicates
from modules.data.labels import Labels, decide_labels
from modules.data.raw_examples import Reader
from modules.data.scan import Scan, check_scan, image_features, image_sizes
from modules.data.sources.file_source import join
from modules.data.sources.protocol import Part
from modules.data.sources.registry import SOURCES, find_source, with_base
from modules.data.spec import DATASET_FILE, OURS, Kind, write_json
from modules.data.splits import EVAL, TRAIN, UNLABELED, Splitter, stratify
from modules.data.tally import Tally, check_tally
from modules.errors import DataError
from modules.settings import DataSettings, Task

_LOG = logging.getLogger("tfx_distill.data")
_RESULT = "result.pickle"
_SHOWN = 3
# What decides which examples there are. Settings of later nodes are left out: changing them must
# not read the data again.
_RELEVANT = {
    *("source", "path", "query", "label", "positive", "classes", "rename", "id", "group"),
    *("weight", "splits", "unlabeled", "max_labels", "time", "eval_from", "eval_fraction"),
    "split_seed",
}


def pack_settings(
    settings: DataSettings, task: Task | None, code_digest: str, *, known_path: bool = True
) -> example_gen_pb2.CustomConfig:
    """The settings as the execution property `custom_config`, part of the cache's key.

    Args:
      settings: What is read.
      task: As configured.
      code_digest: Of this project's code.
      known_path: Whether `data.path` can be looked at now.
    """
    relevant = settings.model_dump(mode="json", include=_RELEVANT)
    if settings.source == "csv":
        # Text may look like numbers.
        relevant["features"] = {
            name: {"kind": each.kind}
            for name, each in settings.features.items()
            if each.kind in ("category", "text")
        }
    # TFX notices changed files itself, but not, for example, a moved one.
    state = SOURCES[settings.source].unwatched(settings) if known_path else b""
    struct = struct_pb2.Struct()
    json_format.ParseDict(
        {
            "data": relevant,
            "task": task,
            "unwatched": hashlib.sha256(state).hexdigest() if known_path else "",
            "code_digest": code_digest,
        },
        struct,
    )
    config = example_gen_pb2.CustomConfig()
    config.custom_config.Pack(struct)
    return config


def unpack_settings(exec_properties: dict[str, Any]) -> tuple[DataSettings, Task | None]:
    """The inverse of `pack_settings`."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    struct = struct_pb2.Struct()
    config.custom_config.Unpack(struct)
    packed = json_format.MessageToDict(struct)
    settings = DataSettings.model_validate(packed["data"])
    # The path that a run is given is TFX's own property of a FileBasedExampleGen.
    base = exec_properties.get(standard_component_specs.INPUT_BASE_KEY)
    return with_base(settings, base) if base else settings, packed["task"]


def unpack_parts(exec_properties: dict[str, Any]) -> list[Part]:
    """What is to be read, with absolute patterns in which TFX has filled in `{SPAN}`."""
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
    base = exec_properties.get(standard_component_specs.INPUT_BASE_KEY)
    return [
        Part(each.name, join(base, each.pattern) if base else each.pattern)
        for each in config.splits
    ]


class Executor(base_example_gen_executor.BaseExampleGenExecutor):
    """Reads, checks and splits; refuses the whole data set rather than dropping a part of it."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """Not used: a source has no examples before all of its labels are known."""
        raise NotImplementedError

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact, or raises what is wrong with the data.

        Raises:
          DataError: What does not fit the settings, cannot be read or cannot be judged on.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        (artifact,) = output_dict[standard_component_specs.EXAMPLES_KEY]
        self._directory = artifact.uri
        settings, task = unpack_settings(exec_properties)
        source = find_source(settings)
        parts = unpack_parts(exec_properties)
        prepared = source.prepare(settings, parts, self._summarize)
        label = settings.label or prepared.label
        reader = Reader(
            settings, source.content, label, settings.source == "examples", task, Splitter(settings)
        )
        reading = Reading(source, reader, prepared)
        # Millions of small objects come and go; the garbage collector need not look at those of
        # TensorFlow and Beam every time.
        gc.freeze()
        try:
            self._read(artifact, reading, task)
        finally:
            gc.unfreeze()

    def _read(self, artifact: types.Artifact, reading: Reading, task: Task | None) -> None:
        """Both readings."""
        reader, settings = reading.reader, reading.reader.settings
        found = self._summarize(scan_all(reading))
        check_scan(found["scan"], settings, reader.label)
        reader.images = bool(found["scan"].images)
        labels = decide_labels(found["scan"].labels, settings, task)
        self._decide_splits(reading, labels, **found)
        self._write(artifact, reading, labels, found["scan"])

    def _decide_splits(
        self, reading: Reading, labels: Labels, scan: Scan, duplicates: Duplicates
    ) -> None:
        """Find what must not stay where its hash puts it."""
        reader, settings = reading.reader, reading.reader.settings
        self._check_duplicates(reading, labels.task, scan, duplicates)
        if not settings.time and not scan.own_splits:
            reader.splitter.moved |= stratify(scan.ends, settings)
        most, places = settings.max_labels, scan.places.found()
        if most and len(places) > most:
            reader.splitter.last_label = places[most - 1]

    def _check_duplicates(
        self, reading: Reading, task: Task, scan: Scan, duplicates: Duplicates
    ) -> None:
        settings, splitter = reading.reader.settings, reading.reader.splitter
        if duplicates.conflicts and task != "regression":
            told = self._describe(reading, duplicates.named, "label")
            message = f"{duplicates.conflicts} example(s) have equal content but different labels"
            if not settings.id:
                raise DataError(
                    f"{message}: {told}; fix the labels, or set data.id if these are different "
                    "examples all the same"
                )
            _LOG.warning("%s: %s", message, told)
        if duplicates.across and (scan.own_splits or settings.time or settings.group):
            told = self._describe(reading, duplicates.named_across, "split")
            raise DataError(
                f"{duplicates.across} example(s) have equal content but are in train and in eval: "
                f"{told}; remove them from one of the two"
            )
        splitter.moved |= duplicates.moved
        splitter.dropped = frozenset(duplicates.dropped)

    def _describe(self, reading: Reading, contents: list[int], by: str) -> str:
        """One clause for each content, from another reading of all."""
        found = self._summarize(describe_all(reading, contents, by))
        clauses = []
        for _, names in sorted(found.items()):
            shown = sorted(names.items())[:_SHOWN]
            told = [
                f"{name} in {value}" if by == "split" else f"{name} is {value!r}"
                for value, name in shown
            ]
            more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
            clauses.append(" and ".join(told + more))
        return "; ".join(clauses)

    def _write(
        self, artifact: types.Artifact, reading: Reading, labels: Labels, scan: Scan
    ) -> None:
        settings = reading.reader.settings
        # Rows without label make the split as well as files that are named for it.
        hidden = reading.reader.splitter.last_label is not None
        unlabeled = bool(scan.examples[UNLABELED] or settings.unlabeled or hidden)
        splits = [TRAIN, EVAL, *([UNLABELED] if unlabeled else [])]
        artifact.split_names = artifact_utils.encode_split_names(splits)
        directories = {split: artifact_utils.get_split_uri([artifact], split) for split in splits}
        back = {theirs: ours for ours, theirs in settings.rename.items()}
        not_features = {reading.reader.label, settings.id, settings.group, settings.time}
        not_features |= {settings.weight, *OURS}
        features = {back.get(name, name) for name in scan.names} - not_features
        tally: Tally = self._summarize(write_all(reading, labels, features, directories))
        if tally.dropped:
            _LOG.warning("%d unlabeled example(s) are left out: they are in eval", tally.dropped)
        check_tally(tally, labels, settings, unlabeled=unlabeled)
        kinds: dict[str, Kind] = dict(reading.source.kinds)
        kinds |= {back.get(name, name): "image" for name in image_features(scan)}
        sizes = {back.get(name, name): size for name, size in image_sizes(scan).items()}
        dataset = tally.dataset(labels, weighted=bool(settings.weight), kinds=kinds)
        dataset = dataset.model_copy(update={"image_sizes": sizes})
        write_json(dataset, artifact.uri, DATASET_FILE)

    def _summarize(self, transform: beam.PTransform) -> Any:
        """Run a transform that makes a single element, and return the element."""
        path = os.path.join(self._directory, _RESULT)
        with self._make_beam_pipeline() as pipeline:
            pipeline | transform | "WriteResult" >> beam.Map(write_result, path)
        return take_result(path)
