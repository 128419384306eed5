"""modules.teachers.signatures: a SavedModel without Keras, and an ONNX session."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modules.errors import ConfigError, ModelError
from modules.settings import TeacherSettings
from modules.teachers.signatures import OnnxTeacher, SavedModelTeacher

FEATURES = {
    "age": np.array([1.0, 2.0, np.nan]),
    "count": np.array([4, 5, 6]),
    "city": np.array(["Bern", "Ulm", ""], object),
    "photo": np.array([], object),
}


class Plain(tf.Module):
    """Two signatures, of which the second takes a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable([[1.0, -1.0]])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 1], tf.float32, name="age"),
            tf.TensorSpec([None], tf.string, name="town"),
        ]
    )
    def score(self, age: Any, town: Any) -> dict[str, Any]:
        known = tf.cast(tf.strings.length(town), tf.float32)
        return {"logits": age @ self.weight, "length": known}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def matrix(self, x: Any) -> dict[str, Any]:
        return {"out": x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 3, 1], tf.float32, name="pixels")])
    def look(self, pixels: Any) -> dict[str, Any]:
        return {"out": tf.reshape(pixels, [-1, 6])}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory, module = str(tmp_path_factory.mktemp("plain")), Plain()
    signatures = {
        "serving_default": module.score,
        "matrix": module.matrix,
        "look": module.look,
    }
    tf.saved_model.save(module, directory, signatures=signatures)
    return directory


def make(saved_model: str, **settings: Any) -> SavedModelTeacher:
    given = TeacherSettings(saved_model=saved_model, **settings)
    return SavedModelTeacher(given, saved_model, list(FEATURES), "teacher")


def test_inputs_are_mapped_by_name_and_cast(saved_model: str) -> None:
    teacher = make(saved_model, inputs={"town": "city"})
    np.testing.assert_array_equal(teacher.answer(FEATURES), [[1, -1], [2, -2], [np.nan, np.nan]])
    named = make(saved_model, inputs={"town": "city"}, output="length")
    assert named.answer(FEATURES).tolist() == [4, 3, 0]


def test_several_features_become_columns(saved_model: str) -> None:
    teacher = make(saved_model, signature="matrix", inputs={"x": ["count", "age"]})
    np.testing.assert_array_equal(teacher.answer(FEATURES), [[4, 1], [5, 2], [6, np.nan]])


def test_images_are_decoded_to_the_size_and_range_of_the_input(saved_model: str) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6, 1) * 10
    photos = np.array([tf.io.encode_png(pixels).numpy()], object)
    teacher = make(saved_model, signature="look", inputs={"pixels": "photo"}, pixel_range=[-1, 1])
    (found,) = teacher.answer({**FEATURES, "photo": photos})
    expected = tf.image.resize(pixels, (2, 3), antialias=True).numpy().ravel() / 127.5 - 1
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "teacher.inputs must say which feature is 'town'"),
        ({"inputs": {"town": "city", "x": "age"}}, "must name inputs of the teacher, age, town"),
        ({"signature": "serve"}, "teacher.signature must be one of .*matrix.*, got 'serve'"),
        (
            {"inputs": {"town": "city"}, "output": "z"},
            "output must be one of length, logits, got 'z'",
        ),
        ({"inputs": {"town": "city"}, "returns": "probabilities"}, "output must be one of"),
    ],
)
def test_names_that_are_not_there_are_one_line(
    saved_model: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(saved_model, **settings)


def test_text_for_a_number_is_one_line(saved_model: str) -> None:
    teacher = make(saved_model, signature="matrix", inputs={"x": ["count", "city"]})
    with pytest.raises(ConfigError, match=r"the input 'x' takes numbers of type float32"):
        teacher.answer(FEATURES)


def test_a_directory_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        make(str(tmp_path))


class Session:
    """Stands in for onnxruntime's, with one input as scikit-learn's converter makes it."""

    def __init__(self, path: str, providers: list[str]):
        self.path = path

    def get_inputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="X", type="tensor(float)", shape=[None, 2])]

    def get_outputs(self) -> list[Any]:
        return [types.SimpleNamespace(name=name) for name in ("label", "probabilities")]

    def run(self, outputs: list[str], given: dict[str, Any]) -> list[Any]:
        assert outputs == ["probabilities"] and given["X"].dtype == np.float32
        return [given["X"] * 2]


def onnx(**settings: Any) -> OnnxTeacher:
    given = TeacherSettings(onnx="m.onnx", **{"inputs": {"X": ["age", "count"]}, **settings})
    return OnnxTeacher(given, "m.onnx", list(FEATURES), "teacher")


def test_onnx_is_fed_and_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime itself computes, the test below shows where it is installed."""
    runtime = types.ModuleType("onnxruntime")
    monkeypatch.setattr(runtime, "InferenceSession", Session, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    answers = onnx(returns="probabilities").answer(FEATURES)
    np.testing.assert_array_equal(answers, [[2, 8], [4, 10], [np.nan, 12]])
    with pytest.raises(ConfigError, match="output must be one of label, probabilities"):
        onnx()


@pytest.mark.skipif(
    bool(importlib.util.find_spec("onnxruntime")), reason="onnxruntime is installed"
)
def test_onnx_without_its_runtime_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'tfx-distill\[onnx\]'"):
        onnx()


@pytest.mark.skipif(
    not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")),
    reason="needs the packages onnx and onnxruntime",
)
def test_a_real_onnx_file(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "X"], ["probabilities"])],
        "twice",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
    )
    opset = helper.make_opsetid("", 13)
    path = str(tmp_path / "twice.onnx")
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    settings = TeacherSettings(onnx=path, inputs={"X": ("age", "count")})
    teacher = OnnxTeacher(settings, path, list(FEATURES), "teacher")
    np.testing.assert_array_equal(teacher.answer(FEATURES), [[2, 8], [4, 10], [np.nan, 12]])
