"""modules.teachers.signatures: a SavedModel without Keras, and an ONNX session."""

from __future__ import annotations

import sys
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


def onnx_file(directory: Path) -> str:
    """Twice the input `X`, and the class of it, as scikit-learn's converter calls them."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["X", "X"], ["probabilities"]),
            helper.make_node("ArgMax", ["X"], ["label"], axis=1),
        ],
        "twice",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
    )
    path = str(directory / "twice.onnx")
    opset = helper.make_opsetid("", 13)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def test_onnx_is_fed_and_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(tmp_path)
    given = TeacherSettings(onnx=path, inputs={"X": ("age", "count")}, returns="probabilities")
    teacher = OnnxTeacher(given, path, list(FEATURES), "teacher")
    np.testing.assert_array_equal(teacher.answer(FEATURES), [[2, 8], [4, 10], [np.nan, 12]])
    unnamed = given.model_copy(update={"returns": "logits"})
    with pytest.raises(ConfigError, match="output must be one of label, probabilities"):
        OnnxTeacher(unnamed, path, list(FEATURES), "teacher")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install 'tfx-distill\[onnx\]'"):
        OnnxTeacher(given, path, list(FEATURES), "teacher")
