"""ExampleValidator on statistics and a schema that TFDV made of real examples."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import component as tfx_component
from tfx.components.schema_gen import executor as schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.types import artifact_utils, standard_artifacts

from components.example_validator import (
    ExampleValidator,
    Executor,
    describe_anomalies,
    infinite_numbers,
)
from modules.errors import DataError

CLASSES = ("cat", "dog")


def example(class_name: str, index: int, **changes: Any) -> bytes:
    values = {
        "image": f"{class_name}{index}".encode(),
        "class_name": class_name.encode(),
        "label": index % 2,
        **changes,
    }
    features = {
        name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        if isinstance(value, int)
        else tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
        if value is not None
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


SPLITS = {
    "train": [example(CLASSES[index % 2], index) for index in range(200)],
    "eval": [example(CLASSES[index % 2], index) for index in range(200, 240)],
    "unseen": [example(("cat", "dog", "unicorn")[index % 3], index) for index in range(240, 270)],
    "missing": [
        example(CLASSES[index % 2], index, **({"label": None} if index % 3 == 0 else {}))
        for index in range(270, 300)
    ],
}


@pytest.fixture(scope="module")
def statistics_dir(
    tmp_path_factory: pytest.TempPathFactory, beam_executor: Any, artifact: Callable[..., Any]
) -> Path:
    """The statistics of all splits above, computed by TFX's StatisticsGen."""
    root = tmp_path_factory.mktemp("validator")
    for split, records in SPLITS.items():
        file = root / "examples" / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
            for record in records:
                writer.write(record)
    examples = artifact(standard_artifacts.Examples, root / "examples")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    statistics = artifact(standard_artifacts.ExampleStatistics, root / "statistics")
    beam_executor(statistics_gen.Executor).Do(
        {"examples": [examples]}, {"statistics": [statistics]}, {"exclude_splits": "[]"}
    )
    return root / "statistics"


@pytest.fixture(scope="module")
def schema(
    tmp_path_factory: pytest.TempPathFactory, statistics_dir: Path, artifact: Callable[..., Any]
) -> Any:
    """The schema of the clean splits, inferred by TFX's SchemaGen."""
    made = artifact(standard_artifacts.Schema, tmp_path_factory.mktemp("schema"))
    schema_gen.Executor().Do(
        {"statistics": [statistics_of(statistics_dir, ["train", "eval"])]},
        {"schema": [made]},
        {"infer_feature_shape": True, "exclude_splits": "[]"},
    )
    return made


def statistics_of(directory: Path, splits: list[str]) -> Any:
    made = standard_artifacts.ExampleStatistics()
    made.uri = str(directory)
    made.split_names = artifact_utils.encode_split_names(splits)
    return made


@pytest.fixture
def validate(
    tmp_path: Path, statistics_dir: Path, schema: Any, artifact: Callable[..., Any]
) -> Callable[..., Any]:
    """A function that validates train, and one of the splits above in the place of eval."""

    def run(eval_split: str) -> Any:
        for split, source in (("train", "train"), ("eval", eval_split)):
            target = tmp_path / "statistics" / f"Split-{split}"
            shutil.copytree(statistics_dir / f"Split-{source}", target)
        anomalies = artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
        Executor().Do(
            {
                "statistics": [statistics_of(tmp_path / "statistics", ["train", "eval"])],
                "schema": [schema],
            },
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]"},
        )
        return anomalies

    return run


def test_clean_examples_pass(validate: Any) -> None:
    anomalies = validate("eval")
    assert anomalies.get_json_value_custom_property("blessed") == {"train": 1, "eval": 1}
    for split in ("train", "eval"):
        assert Path(anomalies.uri, f"Split-{split}", "SchemaDiff.pb").is_file()


def test_unseen_class_stops_the_run(validate: Any) -> None:
    with pytest.raises(DataError) as caught:
        validate("unseen")
    assert str(caught.value).rstrip() == (
        "the examples do not fit their schema: split eval, feature 'class_name': Examples contain "
        "values missing from the schema: unicorn (~33%)."
    )


def test_feature_that_some_examples_lack_stops_the_run(validate: Any) -> None:
    with pytest.raises(DataError) as caught:
        validate("missing")
    message = str(caught.value)
    assert message.startswith("the examples do not fit their schema: split eval, feature 'label': ")
    assert (
        "present in fewer examples than expected: minimum fraction = 1.000000, actual = 0.666667"
    ) in message
    assert "split train" not in message


def test_the_anomalies_are_recorded_before_the_run_stops(tmp_path: Path, validate: Any) -> None:
    with pytest.raises(DataError):
        validate("unseen")
    found = {}
    for split in ("train", "eval"):
        anomalies = anomalies_pb2.Anomalies()
        file = tmp_path / "anomalies" / f"Split-{split}" / "SchemaDiff.pb"
        anomalies.ParseFromString(file.read_bytes())
        found[split] = list(anomalies.anomaly_info)
    assert found == {"train": [], "eval": ["class_name"]}


def test_infinite_numbers_are_named() -> None:
    """What a schema does not forbid; a model would answer NaN."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    features = statistics.datasets.add().features
    for name, least, greatest in (("a", 0, 1), ("b", -math.inf, 1), ("c", 0, math.inf)):
        feature = features.add()
        feature.path.step.append(name)
        feature.num_stats.min, feature.num_stats.max = least, greatest
    features.add().string_stats.unique = 2
    lines = infinite_numbers("eval", statistics)
    assert [line.partition(":")[0] for line in lines] == [
        "split eval, feature 'b'",
        "split eval, feature 'c'",
    ]


def test_every_anomaly_has_its_sentence() -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["b"].short_description = "short"
    anomalies.anomaly_info["a"].description = "long"
    anomalies.anomaly_info["a"].short_description = "not shown"
    anomalies.dataset_anomaly_info.description = "too few"
    assert describe_anomalies("train", anomalies) == [
        "split train, feature 'a': long",
        "split train, feature 'b': short",
        "split train: too few",
    ]


def test_component_is_tfxs_with_our_executor() -> None:
    component = ExampleValidator(
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        schema=types.Channel(type=standard_artifacts.Schema),
        code_digest="abc",
    )
    assert component.exec_properties["code_digest"] == "abc"
    assert isinstance(component, tfx_component.ExampleValidator)
    assert component.id == "ExampleValidator"
    assert component.executor_spec.executor_class is Executor
