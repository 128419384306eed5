"""From a source of images to TFRecord files of examples, with Beam."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import json_format, struct_pb2
from tfx import types
from tfx.components.example_gen import base_example_gen_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from modules.data.images import check_image
from modules.data.sources.protocol import Item, Source
from modules.data.sources.registry import open_source, unwatched
from modules.data.splits import example_id, in_eval_split
from modules.errors import DataError, UserError
from modules.settings import DataSettings

_PROBLEMS_SHOWN = 5
_SUMMARY = "summary.json"


def pack_settings(
    settings: DataSettings, code_digest: str, *, known_path: bool = True
) -> example_gen_pb2.CustomConfig:
    """The settings as the execution property `custom_config`, part of the cache's key.

    Args:
      settings: What is read.
      code_digest: Of this project's code.
      known_path: Whether `data.path` can be looked at now.
    """
    # Settings of later nodes are left out: changing them must not read the images again.
    relevant = settings.model_dump(
        include={"source", "path", "channels", "eval_fraction", "split_seed"}
    )
    struct = struct_pb2.Struct()
    # TFX notices changed images itself, but not, for example, a file next to the class folders.
    digest = hashlib.sha256(unwatched(settings)).hexdigest() if known_path else ""
    json_format.ParseDict(
        {"data": relevant, "unwatched": digest, "code_digest": code_digest}, struct
    )
    config = example_gen_pb2.CustomConfig()
    config.custom_config.Pack(struct)
    return config


def unpack_settings(exec_properties: dict[str, Any]) -> DataSettings:
    """The inverse of `pack_settings`."""
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], config)
    struct = struct_pb2.Struct()
    config.custom_config.Unpack(struct)
    data = json_format.MessageToDict(struct)["data"]
    # The path that a run is given is TFX's own property of a FileBasedExampleGen.
    path = exec_properties.get(standard_component_specs.INPUT_BASE_KEY)
    return DataSettings.model_validate(data | ({"path": path} if path else {}))


class Executor(base_example_gen_executor.BaseExampleGenExecutor):
    """Reads, checks and splits; refuses the whole data set rather than dropping a part of it."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """The base class' hook: `transform(exec_properties, pattern)` reads and checks."""
        return _read_source

    def GenerateExamplesByBeam(
        self, pipeline: beam.Pipeline, exec_properties: dict[str, Any]
    ) -> dict[str, beam.PCollection]:
        """Serialized examples by split; a summary of problems and counts goes to a file."""
        transform = self.GetInputSourceToExamplePTransform()
        read = pipeline | "ReadSource" >> transform(exec_properties, "")
        (
            (read.problem, read.count)
            | "Findings" >> beam.Flatten()
            | "Summarize" >> beam.CombineGlobally(_Summary())
            | "WriteSummary" >> beam.Map(_write_summary, path=exec_properties[_SUMMARY])
        )
        return {"train": read.train, "eval": read.eval}

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the artifact, or raises what is wrong with the data.

        Raises:
          DataError: Broken images, labels out of range, a class or a split without examples.
        """
        uri = artifact_utils.get_single_uri(output_dict[standard_component_specs.EXAMPLES_KEY])
        path = os.path.join(uri, _SUMMARY)
        super().Do(input_dict, output_dict, {**exec_properties, _SUMMARY: path})
        labels = open_source(unpack_settings(exec_properties)).labels
        check_summary(json.loads(io_utils.read_string_file(path)), labels)


@beam.ptransform_fn
def _read_source(
    pipeline: beam.Pipeline, exec_properties: dict[str, Any], split_pattern: str
) -> beam.pvalue.DoOutputsTuple:
    """Outputs `train`, `eval`, `problem` and `count` of the whole source."""
    del split_pattern  # A source has one part and finds its files by the settings.
    settings = unpack_settings(exec_properties)
    source = open_source(settings)
    return (
        pipeline
        | "Items" >> beam.Create(source.items())
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_ReadExamples(source, settings)).with_outputs()
    )


class _ReadExamples(beam.DoFn):
    """`Item` -> a serialized example in output `train` or `eval`; or a `problem`."""

    def __init__(self, source: Source, settings: DataSettings):
        self._source = source
        self._settings = settings

    def process(self, item: Item) -> Iterator[beam.pvalue.TaggedOutput]:
        try:
            image = self._source.read(item.name)
            labels, channels = self._source.labels, self._settings.channels
            if not 0 <= item.label < len(labels):
                raise DataError(f"{item.name}: label {item.label} is outside 0..{len(labels) - 1}")
            check_image(item.name, image, channels)
        except UserError as error:
            yield beam.pvalue.TaggedOutput("problem", ("problem", str(error)))
            return
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"{item.name}: the file cannot be read ({reason})"
            yield beam.pvalue.TaggedOutput("problem", ("problem", problem))
            return
        identity = example_id(image)
        split = "eval" if in_eval_split(identity, self._settings) else "train"
        class_name = self._source.labels[item.label].encode()
        features = {
            "image": _bytes(image),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[item.label])),
            "class_name": _bytes(class_name),
            "example_id": _bytes(identity),
        }
        for name, value in zip(self._source.features, item.features, strict=True):
            features[name] = _bytes(value.encode())
        example = tf.train.Example(features=tf.train.Features(feature=features))
        yield beam.pvalue.TaggedOutput(split, example.SerializeToString(deterministic=True))
        yield beam.pvalue.TaggedOutput("count", ("count", f"{split}/{item.label}"))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


class _Summary(beam.CombineFn):
    """Counts per split and label, and the first problems by name; small for any data."""

    def create_accumulator(self) -> dict[str, Any]:
        return {"counts": Counter(), "problems": [], "problem_count": 0}

    def add_input(self, accumulator: dict[str, Any], finding: tuple[str, str]) -> dict[str, Any]:
        kind, text = finding
        if kind == "count":
            accumulator["counts"][text] += 1
            return accumulator
        found = {"counts": Counter(), "problems": [text], "problem_count": 1}
        return self.merge_accumulators([accumulator, found])

    def merge_accumulators(self, accumulators: Any) -> dict[str, Any]:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged["counts"].update(accumulator["counts"])
            merged["problem_count"] += accumulator["problem_count"]
            merged["problems"] = sorted(merged["problems"] + accumulator["problems"])
            merged["problems"] = merged["problems"][:_PROBLEMS_SHOWN]
        return merged

    def extract_output(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        return accumulator


def _write_summary(summary: dict[str, Any], path: str) -> None:
    io_utils.write_string_file(path, json.dumps(summary, indent=2, sort_keys=True))


def check_summary(summary: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Refuse data that cannot be used for training or evaluation.

    Args:
      summary: `problems` (the first few), `problem_count`, and `counts` by "split/label".
      labels: The class names by label.

    Raises:
      DataError: Naming the files, the class or the split.
    """
    if summary["problem_count"]:
        more = summary["problem_count"] - len(summary["problems"])
        raise DataError(
            f"{summary['problem_count']} example(s) cannot be used; fix or remove them: "
            + "; ".join(summary["problems"])
            + (f"; and {more} more" if more else "")
        )
    counts = Counter(summary["counts"])
    if not any(key.startswith("eval/") for key in counts):
        raise DataError(
            f"the eval split is empty ({sum(counts.values())} examples in all); raise "
            "data.eval_fraction, change data.split_seed or add examples"
        )
    for label, name in enumerate(labels):
        if not counts[f"train/{label}"]:
            raise DataError(
                f"the class {name!r} has no example in the train split "
                f"({counts[f'eval/{label}']} in eval); add examples of it, lower "
                "data.eval_fraction or change data.split_seed"
            )
