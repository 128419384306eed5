"""The Exporter: its wiring, and what it left behind in a real run."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_models import load_saved
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tfx import types
from tfx.types import standard_artifacts

from components.artifacts import TFLiteModels
from components.exporter.component import Exporter
from components.exporter.executor import MODELS, Executor
from modules.errors import ModelError
from modules.export import runtimes
from modules.export.flatbuffer import embedded_spec
from modules.models.known import KnownModel
from modules.settings import DataSettings, ExportSettings, ModelSettings

VARIANTS = ("float32", "float16", "dynamic_range", "int8")
FILES = {*(f"student/{name}" for name in VARIANTS), "teacher/float32"}
INPUTS = {
    "model": standard_artifacts.Model,
    "teacher_model": standard_artifacts.Model,
    "examples": standard_artifacts.Examples,
    "raw_examples": standard_artifacts.Examples,
    "transform_graph": standard_artifacts.TransformGraph,
}


@pytest.fixture(scope="session")
def exported(miniature_run: Any) -> Path:
    return Path(miniature_run.uris["Exporter.tflite"])


def spec(directory: Path, name: str) -> dict[str, Any]:
    return json.loads((directory / name / "spec.json").read_text())


def pixels_of(examples: list[Any]) -> np.ndarray:
    raw = [example.features.feature["image"].bytes_list.value[0] for example in examples]
    return np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 8, 8, 1)


@pytest.mark.slow
def test_layout(exported: Path) -> None:
    found = {path.relative_to(exported).as_posix() for path in exported.rglob("*.*")}
    models = {f"{name}/{file}" for name in FILES for file in ("model.tflite", "spec.json")}
    assert found == models | {"preprocessing/preprocessing.json"}


@pytest.mark.slow
def test_a_server_is_warmed_up_with_training_examples(miniature_run: Any, exported: Path) -> None:
    records = tf.data.TFRecordDataset(str(exported / "warmup" / "tf_serving_warmup_requests"))
    logs = [PredictionLog.FromString(record) for record in records.as_numpy_iterator()]
    requests = [log.predict_log.request for log in logs]
    assert [each.model_spec.signature_name for each in requests] == [
        *("serving_default", "serving_raw")
    ] * 8
    model = Path(miniature_run.uris["Distiller.model"], "Format-Serving")
    assert not (model / "assets.extra").exists()
    examples = [tf.make_ndarray(each.inputs["examples"])[0] for each in requests[::2]]
    assert runtimes.load("saved_model", str(model)).answer(examples).shape == (8, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FILES))
def test_spec_describes_the_file_beside_it(exported: Path, name: str) -> None:
    content = (exported / name / "model.tflite").read_bytes()
    described = spec(exported, name)
    keys = {"inputs", "output", "task", "labels"}
    assert set(described) == keys | {"sha256", "size_bytes"}
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    assert described["size_bytes"] == len(content)
    assert described["labels"] == [str(digit) for digit in range(10)]
    inside = embedded_spec(str(exported / name / "model.tflite"))
    assert inside == {key: described[key] for key in keys}


@pytest.mark.slow
def test_every_file_takes_raw_pixels_and_answers_logits(exported: Path) -> None:
    for name in FILES:
        described = spec(exported, name)
        (image,) = described["inputs"]
        assert (image["shape"], described["output"]["shape"]) == ([1, 8, 8, 1], [1, 10])
        assert (image["name"], image["dtype"]) == ("image", "uint8")
    for name in FILES - {"student/int8"}:
        assert spec(exported, name)["output"]["dtype"] == "float32"
        assert spec(exported, name)["output"]["quantization"] is None
    assert spec(exported, "student/int8")["output"]["dtype"] == "int8"
    assert spec(exported, "student/int8")["output"]["quantization"]["scale"] > 0


@pytest.mark.slow
def test_int8_is_smaller_and_the_teacher_larger(exported: Path) -> None:
    sizes = {name: spec(exported, name)["size_bytes"] for name in FILES}
    assert sizes["student/int8"] < sizes["student/float32"] < sizes["teacher/float32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "node"), [("student", "Distiller"), ("teacher", "TeacherTrainer")]
)
def test_float32_files_are_the_trained_models(
    miniature_run: Any, exported: Path, read_examples: Any, role: str, node: str
) -> None:
    """Student and teacher are not mixed up, and neither is an untrained one."""
    directory = Path(miniature_run.uris["Transform.transformed_examples"], "Split-eval")
    pixels = pixels_of(read_examples(str(directory)))[:40]
    model = load_saved(Path(miniature_run.uris[f"{node}.model"], "Format-Keras"))
    tensors = {"image": pixels}
    answers = runtimes.load("litert", str(exported / role / "float32" / "model.tflite")).answer(
        tensors
    )
    np.testing.assert_allclose(answers, model.predict(tensors, verbose=0), atol=1e-3)


OTHERS = {"seed": 3, "code_digest": "0", "needed": '["float32", "int8"]'}


def run_executor(miniature_run: Any, output: Path, **properties: Any) -> None:
    uris = miniature_run.uris
    inputs = {
        "model": uris["Distiller.model"],
        "teacher_model": uris["TeacherTrainer.model"],
        "examples": uris["Transform.transformed_examples"],
        "raw_examples": uris["ExampleGen.examples"],
        "transform_graph": uris["Transform.transform_graph"],
    }
    artifacts = {}
    for name, uri in inputs.items():
        artifact = INPUTS[name]()
        artifact.uri = uri
        artifacts[name] = [artifact]
    for name in ("examples", "raw_examples"):
        artifacts[name][0].split_names = '["train", "eval"]'
    tflite = TFLiteModels()
    tflite.uri = str(output)
    config = miniature_run.config()
    settings = {"export": config.export, "data": config.data, **properties}
    models = [KnownModel.of(config.student), KnownModel.of(config.teacher)]
    known = MODELS.dump_json(models).decode()
    texts = {name: part.model_dump_json() for name, part in settings.items()}
    Executor().Do(
        artifacts,
        {"tflite": [tflite]},
        {**texts, **OTHERS, "models": known},
    )


@pytest.mark.slow
def test_only_the_variants_that_are_asked_for(miniature_run: Any, tmp_path: Path) -> None:
    run_executor(miniature_run, tmp_path, export=ExportSettings(tflite=("float32",)))
    found = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("spec.json")}
    assert found == {"student/float32", "teacher/float32"}


@pytest.mark.slow
def test_calibration_reads_training_examples_of_all_classes_alike(
    miniature_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_examples: Any
) -> None:
    seen = {}

    def export_models(models: Any, calibration: Any, spec: Any, *more: Any) -> None:
        seen.update(models=models, pixels=calibration["image"], spec=spec, directory=more[0])
        seen.update(int8_input=more[2])

    monkeypatch.setattr("modules.export.tflite.export_models", export_models)
    settings = ExportSettings(calibration_examples=32, int8_input="int8")
    run_executor(miniature_run, tmp_path, export=settings)
    examples = Path(miniature_run.uris["Transform.transformed_examples"])
    train, test = (
        {
            example.features.feature["image"].bytes_list.value[0]: (
                example.features.feature["label"].int64_list.value[0]
            )
            for example in read_examples(f"{examples}/Split-{split}")
        }
        for split in ("train", "eval")
    )
    chosen = [image.tobytes() for image in seen["pixels"]]
    assert seen["pixels"].shape == (32, 8, 8, 1)
    assert set(chosen) <= set(train)
    assert not set(chosen) & set(test)
    counts = Counter(train[image] for image in chosen)
    assert sorted(counts) == list(range(10)) and set(counts.values()) == {3, 4}
    assert (seen["spec"].output.classes, seen["directory"]) == (tuple("0123456789"), str(tmp_path))
    assert seen["int8_input"] == "int8"
    assert seen["models"]["student"][1] == ("float32", "int8")
    assert seen["models"]["teacher"][1] == ("float32",)


@pytest.mark.slow
def test_file_that_answers_otherwise_is_refused(
    miniature_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = runtimes.LoadedModel.answer
    monkeypatch.setattr(runtimes.LoadedModel, "answer", lambda *args: honest(*args) * 1.01 + 0.01)
    with pytest.raises(
        ModelError, match="the float32 file of separable_cnn differs from its original"
    ):
        run_executor(miniature_run, tmp_path, export=ExportSettings(tflite=("float32",)))


def make_component(**replaced: Any) -> Exporter:
    channels = {name: types.Channel(type=kind) for name, kind in INPUTS.items()}
    parameters = {
        "models": [KnownModel.of(ModelSettings(model="separable_cnn"))],
        "export": ExportSettings(tflite=("float32",)),
        "needed": ("float32",),
        "data": DataSettings(validation_fraction=0.3),
        "seed": 7,
        "code_digest": "abc",
    }
    return Exporter(**{**channels, **parameters, **replaced})


def test_component_has_its_channels_and_properties() -> None:
    component = make_component()
    assert component.id == "Exporter"
    assert component.executor_spec.executor_class is Executor
    assert {name: channel.type for name, channel in component.inputs.items()} == INPUTS
    assert {name: channel.type for name, channel in component.outputs.items()} == {
        "tflite": TFLiteModels
    }
    properties = component.exec_properties
    assert ExportSettings.model_validate_json(properties["export"]).tflite == ("float32",)
    assert DataSettings.model_validate_json(properties["data"]).validation_fraction == 0.3
    assert (properties["seed"], properties["code_digest"]) == (7, "abc")


def test_component_refuses_another_artifact_type() -> None:
    with pytest.raises(TypeError, match="teacher_model"):
        make_component(teacher_model=types.Channel(type=standard_artifacts.Examples))
