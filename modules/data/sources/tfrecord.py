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


def _row(record: bytes) -> list[Row]:
    from google.protobuf.message import DecodeError

    from modules.data.values import parse

    size = f"a record of {len(record)} bytes"
    try:
        features = parse(record)
    except DecodeError:
        return [Row("", problem=f"{size} is no tf.train.Example")]
    return [Row("", features) if features else Row("", problem=f"{size} has no features")]
