"""Every kind of teacher once, from what a user has to a pushed student that it taught."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import PipelineConfig

pytestmark = pytest.mark.e2e

COUNT = 300
TABLE = {
    "source": "csv",
    "label": "verdict",
    "id": "name",
    "features": {"size": {"kind": "numeric"}, "age": {"kind": "numeric"}},
}
# A module of the user's, next to the table; it counts its calls.
MODULE = """
import csv, pathlib
import numpy as np

HERE = pathlib.Path(__file__).parent
with open(HERE / "some.csv", newline="") as file:
    ROWS = list(csv.DictReader(file))
X = np.array([[float(row["size"]), float(row["age"])] for row in ROWS], np.float32)
Y = np.array([row["verdict"] == "yes" for row in ROWS], int)
{fit}
def answer(features):
    with open(HERE / "calls.txt", "a") as file:
        # A feature that no model takes.
        file.write(f"{{len(set(features['name']))}}\\n")
    return predict(np.stack([features["size"], features["age"]], axis=1).astype(np.float32))
"""
LIBRARIES = {
    "sklearn": """
from sklearn.ensemble import GradientBoostingClassifier
predict = GradientBoostingClassifier(n_estimators=20).fit(X, Y).predict_proba
""",
    "lightgbm": """
import lightgbm
predict = lightgbm.LGBMClassifier(n_estimators=20).fit(X, Y).predict_proba
""",
    "ydf": """
import ydf
model = ydf.GradientBoostedTreesLearner(label="y", num_trees=20).train({"x": X, "y": Y})
predict = lambda x: model.predict({"x": x})
""",
    "torch": """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), 0.05)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(torch.tensor(X)), torch.tensor(Y)).backward()
    optimizer.step()
predict = lambda x: model(torch.tensor(x)).softmax(1).detach().numpy()
""",
}


def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    made = []
    for index in range(COUNT):
        size, age = rng.normal(), rng.uniform(0, 2)
        verdict = "yes" if size + age > 1 else "no"
        made.append({"name": f"n{index}", "size": size, "age": age, "verdict": verdict})
    return made


def write_table(directory: Path) -> Path:
    path = directory / "some.csv"
    lines = [",".join(map(str, each.values())) for each in rows()]
    path.write_text("\n".join(["name,size,age,verdict", *lines]) + "\n")
    return path


def configuration(data: dict[str, Any], teacher: dict[str, Any], **sections: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "any-teacher",
            "data": data,
            "teacher": teacher,
            "student": {"model": "mlp", "train": {"epochs": 8, "batch_size": 32}},
            "distill": {"alpha": 0, "control": False},
            "export": {"tflite": ["float32"]},
            "latency": {"processes": 3, "blocks": 2, "queries_per_block": 10},
            "gate": {"min_accuracy": 0.7},
            **sections,
        }
    )


def taught(config: PipelineConfig, output: Path) -> dict[str, Any]:
    """Runs to the push; the report."""
    from pipeline import local_runner

    outcome = local_runner.run(config, output)
    report = json.loads((outcome.report_dir / "report.json").read_text())
    assert outcome.blessed, report["gate"]
    return report


def is_only_asked(report: dict[str, Any]) -> None:
    """What a report says of a teacher without a model."""
    teacher = report["teacher"]
    assert teacher["size_bytes"] is teacher["parameters"] is teacher["latency"] is None
    assert report["student"]["latency"]["p50_ms"] > 0
    assert report["comparison"]["speedup"] is report["comparison"]["compression"] is None
    assert "no model to time" in report["teacher_origin"]


def library(name: str) -> Any:
    """Those that are not of the environment are other people's, as real engines are."""
    if name == "sklearn":
        return pytest.param(name, marks=pytest.mark.thorough)
    missing = importlib.util.find_spec(name) is None
    skips = pytest.mark.skipif(missing, reason=f"needs the package {name}")
    return pytest.param(name, marks=[skips, pytest.mark.real])


