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
from tfx.components.schema_gen import executor as schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.types import artifact_utils, standard_artifacts

from components.example_validator.component import ExampleValidator
from components.example_validator.executor import Executor, describe_anomalies, infinite_numbers
from modules.errors import ConfigError, DataError
from modules.settings import CheckSettings

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
    "cats": [example("cat", index) for index in range(300, 340)],
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


def statistics_of(directory: Path, splits: list[str], span: int = 0, identity: int = 0) -> Any:
    made = standard_artifacts.ExampleStatistics()
    made.span, made.id = span, identity
    made.uri = str(directory)
    made.split_names = artifact_utils.encode_split_names(splits)
    return made


@pytest.fixture
def validate(
    tmp_path: Path, statistics_dir: Path, schema: Any, artifact: Callable[..., Any]
) -> Callable[..., Any]:
    """A function that validates train, and one of the splits above in the place of eval."""

    def run(eval_split: str, earlier: tuple[Any, ...] = (), **checks: Any) -> Any:
        for split, source in (("train", "train"), ("eval", eval_split)):
            target = tmp_path / "statistics" / f"Split-{split}"
            shutil.copytree(statistics_dir / f"Split-{source}", target)
        anomalies = artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
        current = statistics_of(tmp_path / "statistics", ["train", "eval"], span=7, identity=40)
        Executor().Do(
            {"statistics": [current], "schema": [schema], "earlier_statistics": list(earlier)},
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]", "checks": CheckSettings(**checks).model_dump_json()},
        )
        return anomalies

    return run


@pytest.fixture
def earlier(tmp_path: Path, statistics_dir: Path) -> Callable[..., Any]:
    """A function that makes statistics of an earlier run out of one of the splits above."""

    def make(source: str, span: int, identity: int) -> Any:
        directory = tmp_path / f"{span}-{identity}"
        shutil.copytree(statistics_dir / f"Split-{source}", directory / "Split-train")
        return statistics_of(directory, ["train"], span, identity)

    return make


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


def test_anomalies_that_shall_only_be_warned_of_are_recorded(validate: Any, caplog: Any) -> None:
    anomalies = validate("unseen", anomalies="warn")
    assert anomalies.get_json_value_custom_property("blessed") == {"train": 1, "eval": 0}
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert record.getMessage().startswith("the examples do not fit their schema: split eval, ")


def test_splits_that_differ_stop_the_run(validate: Any, tmp_path: Path) -> None:
    """Of 40 examples half are cats in train, all in eval: 0.311 bits by hand."""
    with pytest.raises(DataError) as caught:
        validate("cats", skew={"limit": 0.2})
    # `image` has another value in each example, and `label` is `class_name` once more.
    assert str(caught.value) == (
        "the splits train and eval differ: feature 'class_name': the distance is 0.311, above 0.2 "
        "(Jensen-Shannon divergence)"
    )
    recorded = anomalies_pb2.Anomalies.FromString(
        (tmp_path / "anomalies" / "Split-train" / "SchemaDiff.pb").read_bytes()
    )
    assert list(recorded.anomaly_info) == ["class_name"]


def test_splits_that_differ_by_less_pass(validate: Any) -> None:
    anomalies = validate("cats", skew={"limit": 0.32})
    recorded = Path(anomalies.uri, "Split-train", "SchemaDiff.pb").read_bytes()
    assert not anomalies_pb2.Anomalies.FromString(recorded).anomaly_info


def test_a_schema_may_name_its_own_limits(validate: Any, schema: Any) -> None:
    path = Path(schema.uri, "schema.pbtxt")
    before = path.read_text()
    limit = 'skew_comparator { infinity_norm { threshold: 0.4 } } name: "class_name"'
    path.write_text(before.replace('name: "class_name"', limit, 1))
    try:
        with pytest.raises(DataError, match=r"distance is 0.5, above 0.4 \(largest difference"):
            validate("cats")
    finally:
        path.write_text(before)


def test_examples_that_drift_are_told_from_the_last_span(
    validate: Any, earlier: Any, caplog: Any
) -> None:
    """A span that was read again later is no later span, nor are the examples' own statistics."""
    drift = {"limit": 0.2, "action": "warn"}
    found = (earlier("cats", 6, 41), earlier("train", 5, 42), earlier("train", 8, 3))
    validate("eval", earlier=found, drift=drift)
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert record.getMessage() == (
        "the training examples differ from earlier ones: feature 'class_name': the distance is "
        "0.311, above 0.2 (Jensen-Shannon divergence)"
    )


def test_without_spans_the_last_run_is_compared_with(validate: Any, earlier: Any) -> None:
    """Neither one before it, nor one that came later."""
    found = (earlier("train", 7, 20), earlier("cats", 7, 30), earlier("train", 7, 50))
    with pytest.raises(DataError, match="differ from earlier ones: feature 'class_name'"):
        validate("eval", earlier=found, drift={"limit": 0.2})


def test_statistics_to_compare_with_may_be_named(validate: Any, earlier: Any) -> None:
    named = {"limit": 0.2, "statistics": earlier("cats", 0, 0).uri}
    with pytest.raises(DataError, match="differ from earlier ones: feature 'class_name'"):
        validate("eval", earlier=(earlier("train", 6, 1),), drift=named)


def validator(**checks: Any) -> ExampleValidator:
    return ExampleValidator(
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        schema=types.Channel(type=standard_artifacts.Schema),
        checks=CheckSettings(**checks),
        code_digest="abc",
    )


def test_the_cache_knows_the_named_statistics(earlier: Any) -> None:
    keys = [
        validator(
            drift={"limit": 0.2, "statistics": earlier(source, 0, number).uri}
        ).exec_properties["code_digest"]
        for number, source in enumerate(("cats", "train", "cats"))
    ]
    assert keys[0] == keys[2] != keys[1]
    with pytest.raises(ConfigError, match=r"data.checks.drift.statistics must be the directory"):
        validator(drift={"limit": 0.2, "statistics": "/nowhere"})


def test_component_has_our_executor() -> None:
    component = validator()
    assert component.exec_properties["code_digest"] == "abc"
    assert component.id == "ExampleValidator"
    assert component.executor_spec.executor_class is Executor
