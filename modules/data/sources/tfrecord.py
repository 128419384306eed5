"""TFRecord files of `tf.train.Example`s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.sources.file_source import FileSource
from modules.data.sources.protocol import Part, Row
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam


class TFRecordFiles(FileSource):
    """Plain or, where the name ends in .gz, compressed; as TFDS writes them, for example."""

    pattern: ClassVar[str] = "*tfrecord*"

    @classmethod
    def rows(cls, settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """TFX's own reader of ImportExampleGen, and a look at every record."""
        import apache_beam as beam
        from tfx.components.example_gen.import_example_gen import executor
        from tfx.proto import example_gen_pb2

        read = executor.Executor().GetInputSourceToExamplePTransform()
        properties = {
            "input_base": "",
            "output_data_format": example_gen_pb2.FORMAT_PROTO,
        }
        return read(properties, part.pattern) | "ParseExamples" >> beam.Map(_row)


def _row(record: bytes) -> Row:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        example = tf.train.Example.FromString(record)
    except DecodeError:
        return Row("", problem=f"a record of {len(record)} bytes is no tf.train.Example")
    if not example.features.feature:
        return Row("", problem=f"a record of {len(record)} bytes has no features")
    # What other programs write for a missing value has no kind.
    for name in [
        name for name, each in example.features.feature.items() if not each.WhichOneof("kind")
    ]:
        del example.features.feature[name]
    return Row("", example)