@pytest.mark.parametrize("name", map(library, LIBRARIES))
def test_a_function(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, module = write_table(tmp_path), f"teacher_of_{name}"
    code = tmp_path / f"{module}.py"
    code.write_text(MODULE.format(fit=LIBRARIES[name]))
    monkeypatch.syspath_prepend(str(tmp_path))
    teacher = {"function": f"{module}:answer", "returns": "probabilities", "batch_size": 64}
    config = configuration({**TABLE, "path": str(path)}, teacher)
    report = taught(config, tmp_path / "run")
    is_only_asked(report)
    assert report["teacher"]["accuracy"] > 0.9 and report["comparison"]["agreement"] > 0.7
    assert "probabilities were turned into logits" in report["teacher_origin"]
    calls = (tmp_path / "calls.txt").read_text().split()
    assert sum(map(int, calls)) == COUNT and max(map(int, calls)) == 64
    # Nobody needs the module any more, nor is it asked again.
    code.unlink()
    del sys.modules[module]
    importlib.invalidate_caches()
    assert taught(config, tmp_path / "run")["created"] == report["created"]
    assert (tmp_path / "calls.txt").read_text().split() == calls


@pytest.mark.thorough
def test_a_keras_file(tmp_path: Path) -> None:
    """Trained elsewhere, on larger images in another range, with an eleventh class."""
    import keras
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = digits.images.repeat(2, axis=1).repeat(2, axis=2)[..., np.newaxis] / 16
    labels = (digits.target + 1) % 11
    given = keras.Input((16, 16, 1), name="picture")
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(given)
    x = keras.layers.Flatten()(x)
    model = keras.Model(given, keras.layers.Dense(11, "softmax")(x))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(large, labels, epochs=10, verbose=0)
    file = tmp_path / "teacher.keras"
    model.save(file)
    teacher = {
        "keras_file": str(file),
        "returns": "probabilities",
        "pixel_range": [0, 1],
        "labels": ["none", *map(str, range(10))],
    }
    student = {"model": "separable_cnn", "train": {"epochs": 8}}
    config = configuration(
        {"source": "digits"}, teacher, student=student, gate={"min_accuracy": 0.3}
    )
    report = taught(config, tmp_path / "run")
    assert report["teacher"]["accuracy"] > 0.9
    assert report["teacher"]["parameters"] == model.count_params()
    assert report["comparison"]["speedup"]["median"] > 0
    assert str(file) in report["teacher_origin"]
    file.unlink()
    assert taught(config, tmp_path / "run")["created"] == report["created"]


@pytest.mark.thorough
def test_a_file_of_answers(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from modules.errors import DataError

    path, file = write_table(tmp_path), tmp_path / "answers.parquet"
    given = [
        {"id": each["name"], "logits": [-3 * (each["size"] + each["age"] - 1), 0.0]}
        for each in rows()
    ]
    config = configuration({**TABLE, "path": str(path)}, {"answers": str(file)})
    pq.write_table(pa.Table.from_pylist(given[:-2]), file)
    with pytest.raises(
        DataError, match=r"must answer every example, but lacks [12] of (train|eval)"
    ):
        taught(config, tmp_path / "run")
    pq.write_table(pa.Table.from_pylist(given), file)
    report = taught(config, tmp_path / "run")
    is_only_asked(report)
    assert report["teacher"]["accuracy"] == 1.0


@pytest.mark.thorough
def test_a_saved_model_without_keras(tmp_path: Path) -> None:
    """Of a regression, with two names of its own."""
    import tensorflow as tf

    class Linear(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="length"),
                tf.TensorSpec([None, 1], tf.float32, name="years"),
            ]
        )
        def price(self, length: Any, years: Any) -> dict[str, Any]:
            return {"price": 10 * length[:, tf.newaxis] - 3 * years + 50}

    module, directory = Linear(), tmp_path / "linear"
    tf.saved_model.save(module, str(directory), signatures={"price": module.price})
    path = tmp_path / "some.csv"
    prices = [(each["size"], each["age"]) for each in rows()]
    lines = [f"{size},{age},{10 * size - 3 * age + 50.25}" for size, age in prices]
    path.write_text("\n".join(["size,age,verdict", *lines]) + "\n")
    teacher = {
        "saved_model": str(directory),
        "signature": "price",
        "inputs": {"length": "size", "years": "age"},
    }
    data = {key: value for key, value in TABLE.items() if key != "id"}
    config = configuration({**data, "path": str(path)}, teacher, gate={"max_rmse": 10})
    report = taught(config, tmp_path / "run")
    is_only_asked(report)
    assert report["teacher"]["rmse"] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.thorough
def test_an_onnx_file(tmp_path: Path) -> None:
    """A linear model of images, trained elsewhere, whose classes are in another order."""
    from onnx import TensorProto, helper, numpy_helper, save
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    model = LogisticRegression(max_iter=200).fit(digits.data / 16, 9 - digits.target)
    held = {
        "shape": np.int64([-1, 64]),
        "weights": model.coef_.T.astype(np.float32),
        "bias": model.intercept_.astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["picture", "shape"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
        ],
        "linear",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [None, 8, 8, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 10])],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    file = tmp_path / "linear.onnx"
    opset = helper.make_opsetid("", 13)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(file))
    teacher = {
        "onnx": str(file),
        "inputs": {"picture": "image"},
        "pixel_range": [0, 1],
        "labels": [str(9 - place) for place in range(10)],
    }
    student = {"model": "separable_cnn", "train": {"epochs": 8}}
    config = configuration(
        {"source": "digits"}, teacher, student=student, gate={"min_accuracy": 0.3}
    )
    report = taught(config, tmp_path / "run")
    is_only_asked(report)
    assert report["teacher"]["accuracy"] > 0.9
    assert "onnx" in report["teacher_origin"]
