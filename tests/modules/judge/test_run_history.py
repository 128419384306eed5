"""Curves out of TensorBoard's logs and statistics out of TFDV's files, both really written."""

import keras
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from modules.judge.run_history import summarize_data, training_curves


def log(directory, values, part="train", first=0):
    """Writes what Keras' TensorBoard callback writes; `values` by name, one for each epoch."""
    callback = keras.callbacks.TensorBoard(str(directory), write_graph=False)
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    callback.set_model(model)
    prefix = "val_" if part == "validation" else ""
    for epoch in range(len(next(iter(values.values())))):
        callback.on_epoch_end(
            first + epoch, {prefix + name: each[epoch] for name, each in values.items()}
        )
    callback.on_train_end()


def test_one_value_for_each_epoch_by_name(tmp_path):
    run = tmp_path / "generation_1"
    log(run, {"loss": [3.0, 2.0], "accuracy": [0.25, 0.5]})
    log(run, {"loss": [4.0, 5.0]}, "validation")
    curves = training_curves(str(tmp_path))
    assert curves == {
        "loss": [3.0, 2.0],
        "accuracy": [0.25, 0.5],
        "learning_rate": [0.5, 0.5],
        "val_loss": [4.0, 5.0],
    }


def test_the_last_generation_counts(tmp_path):
    for generation, loss in ((2, 2.0), (10, 10.0), (9, 9.0)):
        log(tmp_path / f"generation_{generation}", {"loss": [loss]})
    assert training_curves(str(tmp_path))["loss"] == [10.0]


def test_a_run_taken_up_again_tells_each_epoch_once(tmp_path):
    log(tmp_path / "generation_1", {"loss": [1.0, 2.0, 3.0]})
    log(tmp_path / "generation_1", {"loss": [20.0, 30.0, 40.0]}, first=1)
    assert training_curves(str(tmp_path))["loss"] == [1.0, 20.0, 30.0, 40.0]


def test_what_was_not_trained_has_no_curves(tmp_path):
    assert training_curves(str(tmp_path)) == {}


STATISTICS = """
datasets {
  num_examples: 4
  features {
    type: STRING
    path { step: "class_name" }
    string_stats {
      common_stats { num_non_missing: 3 num_missing: 1 }
      unique: 2
      rank_histogram {
        buckets { label: "dog" sample_count: 2 }
        buckets { label: "cat" sample_count: 1 }
      }
    }
  }
  features {
    type: INT
    path { step: "label" }
    num_stats { common_stats { num_non_missing: 4 } min: 0 max: 3 mean: 1.25 }
  }
  features {
    type: STRING
    path { step: "image" }
    bytes_stats { common_stats { num_non_missing: 4 } unique: 4 }
  }
}
"""


@pytest.fixture
def files(tmp_path):
    """The two files as TFDV writes them."""
    statistics = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["label"].description = "Unexpected value 3"
    (tmp_path / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    (tmp_path / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    return tmp_path


def test_statistics_and_anomalies(files):
    summary = summarize_data(
        {"eval": f"{files}/FeatureStats.pb"},
        {"eval": f"{files}/SchemaDiff.pb"},
        ["cat", "dog", "fox"],
    )
    assert summary.anomalies == ["eval: label: Unexpected value 3"]
    split = summary.splits["eval"]
    assert split.examples == 4
    assert split.classes == {"cat": 1, "dog": 2}
    features = {feature.name: feature for feature in split.features}
    assert list(features) == ["class_name", "image", "label"]
    assert features["class_name"].missing == 1 and features["class_name"].unique == 2
    label = features["label"]
    assert (label.minimum, label.maximum, label.mean) == (0, 3, 1.25)
    assert features["image"].minimum is None and features["image"].unique == 4


def test_a_split_without_classes(tmp_path):
    statistics = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    del statistics.datasets[0].features[0]
    (tmp_path / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
    split = summarize_data({"eval": f"{tmp_path}/FeatureStats.pb"}, {}, []).splits["eval"]
    assert (split.examples, split.classes) == (4, {})
