"""SchemaGen on statistics that TFDV made of real examples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx import types
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.example_validator.executor import Executor as Validator
from components.schema_gen import Executor, SchemaGen
from modules.data.values import features_of, serialize
from modules.errors import ConfigError, DataError


def examples(start: int, count: int, **changes: Any) -> list[bytes]:
    """Examples without a missing value, and with what is changed."""
    found = []
    for index in range(start, start + count):
        row = {
            "number": index / 7,
            "color": ["red", "green"][index % 2],
            "label": index % 2,
            "class_name": ["cat", "dog"][index % 2],
            "example_id": f"{index:064x}",
        }
        found.append(serialize(features_of(row | changes)))
    return found


UNLABELED = {"label": None, "class_name": None}
SPLITS = {
    "train": examples(0, 100),
    # Features that only eval lacks or knows.
    "eval": [*examples(100, 20), *examples(120, 1, number=None), *examples(121, 3, color="blue")],
    "unlabeled": examples(200, 30, **UNLABELED),
}


@pytest.fixture(scope="module")
def statistics_of(
    tmp_path_factory: pytest.TempPathFactory, beam_executor: Any, artifact: Callable[..., Any]
) -> Callable[..., Any]:
    """A function that gives the statistics of some of the splits above."""
    root = tmp_path_factory.mktemp("statistics")
    for split, records in SPLITS.items():
        file = root / "examples" / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
            for record in records:
                writer.write(record)
    made = artifact(standard_artifacts.Examples, root / "examples")
    made.split_names = artifact_utils.encode_split_names(list(SPLITS))
    statistics = artifact(standard_artifacts.ExampleStatistics, root / "statistics")
    beam_executor(statistics_gen.Executor).Do(
        {"examples": [made]}, {"statistics": [statistics]}, {"exclude_splits": "[]", "checks": "{}"}
    )

    def of(*splits: str) -> Any:
        chosen = artifact(standard_artifacts.ExampleStatistics, root / "statistics")
        chosen.split_names = artifact_utils.encode_split_names(list(splits))
        return chosen

    return of


@pytest.fixture
def infer(tmp_path: Path, artifact: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs the executor on the component's properties; the schema by feature."""

    def run(
        statistics: Any, schema_file: str | None = None, **features: list[str]
    ) -> tuple[Any, dict[str, Any]]:
        component = SchemaGen(
            statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            code_digest="abc",
            features={f"data.{key}": names for key, names in features.items()},
            schema_file=schema_file,
        )
        made = artifact(standard_artifacts.Schema, tmp_path / "schema")
        properties = dict(component.exec_properties)
        Executor().Do({"statistics": [statistics]}, {"schema": [made]}, properties)
        schema = io_utils.SchemaReader().read(str(tmp_path / "schema" / "schema.pbtxt"))
        return made, {feature.name: feature for feature in schema.feature}

    return run


@pytest.fixture
def validate(tmp_path: Path, artifact: Callable[..., Any]) -> Callable[..., None]:
    def run(statistics: Any, schema: Any) -> None:
        anomalies = artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
        Validator().Do(
            {"statistics": [statistics], "schema": [schema]},
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]", "checks": "{}"},
        )

    return run


def test_labeled_examples_have_a_label_of_fixed_shape(statistics_of: Any, infer: Any) -> None:
    _, features = infer(statistics_of("train", "eval"))
    assert set(features) == {"number", "color", "label", "class_name", "example_id"}
    assert features["label"].HasField("shape")
    assert features["class_name"].HasField("domain")
    assert not features["color"].HasField("domain")
    assert not any(feature.not_in_environment for feature in features.values())


def test_a_value_that_only_eval_lacks_is_no_anomaly(
    statistics_of: Any, infer: Any, validate: Any
) -> None:
    statistics = statistics_of("train", "eval")
    schema, features = infer(statistics)
    assert not features["number"].HasField("shape")
    assert features["color"].HasField("shape")
    validate(statistics, schema)


def test_unlabeled_examples_need_no_label(statistics_of: Any, infer: Any, validate: Any) -> None:
    statistics = statistics_of("train", "eval", "unlabeled")
    schema, features = infer(statistics)
    for name in ("label", "class_name"):
        assert list(features[name].not_in_environment) == ["UNLABELED"]
        # A parser must leave room for none.
        assert not features[name].HasField("shape")
    validate(statistics, schema)


def test_labeled_examples_still_need_one(statistics_of: Any, infer: Any, validate: Any) -> None:
    schema, _ = infer(statistics_of("train", "eval", "unlabeled"))
    # The unlabeled examples as if they were for training.
    swapped = statistics_of("train")
    swapped.uri = _swapped(swapped.uri)
    with pytest.raises(DataError, match=r"split train, feature 'label': .*") as caught:
        validate(swapped, schema)
    assert "split train, feature 'class_name'" in str(caught.value)


def _swapped(uri: str) -> str:
    target = Path(uri).parent / "swapped"
    target.mkdir(exist_ok=True)
    link = target / "Split-train"
    if not link.exists():
        link.symlink_to(Path(uri) / "Split-unlabeled")
    return str(target)


def test_a_curated_schema_takes_the_place_of_the_inferred_one(
    tmp_path: Path, statistics_of: Any, infer: Any, validate: Any
) -> None:
    curated = tmp_path / "schema.pbtxt"
    curated.write_text(
        'feature { name: "number" type: FLOAT float_domain { min: 0 max: 10 } }\n'
        'feature { name: "color" type: BYTES }\n'
    )
    statistics = statistics_of("train", "eval", "unlabeled")
    schema, features = infer(statistics, str(curated))
    assert features["number"].float_domain.max == 10
    assert features["label"].type == 2  # INT, as inferred.
    with pytest.raises(DataError, match=r"split train, feature 'number': .*") as caught:
        validate(statistics, schema)
    assert "'color'" not in str(caught.value) and "'label'" not in str(caught.value)


def test_a_curated_schema_that_is_none(tmp_path: Path, statistics_of: Any, infer: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.schema_file must be a schema\.pbtxt, but .*nowh"):
        infer(statistics_of("train"), f"{tmp_path}/nowhere.pbtxt")
    wrong = tmp_path / "wrong.pbtxt"
    wrong.write_text("no schema")
    message = rf"data\.schema_file: {wrong} must be a Schema .* as text, but .*; fix it"
    with pytest.raises(DataError, match=message):
        infer(statistics_of("train"), str(wrong))


def test_a_changed_schema_file_changes_the_cache_key(tmp_path: Path) -> None:
    keys = []
    for text in ("", "# changed"):
        (tmp_path / "s.pbtxt").write_text(text)
        component = SchemaGen(
            statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            code_digest="abc",
            features={},
            schema_file=str(tmp_path / "s.pbtxt"),
        )
        keys.append(dict(component.exec_properties))
    assert keys[0] != keys[1]


def test_features_that_are_not_in_the_data_are_all_named(statistics_of: Any, infer: Any) -> None:
    with pytest.raises(DataError) as caught:
        infer(statistics_of("train"), features=["nmber", "color"], exclude=["x"])
    assert str(caught.value) == (
        "data.exclude: there is no feature 'x'; there are color, number; data.features: there is "
        "no feature 'nmber'; did you mean 'number'?; there are color, number"
    )
