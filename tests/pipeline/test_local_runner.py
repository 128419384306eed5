"""Local runs: what is run again and what is not, and what a refusal or a failure leaves behind.

All runs here share the output directory of the miniature run, each with a change of its own.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modules.errors import ConfigError, DataError, ModelError, UserError
from pipeline import local_runner
from pipeline.cli import main
from pipeline.config import PipelineConfig, load_config
from pipeline.local_runner import Outcome, collect_outcome, preflight

NODES = {
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "TeacherTrainer",
    "Control",
    "Distiller",
    "Exporter",
    "Evaluator",
    "Pusher",
}


def expect(run_again: set[str]) -> dict[str, str]:
    """The states of a run in which only these nodes were run."""
    return {node: "COMPLETE" if node in run_again else "CACHED" for node in NODES}


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_an_identical_run_is_served_from_the_cache(miniature_run: Any) -> None:
    first, pushed = miniature_run.outcome, content(miniature_run.output / "pushed")
    second = miniature_run.run()
    assert miniature_run.states() == expect({"Pusher"})
    assert second == first
    assert content(miniature_run.output / "pushed") == pushed


@pytest.mark.slow
def test_outcome_says_where_things_lie(miniature_run: Any) -> None:
    outcome, output = miniature_run.run(), miniature_run.output
    assert outcome == Outcome(output / "report", True, outcome.pushed_version, output / "pushed")
    saved_model = output / "pushed" / "saved_model" / outcome.pushed_version
    tflite = output / "pushed" / "tflite" / outcome.pushed_version
    student = Path(miniature_run.uris["Distiller.model"], "Format-Serving")
    int8 = Path(miniature_run.uris["Exporter.tflite"], "student/int8/model.tflite")
    assert content(saved_model) == content(student)
    assert (tflite / "model.tflite").read_bytes() == int8.read_bytes()
    evaluation = Path(miniature_run.uris["Evaluator.evaluation"])
    assert content(output / "report") == {
        name: (evaluation / name).read_bytes() for name in ("report.json", "report.md")
    }


@pytest.mark.slow
def test_another_temperature_concerns_the_student_alone(miniature_run: Any) -> None:
    outcome = miniature_run.run("distill.temperature=2")
    assert miniature_run.states() == expect({"Distiller", "Exporter", "Evaluator", "Pusher"})
    report = json.loads((outcome.report_dir / "report.json").read_text())
    assert report["config"]["distill"]["temperature"] == 2.0
    assert outcome.pushed_version > miniature_run.outcome.pushed_version
    student = Path(miniature_run.artifacts()["Distiller.model"].uri)
    assert student != Path(miniature_run.uris["Distiller.model"])
    assert content(outcome.pushed_to / "saved_model" / outcome.pushed_version) == content(
        student / "Format-Serving"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("root_handlers")
def test_a_refused_student_is_not_pushed(
    miniature_run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    pushed = content(miniature_run.output / "pushed")
    settings = [*miniature_run.overrides, "gate.min_accuracy=1"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(
        main, ["run", "digits", *arguments, "--output", str(miniature_run.output)]
    )
    shown = capfd.readouterr().err.splitlines()
    assert result.exit_code == 3, result.output

    assert miniature_run.states() == expect({"Evaluator", "Pusher"})
    assert content(miniature_run.output / "pushed") == pushed
    outcome = collect_outcome("digits", miniature_run.output)
    assert outcome == Outcome(miniature_run.output / "report", False, None, None)
    blessing = miniature_run.artifacts()["Evaluator.blessing"]
    assert blessing.custom_properties["blessed"].int_value == 0
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["NOT_BLESSED"]
    gate = json.loads((outcome.report_dir / "report.json").read_text())["gate"]
    assert gate["blessed"] is False
    assert [check["name"] for check in gate["checks"] if not check["passed"]] == ["min_accuracy"]

    assert "REFUSED: 1 of 4 checks failed, nothing is pushed" in result.stdout
    assert "- FAILED `min_accuracy`: student accuracy 0." in result.stdout
    assert f"Report      {outcome.report_dir / 'report.json'}" in result.stdout
    assert "SavedModel" not in result.stdout
    finished = [line.split() for line in shown if line.endswith((" s", "cached"))]
    assert {node for node, *_ in finished} == NODES
    assert {node for node, *took in finished if took != ["cached"]} == {"Evaluator", "Pusher"}


@pytest.mark.slow
def test_what_was_pushed_and_deleted_is_pushed_again(miniature_run: Any) -> None:
    before = miniature_run.run()
    shutil.rmtree(miniature_run.output / "pushed")
    again = miniature_run.run()
    assert miniature_run.states() == expect({"Pusher"})
    student = Path(miniature_run.uris["Distiller.model"], "Format-Serving")
    assert content(again.pushed_to / "saved_model" / again.pushed_version) == content(student)
    assert (again.pushed_to / "tflite" / again.pushed_version / "manifest.json").is_file()
    assert int(again.pushed_version) >= int(before.pushed_version)


@pytest.mark.slow
def test_an_interrupted_evaluation_leaves_the_report_as_it_was(
    miniature_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, pushed = (content(miniature_run.output / name) for name in ("report", "pushed"))

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # The last step: report.json is written, but the node has not ended.
        patched.setattr("components.evaluator.executor._bless", interrupt)
        with pytest.raises(KeyboardInterrupt):
            miniature_run.run("gate.min_accuracy=0.1")
    assert miniature_run.states()["Evaluator"] not in ("COMPLETE", "CACHED")
    assert content(miniature_run.output / "report") == report
    assert content(miniature_run.output / "pushed") == pushed

    outcome = miniature_run.run("gate.min_accuracy=0.1")
    assert miniature_run.states() == expect({"Evaluator", "Pusher"})
    config = json.loads((outcome.report_dir / "report.json").read_text())["config"]
    assert config["gate"]["min_accuracy"] == 0.1


def folder_config(root: Path, classes: dict[str, list[str]]) -> PipelineConfig:
    for name, files in classes.items():
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_bytes(b"not looked at yet")
    return load_config("digits", [f"data={{source: image_folder, path: {root}}}"])


def test_preflight_accepts_what_can_be_run(tmp_path: Path) -> None:
    preflight(load_config("digits"))
    preflight(folder_config(tmp_path, {"a": ["1.png"], "b": ["1.jpg"]}))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "has no class sub-folder; add a sub-folder of images per class"),
        ({"a": ["1.png"]}, "has only the class 'a'; add a sub-folder of images per class"),
        (
            {"a": ["1.png"], "b": ["1.gif"]},
            "/b' holds no .png, .jpg or .jpeg file; add images or remove the folder",
        ),
    ],
    ids=["no class", "one class", "empty class"],
)
def test_preflight_refuses_data(tmp_path: Path, classes: Any, message: str) -> None:
    config = folder_config(tmp_path, classes)
    with pytest.raises(DataError) as caught:
        preflight(config)
    assert str(caught.value).startswith("data.path")
    assert str(caught.value).endswith(message)


def test_preflight_refuses_a_folder_that_is_gone(tmp_path: Path) -> None:
    config = folder_config(tmp_path / "gone", {"a": ["1.png"], "b": ["1.png"]})
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"data\.path must be an existing directory"):
        preflight(config)


# A builder of the user's, with what is wrong with it.
BUILDERS = """
import keras

