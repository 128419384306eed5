"""Raw rows through statistics, plan and Transform on Beam's in-memory runner, as TFX does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tfx  # noqa: F401 - brings what tensorflow_data_validation 1.16 lacks
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_transform import beam as tft_beam
from tensorflow_transform.tf_metadata import metadata_io
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx_bsl.tfxio.tf_example_record import TFExampleBeamRecord

from modules.data.features.plan import data_spec, plan_features
from modules.data.features.statistics import STATISTICS_FILE, read_statistics
from modules.data.preprocessing import inputs_of_schema, preprocessing_fn, with_vocabularies
from modules.data.spec import SPEC_FILE, Dataset, DataSpec, write_json
from modules.settings import DataSettings


class Transformed:
    """What a Transform left.

    Attributes:
      raw: The rows.
      serialized: The same as examples.
      settings: Of the data.
      graph_dir: The transform graph, with its specification.
      pattern: Of the transformed examples.
      spec: The specification.
    """

    def __init__(self, rows: list[dict[str, Any]], settings: DataSettings, directory: Path):
        self.raw = rows
        self.serialized = [serialize(row) for row in rows]
        self.settings = settings
        self.graph_dir = str(directory / "graph")
        self.pattern = str(directory / "examples" / "part*")
        self.spec: DataSpec


def serialize(row: dict[str, Any]) -> bytes:
    """A row of plain values as a serialized example; None and what is empty are left out."""
    features = {}
    for name, value in row.items():
        values = value if isinstance(value, list) else [value]
        if value is None or not values:
            continue
        if isinstance(values[0], str | bytes):
            encoded = [each.encode() if isinstance(each, str) else each for each in values]
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        elif isinstance(values[0], float):
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        features[name] = feature
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def statistics_of(serialized: list[bytes], directory: Path) -> tuple[Any, Any]:
    """TFDV's schema, and our statistics of examples, through the file that StatisticsGen writes."""
    import pyarrow as pa
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics import stats_impl
    from tfx_bsl.coders import example_coder

    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(serialized)
    options = tfdv.StatsOptions(num_quantiles_histogram_buckets=100)
    statistics = stats_impl.generate_statistics_in_memory(
        pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names), options
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / STATISTICS_FILE
    path.write_bytes(statistics.SerializeToString())
    schema = tfdv.infer_schema(statistics, infer_feature_shape=True)
    for feature in schema.feature:
        feature.ClearField("domain_info")
    del schema.string_domain[:]
    return schema, read_statistics(str(path))


def transform(
    rows: list[dict[str, Any]], settings: DataSettings, dataset: Dataset, directory: Path
) -> Transformed:
    """Runs it.

    Writes `<directory>/graph` and gzipped records below `<directory>/examples`.
    """
    images = {name for name, each in settings.features.items() if each.kind == "image"}
    dataset = dataset.model_copy(update={"kinds": dict.fromkeys(images, "image")})
    made = Transformed(rows, settings, directory)
    schema, statistics = statistics_of(made.serialized, directory / "statistics")
    plan = {} if settings.preprocessing_fn else plan_features(settings, dataset, statistics)
    spec = data_spec(plan, settings, dataset)
    config = {"spec": spec.model_dump_json(), "preprocessing_fn": settings.preprocessing_fn}
    source = TFExampleBeamRecord("test", schema=schema)
    options = beam.options.pipeline_options.PipelineOptions([])
    with (
        beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline,
        tft_beam.Context(temp_dir=str(directory / "temporary")),
    ):
        batches = pipeline | beam.Create(made.serialized) | source.BeamSource()
        (examples, transformed), graph = (
            batches,
            source.TensorAdapterConfig(),
        ) | tft_beam.AnalyzeAndTransformDataset(lambda inputs: preprocessing_fn(inputs, config))
        graph | tft_beam.WriteTransformFn(made.graph_dir)
        of_schema = beam.pvalue.AsSingleton(
            transformed.deferred_metadata | beam.Map(lambda metadata: metadata.schema)
        )
        (
            examples
            | beam.Map(
                lambda row, schema: tft.coders.ExampleProtoCoder(schema).encode(row), of_schema
            )
            | beam.io.WriteToTFRecord(str(directory / "examples" / "part"), file_name_suffix=".gz")
        )
    # Only TFX's executor writes it.
    raw_metadata = os.path.join(made.graph_dir, tft.TFTransformOutput.RAW_METADATA_DIR)
    metadata_io.write_metadata(DatasetMetadata(schema), raw_metadata)
    output = tft.TFTransformOutput(made.graph_dir)
    inputs = with_vocabularies(spec, output) if plan else inputs_of_schema(output)
    made.spec = spec.model_copy(update={"inputs": inputs})
    write_json(made.spec, made.graph_dir, SPEC_FILE)
    return made
