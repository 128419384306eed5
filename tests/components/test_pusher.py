"""The Pusher component on real artifacts."""

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from fsspec.registry import _registry
from object_store import ObjectStore
from tfx import types
from tfx.components.pusher import component as tfx_pusher
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils
from vertex_server import serve

from components.artifacts import TFLiteModels
from components.pusher.component import Pusher
from components.pusher.executor import Executor
from modules import files
from modules.errors import ConfigError, ModelError, UserError
from modules.push.verify import verify
from modules.settings import PushSettings, VertexRegistrySettings

ARTIFACTS = {
    "model": standard_artifacts.Model,
    "model_blessing": standard_artifacts.ModelBlessing,
    "tflite": TFLiteModels,
    "evaluation": standard_artifacts.ModelEvaluation,
    "pushed_model": standard_artifacts.PushedModel,
}
TFLITE = b"TFL3 int8"
SHA256 = hashlib.sha256(TFLITE).hexdigest()


def write(path: Path, content: bytes | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


class Push:
    """One execution: artifacts on disk as the upstream components write them."""

    def __init__(self, directory: Path) -> None:
        self.destination = directory / "pushed"
        self.settings = PushSettings()
        self.destination_kind: dict[str, Any] = {
            "filesystem": {"base_directory": str(self.destination)}
        }
        self.artifacts: dict[str, list[types.Artifact]] = {}
        for name, artifact_type in ARTIFACTS.items():
            artifact = artifact_type()
            artifact.uri = str(directory / name)
            self.artifacts[name] = [artifact]
        self.pushed_model = self.artifacts["pushed_model"][0]
        self.bless(1)
        write(directory / "model/Format-Serving/saved_model.pb", b"graph")
        write(directory / "model/Format-Serving/variables/variables.index", b"weights")
        write(directory / "tflite/student/int8/model.tflite", TFLITE)
        write(directory / "tflite/student/float32/model.tflite", b"not this one")
        tensor = {"name": "x", "shape": [1, 2], "dtype": "int8", "quantization": None}
        spec = {"inputs": [tensor], "output": tensor, "sha256": SHA256}
        spec |= {"task": "classification", "labels": ["a"]}
        preprocessing = {"spec": {}, "raw": {}, "vocabularies": {}}
        write(directory / "tflite/preprocessing/preprocessing.json", preprocessing)
        write(directory / "tflite/warmup/tf_serving_warmup_requests", b"requests")
        write(directory / "tflite/student/int8/spec.json", {**spec, "size_bytes": len(TFLITE)})
        self.report = directory / "evaluation/report.json"
        self.model = directory / "model/Format-Serving"
        self.judge()

    def judge(self) -> None:
        """Write the report of the model as it is."""
        names = ("saved_model.pb", "variables/variables.index")
        digests = {name: files.sha256(str(self.model / name)) for name in names}
        measured = {"int8": {"accuracy": 0.9, "sha256": SHA256}}
        gate = {"tflite": ["int8"]}
        write(self.report, {"variants": measured, "saved_model": digests, "gate": gate})

    def bless(self, blessed: int) -> None:
        self.artifacts["model_blessing"][0].set_int_custom_property("blessed", blessed)

    def move_to(self, url: str) -> None:
        """Moves the artifacts to URLs, where the outputs go too."""
        for name, (artifact,) in self.artifacts.items():
            files.copy_tree(artifact.uri, f"{url}/{name}")
            artifact.uri = f"{url}/{name}"

    def do(self, **values: str) -> None:
        destination = proto_utils.dict_to_proto(self.destination_kind, pusher_pb2.PushDestination())
        inputs = {name: self.artifacts[name] for name in ARTIFACTS if name != "pushed_model"}
        Executor().Do(
            inputs,
            {"pushed_model": self.artifacts["pushed_model"]},
            {
                "push_destination": proto_utils.proto_to_json(destination),
                "push": self.settings.model_dump_json(),
                "pipeline": "digits",
                "code_digest": "0",
                **values,
            },
        )


@pytest.fixture
def execution(tmp_path: Path) -> Push:
    return Push(tmp_path)


def test_blessed_student_is_pushed_and_archived(execution: Push) -> None:
    execution.do()
    artifact = execution.pushed_model
    version = artifact.get_string_custom_property("pushed_version")
    saved_model = execution.destination / "saved_model" / version
    tflite = execution.destination / "tflite" / version
    assert artifact.get_int_custom_property("pushed") == 1
    assert artifact.get_string_custom_property("pushed_destination") == str(saved_model)
    assert artifact.get_string_custom_property("pushed_tflite") == str(tflite)
    for directory in (saved_model, Path(artifact.uri)):
        assert (directory / "saved_model.pb").read_bytes() == b"graph"
        assert (directory / "variables/variables.index").read_bytes() == b"weights"
        requests = directory / "assets.extra/tf_serving_warmup_requests"
        assert requests.read_bytes() == b"requests"
    assert (tflite / "model.tflite").read_bytes() == TFLITE
    manifest = json.loads((tflite / "manifest.json").read_text())
    assert (manifest["variant"], manifest["metrics"]["accuracy"]) == ("int8", 0.9)
    assert manifest["pipeline"] == "digits"


def test_a_run_may_push_elsewhere(execution: Push, tmp_path: Path) -> None:
    execution.do(run_destination=str(tmp_path / "elsewhere"))
    version = execution.pushed_model.get_string_custom_property("pushed_version")
    assert (tmp_path / "elsewhere" / "saved_model" / version / "saved_model.pb").is_file()
    assert not execution.destination.exists()


def test_second_run_marks_the_version_that_is_there(execution: Push) -> None:
    execution.do()
    first = execution.pushed_model.get_string_custom_property("pushed_version")
    execution.do()
    assert execution.pushed_model.get_string_custom_property("pushed_version") == first
    assert [entry.name for entry in (execution.destination / "tflite").iterdir()] == [first]


def test_student_without_blessing_pushes_nothing(execution: Push) -> None:
    execution.bless(0)
    execution.do()
    assert execution.pushed_model.has_custom_property("pushed")
    assert execution.pushed_model.get_int_custom_property("pushed") == 0
    assert not execution.pushed_model.has_custom_property("pushed_version")
    assert not execution.destination.exists()
    assert not Path(execution.pushed_model.uri).exists()


def test_artifacts_and_destination_at_urls(execution: Push) -> None:
    ObjectStore.reset()
    execution.move_to("bucket://runs/1")
    execution.do(run_destination="bucket://models/digits")
    artifact = execution.pushed_model
    version = artifact.get_string_custom_property("pushed_version")
    saved_model = f"bucket://models/digits/saved_model/{version}"
    assert artifact.get_string_custom_property("pushed_destination") == saved_model
    assert artifact.get_string_custom_property("pushed_tflite") == (
        f"bucket://models/digits/tflite/{version}"
    )
    for directory in (saved_model, "bucket://runs/1/pushed_model"):
        assert files.file_names(directory) == [
            "assets.extra/tf_serving_warmup_requests",
            "saved_model.pb",
            "variables/variables.index",
        ]
        assert files.read_bytes(f"{directory}/saved_model.pb") == b"graph"
    assert verify("bucket://models/digits").problems == ()


@pytest.mark.slow
def test_what_is_pushed_is_registered(execution: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bucket of Google's, as far as the Pusher can tell."""
    monkeypatch.setitem(_registry, "gs", ObjectStore)
    ObjectStore.reset()
    destination = "gs://models/digits"
    vertex = VertexRegistrySettings(project="acme", region="europe-west4")
    execution.settings = PushSettings(destination=destination, vertex=vertex)
    with serve() as models:
        models.refuses = 1
        with pytest.raises(UserError, match=r"is pushed to gs://models/digits/.* not registered"):
            execution.do(run_destination=destination)
        (version,) = files.entries(f"{destination}/saved_model")
        assert verify(destination).problems == () and not models.models
        for _ in range(2):
            execution.do(run_destination=destination)
            assert files.entries(f"{destination}/saved_model") == [version]
        (registered,) = models.models["digits"]
    assert registered.artifact_uri == f"{destination}/saved_model/{version}"
    assert registered.labels["int8_accuracy"] == "0_9"


@pytest.mark.parametrize("report", [b"{", b"[1]", None])
def test_without_a_report_nothing_is_pushed(execution: Push, report: bytes | None) -> None:
    execution.report.unlink() if report is None else write(execution.report, report)
    with pytest.raises(UserError, match=r"report\.json must be the Evaluator's report"):
        execution.do()
    assert not execution.destination.exists()


def test_report_without_a_choice_is_refused(execution: Push) -> None:
    write(execution.report, {"variants": {"int8": {"sha256": SHA256}}})
    with pytest.raises(UserError, match=r"report\.json must name in gate\.tflite"):
        execution.do()
    assert not execution.destination.exists()


def test_file_that_was_not_measured_is_refused(execution: Push) -> None:
    variants = {"int8": {"sha256": "0" * 64}}
    write(execution.report, {"variants": variants, "gate": {"tflite": ["int8"]}})
    with pytest.raises(ModelError, match="must be the file that was measured"):
        execution.do()
    assert not execution.destination.exists()


def test_only_as_many_versions_as_asked_are_kept(execution: Push) -> None:
    execution.settings = PushSettings(keep=2)
    for content in (b"1", b"2", b"3"):
        write(execution.model / "saved_model.pb", content)
        execution.judge()
        execution.do()
    kept = sorted((execution.destination / "saved_model").iterdir())
    assert [(version / "saved_model.pb").read_bytes() for version in kept] == [b"2", b"3"]


def test_only_a_filesystem_can_be_the_destination(execution: Push) -> None:
    execution.destination_kind = {}
    with pytest.raises(ConfigError, match="must be of kind filesystem, not None"):
        execution.do()


def make_component(**replaced: Any) -> Pusher:
    channels = {
        name: types.Channel(type=artifact_type)
        for name, artifact_type in ARTIFACTS.items()
        if name != "pushed_model"
    }
    parameters: dict[str, Any] = {
        "push": PushSettings(keep=4),
        "destination": "/srv/models",
        "pipeline": "digits",
        "code_digest": "abc",
    }
    return Pusher(**{**channels, **parameters, **replaced})


def test_component_has_our_channels_and_properties() -> None:
    component = make_component()
    assert isinstance(component, tfx_pusher.Pusher)
    assert component.id == "Pusher"
    assert component.executor_spec.executor_class is Executor
    inputs = {name: channel.type for name, channel in component.inputs.items()}
    assert inputs == {name: kind for name, kind in ARTIFACTS.items() if name != "pushed_model"}
    assert component.outputs["pushed_model"].type is standard_artifacts.PushedModel
    settings = PushSettings.model_validate_json(component.exec_properties["push"])
    assert settings == PushSettings(keep=4)
    assert component.exec_properties["pipeline"] == "digits"
    assert component.exec_properties["code_digest"] == "abc"
    assert "/srv/models" in component.exec_properties["push_destination"]


def test_component_refuses_another_artifact_type() -> None:
    with pytest.raises(TypeError, match="tflite"):
        make_component(tflite=types.Channel(type=standard_artifacts.Model))


def test_artifact_type_is_imported_by_its_name() -> None:
    package, name = TFLiteModels.TYPE_NAME.split(".")
    assert getattr(importlib.import_module(package), name) is TFLiteModels


def test_importing_the_package_is_light() -> None:
    code = "import components, sys; sys.exit('tfx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(ImportError, match="cannot import name 'TFLiteModel'"):
        exec("from components import TFLiteModel")
