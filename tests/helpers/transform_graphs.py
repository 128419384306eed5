"""Transform graphs of raw rows with features of every kind, with their specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modules.data.features.decode import vocabulary_name
from modules.data.features.tokens import PUNCTUATION
from modules.data.spec import SPEC_FILE, DataSpec, InputSpec, OutputSpec, write_json
from modules.settings import (
    CategoryFeature,
    FeatureSettings,
    ImageFeature,
    NumericFeature,
    TextFeature,
)

Row = Mapping[str, Sequence[Any]]
# By name: the type of the raw feature, and whether every example has one.
FEATURES: dict[str, FeatureSettings] = {
    "age": NumericFeature(),
    "petal length (cm)": NumericFeature(),
    "income": NumericFeature(scale="log"),
    "score": NumericFeature(scale="quantile"),
    "city": CategoryFeature(),
    "zip": CategoryFeature(oov_buckets=5),
    "tags": CategoryFeature(max_values=3),
    "review": TextFeature(length=6),
    "code": TextFeature(tokens="characters", length=4),
    "photo": ImageFeature(size=(4, 6), channels=3),
}
TYPES = {"age": ("int64", False), "petal length (cm)": ("float32", True)}
TYPES |= {"income": ("float32", False), "score": ("float32", True), "city": ("string", False)}
TYPES |= {"zip": ("int64", True), "tags": ("string", False), "review": ("string", False)}
TYPES |= {"code": ("string", True), "photo": ("string", True)}
_LABEL_TYPES = {"classification": "int64", "binary": "int64", "multilabel": "int64"}


def png(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> bytes:
    """An image file."""
    import tensorflow as tf

    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return bytes(tf.io.encode_png(pixels).numpy())


def make_rows(count: int, seed: int = 0) -> list[dict[str, list[Any]]]:
    """Raw rows; what may be missing is missing in some."""
    rng = np.random.default_rng(seed)
    words = ["good", "Bad", "film,", "a", "the", "Größe", "plot!", "(and)", "café"]
    rows = []
    for _ in range(count):
        some = rng.random(5) > 0.2
        row: dict[str, list[Any]] = {
            "age": [int(rng.integers(1, 90))] if some[0] else [],
            "petal length (cm)": [float(np.float32(rng.normal(50, 3)))],
            "income": [float(np.float32(rng.lognormal(8)))] if some[1] else [],
            "score": [float(np.float32(rng.normal()))],
            "city": [[b"Bern", b"Ulm", "Zürich".encode()][rng.integers(3)]] if some[2] else [],
            "zip": [int(rng.integers(1000, 1010))],
            "tags": [[b"red", b"green", b"blue"][at] for at in rng.integers(0, 3, rng.integers(4))],
            "review": [" ".join(rng.choice(words, rng.integers(1, 10))).encode()]
            if some[3]
            else [],
            "code": ["".join(rng.choice(list("abcü"), 5)).encode()],
            "photo": [png(rng, 8, 9)],
        }
        rows.append(row)
    return rows


def example(row: Row) -> bytes:
    """A row as a serialized `tf.train.Example`; what is missing is not there."""
    import tensorflow as tf

    features = tf.train.Features()
    for name, values in row.items():
        if not values:
            continue
        feature = features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return bytes(tf.train.Example(features=features).SerializeToString())


def write_graph(
    directory: Path, rows: Sequence[Row], output: OutputSpec, names: Sequence[str] = ()
) -> DataSpec:
    """Analyze rows, and write the transform graph with its specification.

    Args:
      directory: Where it goes.
      rows: Of the training examples.
      output: What is predicted; the label itself plays no part.
      names: Of the features, default all.
    """
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_transform import beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    features = {name: FEATURES[name] for name in names or FEATURES}
    parsing: dict[str, Any] = {}
    for name in features:
        dtype, always = TYPES[name]
        kind = tf.dtypes.as_dtype(dtype)
        parsing[name] = tf.io.FixedLenFeature([1], kind) if always else tf.io.VarLenFeature(kind)
    parsing["label"] = tf.io.FixedLenFeature([1], tf.int64)
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(parsing))
    options = beam.options.pipeline_options.PipelineOptions([])
    statistics = {name: _numbers(rows, name, each) for name, each in features.items()}
    with (
        beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline,
        tft_beam.Context(temp_dir=str(directory / "temporary")),
    ):
        data = [{name: row[name] for name in features} | {"label": [0]} for row in rows]
        graph = (pipeline | beam.Create(data), metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: _preprocess(inputs, features, statistics)
        )
        graph | tft_beam.WriteTransformFn(str(directory))
    metadata_io.write_metadata(metadata, str(directory / tft.TFTransformOutput.RAW_METADATA_DIR))
    transform_output = tft.TFTransformOutput(str(directory))
    inputs = sorted(
        (
            each
            for name, settings in features.items()
            for each in _inputs(name, settings, transform_output, statistics[name])
        ),
        key=lambda each: each.name,
    )
    spec = DataSpec(inputs=tuple(inputs), output=output, features=features)
    write_json(spec, str(directory), SPEC_FILE)
    return spec


def _numbers(rows: Sequence[Row], name: str, settings: FeatureSettings) -> dict[str, Any]:
    if not isinstance(settings, NumericFeature):
        return {}
    values = np.array([row[name][0] for row in rows if row[name]], np.float32)
    if settings.scale == "log":
        values = np.log1p(values)
    boundaries: tuple[float, ...] = ()
    if settings.scale == "quantile":
        boundaries = tuple(np.quantile(values, np.linspace(0, 1, 11)).astype(np.float32).tolist())
        values = np.interp(values, boundaries, np.linspace(0, 1, 11))
    return {
        "mean": float(np.float32(values.mean())),
        "deviation": float(values.std()),
        "boundaries": boundaries,
    }


def _inputs(
    name: str, settings: FeatureSettings, transform_output: Any, numbers: dict[str, Any]
) -> list[InputSpec]:
    if isinstance(settings, ImageFeature):
        return [
            InputSpec(name=name, kind="image", feature=name, shape=settings.shape, dtype="uint8")
        ]
    if isinstance(settings, NumericFeature):
        found = [
            InputSpec(name=name, kind="numeric", feature=name, shape=(), dtype="float32", **numbers)
        ]
        if not TYPES[name][1]:
            missing = {"name": f"{name}_missing", "kind": "numeric", "feature": name}
            found.append(InputSpec(**missing, shape=(), dtype="float32"))
        return found
    lines = transform_output.vocabulary_size_by_name(vocabulary_name(name))
    if isinstance(settings, CategoryFeature):
        kind, many = "category", settings.max_values
        size, buckets = (many,) if many > 1 else (), settings.oov_buckets
    else:
        kind, size, buckets = "text", (settings.length,), 1
    return [
        InputSpec(
            name=name,
            kind=kind,
            feature=name,
            shape=size,
            dtype="int32",
            vocabulary_size=1 + buckets + lines,
        )
    ]


def _preprocess(
    inputs: dict[str, Any], features: Mapping[str, FeatureSettings], statistics: dict[str, Any]
) -> dict[str, Any]:
    import tensorflow as tf

    outputs: dict[str, Any] = {"label": tf.reshape(inputs["label"], [-1])}
    for name, settings in features.items():
        values = inputs[name]
        if isinstance(settings, NumericFeature):
            outputs |= _numeric(name, values, settings, statistics[name])
        elif isinstance(settings, ImageFeature):
            outputs[name] = _image(tf.reshape(values, [-1]), settings)
        elif isinstance(settings, CategoryFeature):
            outputs[name] = _category(name, values, settings)
        else:
            outputs[name] = _text(name, values, settings)
    return outputs


def _dense(values: Any, default: Any, size: int = 1) -> Any:
    import tensorflow as tf

    if isinstance(values, tf.SparseTensor):
        rows = values.dense_shape[0]
        kept = tf.sparse.retain(values, values.indices[:, 1] < size)
        values = tf.sparse.to_dense(
            tf.SparseTensor(kept.indices, kept.values, [rows, size]), default
        )
    return tf.reshape(values, [-1, size])


def _numeric(name: str, values: Any, settings: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    optional = isinstance(values, tf.SparseTensor)
    if optional:
        values = tf.SparseTensor(
            values.indices, tf.cast(values.values, tf.float32), values.dense_shape
        )
    x = tf.cast(_dense(values, np.float32("nan"))[:, 0], tf.float32)
    if settings.scale == "log":
        x = tf.math.log1p(x)
    if settings.scale == "quantile":
        b = tf.constant(numbers["boundaries"])
        last = len(numbers["boundaries"]) - 1
        at = tf.clip_by_value(tf.searchsorted(b, x, side="right") - 1, 0, last - 1)
        low, high = tf.gather(b, at), tf.gather(b, at + 1)
        x = (tf.cast(at, tf.float32) + (x - low) / (high - low)) / last
        x = tf.clip_by_value(x, 0, 1)
    missing = tf.math.is_nan(x)
    found = {name: tf.where(missing, numbers["mean"], x)}
    if optional:
        found[f"{name}_missing"] = tf.cast(missing, tf.float32)
    return found


def _image(encoded: Any, settings: Any) -> Any:
    import tensorflow as tf

    from modules.data.preprocessing import _decode

    return tf.map_fn(
        lambda one: _decode(one, settings.shape), encoded, fn_output_signature=tf.string
    )


def _category(name: str, values: Any, settings: Any) -> Any:
    import tensorflow as tf

    def text(given: Any) -> Any:
        return given if given.dtype == tf.string else tf.strings.as_string(given)

    if isinstance(values, tf.SparseTensor):
        values = tf.SparseTensor(values.indices, text(values.values), values.dense_shape)
    else:
        values = text(values)
    ids = _ids(name, _dense(values, "", settings.max_values), settings.oov_buckets)
    return ids if settings.max_values > 1 else ids[:, 0]


def _text(name: str, values: Any, settings: Any) -> Any:
    import tensorflow as tf

    text = _dense(values, "")[:, 0]
    if settings.tokens == "words":
        text = tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), PUNCTUATION, " ")
        tokens = tf.strings.split(text)
    else:
        tokens = tf.strings.unicode_split(text, "UTF-8")
    return _ids(name, tokens.to_tensor("", shape=[None, settings.length]), 1)


def _ids(name: str, tokens: Any, buckets: int) -> Any:
    """0 for nothing, then the buckets of unknown ones, then the vocabulary."""
    import tensorflow as tf
    import tensorflow_transform as tft

    given = tokens != ""
    path = tft.vocabulary(
        tf.boolean_mask(tokens, given), vocab_filename=vocabulary_name(name), frequency_threshold=2
    )
    ids = tft.apply_vocabulary(tokens, path, default_value=-1)
    unknown = tf.strings.to_hash_bucket_fast(tokens, buckets)
    return tf.where(given, tf.where(ids < 0, 1 + unknown, 1 + buckets + ids), 0)
