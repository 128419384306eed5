"""Shared by the tests of the modules: the real digits, and Transform run in memory on them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from modules.settings import DataSettings


@pytest.fixture(scope="session")
def digit_pixels():
    """All digits as `uint8 [1797, 8, 8, 1]`, straight from scikit-learn."""
    from sklearn.datasets import load_digits

    return np.rint(load_digits().images * 255 / 16).astype(np.uint8)[..., None]


@pytest.fixture(scope="session")
def digit_labels():
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)


@pytest.fixture(scope="session")
def run_transform():
    """`run(rows, settings, directory)`: tensorflow_transform on Beam's in-memory runner.

    Writes `<directory>/graph` and gzipped records below `<directory>/examples`, as TFX does.
    """
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform import beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from modules.data.preprocessing import preprocessing_fn

    def run(rows, settings, directory, sparse=False):
        types = {"image": tf.string, "label": tf.int64}
        types |= {"class_name": tf.string, "example_id": tf.string}
        spec = {
            name: tf.io.VarLenFeature(dtype) if sparse else tf.io.FixedLenFeature([1], dtype)
            for name, dtype in types.items()
        }
        metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
        config = {"image_size": settings.image_size, "channels": settings.channels}
        options = beam.options.pipeline_options.PipelineOptions([])
        with (
            beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline,
            tft_beam.Context(temp_dir=str(directory / "temporary")),
        ):
            raw = pipeline | beam.Create(
                [{name: [value] for name, value in row.items()} for row in rows]
            )
            (examples, transformed), graph = (
                raw,
                metadata,
            ) | tft_beam.AnalyzeAndTransformDataset(lambda inputs: preprocessing_fn(inputs, config))
            graph | tft_beam.WriteTransformFn(str(directory / "graph"))
            coder = beam.pvalue.AsSingleton(
                transformed.deferred_metadata | beam.Map(lambda m: m.schema)
            )
            (
                examples
                | beam.Map(
                    lambda row, schema: tft.coders.ExampleProtoCoder(schema).encode(row), coder
                )
                | beam.io.WriteToTFRecord(
                    str(directory / "examples" / "part"), file_name_suffix=".gz"
                )
            )
        return SimpleNamespace(
            raw=rows,
            settings=settings,
            graph_dir=str(directory / "graph"),
            pattern=str(directory / "examples" / "part*"),
        )

    return run


@pytest.fixture(scope="session")
def transformed_digits(run_transform, tmp_path_factory):
    """The first 200 digits as ExampleGen writes them, through Transform."""
    from modules.data.sources.digits import digits
    from modules.data.splits import example_id

    rows = [
        {
            "image": image,
            "label": label,
            "class_name": str(label).encode(),
            "example_id": example_id(image),
        }
        for image, label in itertools.islice(digits(), 200)
    ]
    return run_transform(rows, DataSettings(), tmp_path_factory.mktemp("digits"))