def two_logits(input_shape, classes):
    inputs = keras.Input(input_shape, dtype="uint8")
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))

def other_input(input_shape, classes):
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))
"""


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("{model: resnet50}", ModelError, "resnet50 needs images of at least 32x32"),
        (
            "{model: cnn_small, parameters: {filters: [-1]}}",
            ModelError,
            "model 'cnn_small' with parameters {'filters': [-1]} cannot be built for input "
            "(8, 8, 1) and 10 classes: ",
        ),
        (
            "{model: 'preflight_builders:two_logits'}",
            ModelError,
            "model 'preflight_builders:two_logits' must return logits of shape (None, 10), one "
            "for each class of the data, but returns (None, 2); end it with Dense(classes)",
        ),
        (
            "{model: 'preflight_builders:other_input'}",
            ModelError,
            "model 'preflight_builders:other_input' must take pixels of shape (None, 8, 8, 1), "
            "but takes (None, 4, 4, 1); build its Input from input_shape",
        ),
        (
            "{model: 'preflight_builders:none_such'}",
            ConfigError,
            "model 'preflight_builders:none_such' must be a name of the model zoo",
        ),
        (
            "{model: 'there.is.none:such'}",
            ConfigError,
            "model 'there.is.none:such' must be a name of the model zoo",
        ),
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_preflight_refuses_models(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    model: str,
    error: type[UserError],
    message: str,
) -> None:
    (tmp_path / "preflight_builders.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config("digits", [f"{role}={model}"])
    with pytest.raises(error) as caught:
        preflight(config)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_run_that_cannot_succeed_does_not_begin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config("digits", ["student={model: resnet50}"])
    with caplog.at_level(logging.INFO, "tfx_distill"), pytest.raises(ModelError):
        local_runner.run(config, tmp_path / "run")
    assert "checking data and models" in caplog.messages
    assert not (tmp_path / "run").exists()
