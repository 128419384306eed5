"""Local runs: what is run again and what is not, and what a refusal or a failure leaves behind.

All runs here share the output directory of the miniature run, each with a change of its own.
"""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from checkout import ROOT
from click.testing import CliRunner, Result
from ml_metadata.proto import metadata_store_pb2
from small_models import load_saved
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import RunOptions
from tfx.proto.orchestration import pipeline_pb2

from modules.errors import ConfigError, DataError, ModelError, UserError
from modules.predict.pushed_models import find_models
from modules.report.files import REPORT_FILES
from modules.teachers.cache import SoftTargetCache
from pipeline import local_runner
from pipeline.cli.main import main
from pipeline.config import PipelineConfig, load_config
from pipeline.graph import create_pipeline
from pipeline.local_runner import (
    LocalRunner,
    Outcome,
    collect_outcome,
    places,
    teacher_first,
)
from pipeline.preflight import check_places
from pipeline.run_directory.lock import exclusive
from pipeline.run_metadata import close_interrupted, damage_mended, set_aside_damaged

COMMAND = Path(sys.executable).with_name("tfx-distill")

NODES = {
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "TeacherTrainer",
    "SoftTargets",
    "Control",
    "Distiller",
    "Exporter",
    "Evaluator",
    "Pusher",
}


def expect(run_again: set[str]) -> dict[str, str]:
    """The states of a run in which only these nodes were run."""
    return {node: "COMPLETE" if node in run_again else "CACHED" for node in NODES}


def arguments_of(miniature_run: Any, *changes: str) -> list[str]:
    """What the command line needs to run the miniature again with some changes."""
    settings = [*miniature_run.overrides, *changes]
    options = [part for setting in settings for part in ("--set", setting)]
    return ["run", "digits", *options, "--output", str(miniature_run.output)]


def invoke(miniature_run: Any, *changes: str) -> Result:
    return CliRunner().invoke(main, arguments_of(miniature_run, *changes))


def logged(log_dir: Path) -> set[str]:
    """The names of the values in TensorBoard's files of a training."""
    files = [str(path) for path in log_dir.glob("train/events*")]
    return {
        value.tag
        for file in files
        for event in tf.compat.v1.train.summary_iterator(file)
        for value in event.summary.value
    }


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def servable(uris: dict[str, str]) -> dict[str, bytes]:
    """What is pushed as SavedModel: the Distiller's, with the Exporter's warm-up requests."""
    warmup = content(Path(uris["Exporter.tflite"], "warmup"))
    assert warmup
    model = content(Path(uris["Distiller.model"], "Format-Serving"))
    return model | {f"assets.extra/{name}": requests for name, requests in warmup.items()}


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
    saved_model, tflite = Path(outcome.saved_model), Path(outcome.tflite)
    version = saved_model.name
    assert outcome == Outcome(
        output / "report",
        True,
        str(output / "pushed" / "saved_model" / version),
        str(output / "pushed" / "tflite" / version),
    )
    report = json.loads((outcome.report_dir / "report.json").read_text())
    exported = Path(miniature_run.uris["Exporter.tflite"], "student")
    smallest = min(exported.glob("*/model.tflite"), key=lambda path: path.stat().st_size)
    assert report["gate"]["tflite"] == [smallest.parent.name]
    assert content(saved_model) == servable(miniature_run.uris)
    assert (tflite / "model.tflite").read_bytes() == smallest.read_bytes()
    evaluation = Path(miniature_run.uris["Evaluator.evaluation"])
    assert content(output / "report") == {
        name: (evaluation / name).read_bytes() for name in REPORT_FILES
    }


@pytest.mark.thorough
@pytest.mark.slow
def test_another_temperature_concerns_the_student_alone(miniature_run: Any) -> None:
    outcome = miniature_run.run("distill.temperature=2")
    assert miniature_run.states() == expect({"Distiller", "Exporter", "Evaluator", "Pusher"})
    report = json.loads((outcome.report_dir / "report.json").read_text())
    assert report["config"]["distill"]["temperature"] == 2.0
    assert Path(outcome.saved_model).name > Path(miniature_run.outcome.saved_model).name
    uris = {name: artifact.uri for name, artifact in miniature_run.artifacts().items()}
    assert uris["Distiller.model"] != miniature_run.uris["Distiller.model"]
    assert content(Path(outcome.saved_model)) == servable(uris)


@pytest.mark.usefixtures("run_in_process")
@pytest.mark.thorough
def test_a_refused_student_is_not_pushed(
    miniature_run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    pushed = content(miniature_run.output / "pushed")
    result = invoke(miniature_run, "gate.min_accuracy=1")
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

    refused = miniature_run.output / "refused"
    (version,) = (refused / "saved_model").iterdir()
    assert content(version) == servable(miniature_run.uris)
    assert {model.variant for model in find_models(str(refused))} == {None, "float32"}
    assert find_models(str(refused), variant="int8")[-1].path.endswith("model_int8.tflite")
    assert f"To ask it   tfx-distill predict --model {refused} FILE" in result.stdout

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
    assert content(Path(again.saved_model)) == servable(miniature_run.uris)
    assert Path(again.tflite, "manifest.json").is_file()
    assert int(Path(again.saved_model).name) >= int(Path(before.saved_model).name)


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.slow
def test_online_soft_targets_with_features_ends_in_the_student_alone(miniature_run: Any) -> None:
    """`features` is 24 wide in the student and 16 in the teacher, so that there is a projector."""
    hint = "{name: hint, student_layer: features, teacher_layer: features, weight: 1}"
    outcome = miniature_run.run(
        "distill.soft_targets=online", f"distill.methods=[{{name: soft_target}}, {hint}]"
    )
    expected = expect({"Distiller", "Exporter", "Evaluator", "Pusher"})
    del expected["SoftTargets"]
    assert miniature_run.states() == expected
    assert outcome.blessed

    uris = {name: Path(artifact.uri) for name, artifact in miniature_run.artifacts().items()}
    tags = logged(uris["Distiller.model_run"] / "generation_1")
    assert {"epoch_hint_loss", "epoch_soft_target_loss", "epoch_hard_loss"} <= tags
    alone = Path(miniature_run.uris["Distiller.model"], "Format-Serving")
    pushed = Path(outcome.saved_model)
    assert variables_of(pushed) == variables_of(alone)
    student = load_saved(uris["Distiller.model"] / "Format-Keras")
    without = load_saved(Path(miniature_run.uris["Distiller.model"], "Format-Keras"))
    assert student.count_params() == without.count_params()
    assert [layer.name for layer in student.layers][-2:] == ["features", "logits"]
    sizes = [
        json.loads(path.read_text())["size_bytes"]
        for path in (
            uris["Exporter.tflite"] / "student/float32/spec.json",
            Path(miniature_run.uris["Exporter.tflite"], "student/float32/spec.json"),
        )
    ]
    # A projector has 24 * 16 weights; names and alignment are a matter of a few bytes.
    assert abs(sizes[0] - sizes[1]) < 24 * 16


def variables_of(saved_model: Path) -> list[Any]:
    return tf.train.list_variables(str(saved_model / "variables" / "variables"))


@pytest.fixture(scope="session")
def taught_by_two(miniature_run: Any) -> dict[str, Any]:
    """A run with two teachers and two generations, as far as the student."""
    config = miniature_run.config(
        "teacher.weight=2",
        "more_teachers=[{model: separable_cnn, weight: 0.5, parameters: {filters: [4]}, "
        "train: {epochs: 5, learning_rate: 0.02}}]",
        "distill.generations=2",
        "student.train.epochs=2",
    )
    check_places(config)
    pipeline = create_pipeline(config, places(miniature_run.output))
    LocalRunner(config).run(pipeline, run_options=RunOptions(to_nodes=["Distiller"]))
    return {
        "states": miniature_run.states(),
        "uris": {name: item.uri for name, item in miniature_run.artifacts().items()},
        "given": {
            node: miniature_run.inputs(node, "teachers") + miniature_run.inputs(node, "teachers_2")
            for node in ("SoftTargets", "Distiller")
        },
        "config": json.loads(miniature_run.properties("Distiller")["custom_config"]),
    }


@pytest.mark.thorough
def test_another_teacher_beside_the_first_leaves_it_as_it_was(taught_by_two: Any) -> None:
    run_again = {"TeacherTrainer-2", "SoftTargets", "Distiller"}
    states = taught_by_two["states"]
    assert {node for node, state in states.items() if state == "COMPLETE"} == run_again
    assert states["TeacherTrainer"] == "CACHED"


@pytest.mark.slow
@pytest.mark.thorough
def test_two_teachers_reach_the_student_in_order(taught_by_two: Any, read_examples: Any) -> None:
    uris = taught_by_two["uris"]
    teachers = [uris[f"{node}.model"] for node in ("TeacherTrainer", "TeacherTrainer-2")]
    assert taught_by_two["given"] == {"SoftTargets": teachers, "Distiller": teachers}
    assert taught_by_two["config"]["teacher_weights"] == [2.0, 0.5]

    split = Path(uris["Transform.transformed_examples"], "Split-train")
    features = [example.features.feature for example in read_examples(str(split))[:20]]
    raw = b"".join(feature["image"].bytes_list.value[0] for feature in features)
    pixels = np.frombuffer(raw, np.uint8).reshape(-1, 8, 8, 1)
    cache = SoftTargetCache(uris["SoftTargets.soft_targets"])
    records = tf.constant(list(cache.records().take(20).as_numpy_iterator()))
    ids = tf.constant([feature["example_id"].bytes_list.value[0] for feature in features])
    logits = cache.logits(records, ids, tf.fill([20], tf.constant(-1, tf.int64))).numpy()
    for index, teacher in enumerate(teachers):
        model = load_saved(Path(teacher, "Format-Keras"))
        expected = model.predict(pixels, verbose=0)
        np.testing.assert_allclose(logits[:, index], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
@pytest.mark.thorough
def test_every_generation_is_distilled(taught_by_two: Any) -> None:
    runs = Path(taught_by_two["uris"]["Distiller.model_run"])
    assert sorted(path.name for path in runs.iterdir()) == ["generation_1", "generation_2"]
    for run in runs.iterdir():
        assert "epoch_soft_target_loss" in logged(run)


@pytest.fixture
def undone(miniature_run: Any) -> Iterator[None]:
    """What a test does to the artifacts of the miniature and to its metadata is undone."""
    root = miniature_run.output / "pipeline_root"
    metadata_file = miniature_run.output / "metadata.sqlite"
    before, whole = set(root.glob("*/*/*")), metadata_file.read_bytes()
    files = {path: path.read_bytes() for uri in miniature_run.uris.values() for path in below(uri)}
    yield
    for path in set(root.glob("*/*/*")) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, each in files.items():
        path.write_bytes(each)
    metadata_file.write_bytes(whole)


def below(uri: str) -> list[Path]:
    return [path for path in Path(uri).rglob("*") if path.is_file()]


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flip(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]


@pytest.mark.usefixtures("run_in_process", "undone")
@pytest.mark.parametrize(
    ("output", "pattern", "damage", "change", "node"),
    [
        ("SoftTargets.soft_targets", "*.answers", flip, "distill.temperature=3", "Distiller"),
        ("ExampleGen.examples", "Split-eval/*.gz", cut, "gate.min_accuracy=0.15", "Evaluator"),
        (
            "Transform.transformed_examples",
            "Split-train/*.gz",
            flip,
            "distill.temperature=3",
            "Distiller",
        ),
        (
            "Exporter.tflite",
            "student/float32/model.tflite",
            flip,
            "gate.min_accuracy=0.15",
            "Evaluator",
        ),
    ],
)
@pytest.mark.thorough
def test_what_is_damaged_is_one_clear_line_and_made_anew(
    miniature_run: Any, output: str, pattern: str, damage: Any, change: str, node: str
) -> None:
    file = min(Path(miniature_run.uris[output]).glob(pattern))
    file.write_bytes(damage(file.read_bytes()))
    report = content(miniature_run.output / "report")
    result = invoke(miniature_run, change)
    (line,) = (row for row in result.stderr.splitlines() if row.startswith("error: "))
    assert result.exit_code == 1, line
    maker = output.partition(".")[0]
    assert line.startswith(f"error: {node}: ") and str(file) in line
    assert line.endswith(f"; run again, which has {maker} make it anew")
    assert miniature_run.states()[node] == "FAILED"
    assert content(miniature_run.output / "report") == report

    result = invoke(miniature_run, change)
    assert result.exit_code == 0, result.stderr
    assert miniature_run.states()[maker] == "COMPLETE"


@pytest.mark.parametrize(
    ("compiled", "run"),
    [
        ("Transform Control TeacherTrainer Distiller Evaluator", [0, 2, 3, 1, 4]),
        ("Transform TeacherTrainer Distiller Control Evaluator", [0, 1, 2, 3, 4]),
        ("Transform TeacherTrainer Distiller Evaluator", [0, 1, 2, 3]),
    ],
)
def test_the_control_is_trained_after_the_student(compiled: str, run: list[int]) -> None:
    nodes = [pipeline_pb2.Pipeline.PipelineOrNode() for _ in compiled.split()]
    for node, name in zip(nodes, compiled.split(), strict=True):
        node.pipeline_node.node_info.id = name
    assert teacher_first(nodes) == [nodes[index] for index in run]


def test_states_of_trainings_go_when_their_nodes_are_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Distiller/resume/done/exported", "Distiller/resume/open/generation_1/state.npz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    pipeline = pipeline_pb2.Pipeline()
    pipeline.runtime_spec.pipeline_root.field_value.string_value = str(tmp_path)
    for name in ("ExampleGen", "Distiller"):
        pipeline.nodes.add().pipeline_node.node_info.id = name

    def fail(*arguments: object) -> None:
        raise ModelError("not published")

    runner = LocalRunner(load_config("digits"))
    monkeypatch.setattr(LocalDagRunner, "run_with_ir", fail)
    with pytest.raises(ModelError):
        runner.run_with_ir(pipeline)
    assert (tmp_path / "Distiller" / "resume" / "done").exists()
    monkeypatch.setattr(LocalDagRunner, "run_with_ir", lambda *arguments: None)
    runner.run_with_ir(pipeline)
    assert [path.name for path in (tmp_path / "Distiller" / "resume").iterdir()] == ["open"]


def test_executions_that_a_kill_has_left_running_are_closed(tmp_path: Path) -> None:
    where = places(tmp_path)
    states = metadata_store_pb2.Execution.State
    with metadata.Metadata(where.metadata) as handle:
        kind = metadata_store_pb2.ExecutionType(name="node")
        left = [
            metadata_store_pb2.Execution(
                type_id=handle.store.put_execution_type(kind), last_known_state=state
            )
            for state in (states.RUNNING, states.COMPLETE, states.CACHED)
        ]
        handle.store.put_executions(left)
    close_interrupted(where)
    with metadata.Metadata(where.metadata) as handle:
        found = [execution.last_known_state for execution in handle.store.get_executions()]
    assert found == [states.FAILED, states.COMPLETE, states.CACHED]


def test_what_is_damaged_is_forgotten_with_all_that_offer_it(tmp_path: Path) -> None:
    """The execution that has made it, and one that was served it from the cache."""
    where = places(tmp_path)
    states, store_of = metadata_store_pb2.Execution.State, metadata.Metadata(where.metadata)
    uri = str(tmp_path / "pipeline_root" / "SoftTargets" / "soft_targets" / "7")
    with store_of as handle:
        store = handle.store
        artifact_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="data"))
        execution_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="node"))
        context_type = store.put_context_type(metadata_store_pb2.ContextType(name="node"))
        context = metadata_store_pb2.Context(type_id=context_type, name="digits.SoftTargets")
        context.id = store.put_contexts([context])[0]
        for name, state in ((uri, "COMPLETE"), (uri, "CACHED"), (f"{uri}0", "COMPLETE")):
            found = [each for each in store.get_artifacts() if each.uri == name]
            artifact = found or [metadata_store_pb2.Artifact(type_id=artifact_type, uri=name)]
            execution = metadata_store_pb2.Execution(
                type_id=execution_type, last_known_state=states.Value(state)
            )
            output = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
            store.put_execution(execution, [(artifact[0], output)], [context])
    with (
        pytest.raises(DataError, match=r"^7 is cut; run again, which has SoftTargets make it anew"),
        damage_mended("digits", where),
    ):
        raise DataError("7 is cut", damaged=f"{uri}/answers")
    with store_of as handle:
        found = [each.last_known_state for each in handle.store.get_executions()]
    assert found == [states.FAILED, states.FAILED, states.COMPLETE]


def test_a_machine_without_shared_memory_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    # What Python asks of Linux, which has them in /dev/shm.
    monkeypatch.setattr("multiprocessing.synchronize._multiprocessing.SemLock", refuse)
    with pytest.raises(UserError, match=r"^/dev/shm must be a .* \(No such file or directory\); "):
        local_runner.inspect(load_config("digits"), tmp_path / "run")
    assert not (tmp_path / "run" / "pipeline_root").exists()


def damaged(whole: bytes, damage: str) -> bytes:
    if damage == "overwritten":
        return whole[:8192] + b"?" * 4096 + whole[12288:]
    return b"no database" * 500 if damage == "other file" else whole[:8192]


@pytest.mark.parametrize("damage", ["other file", "cut off", "overwritten"])
def test_damaged_metadata_are_moved_aside_with_all_artifacts(tmp_path: Path, damage: str) -> None:
    where, file = places(tmp_path), tmp_path / "metadata.sqlite"
    close_interrupted(where)
    content = damaged(file.read_bytes(), damage)
    file.write_bytes(content)
    artifact = tmp_path / "pipeline_root" / "Transform" / "transform_graph" / "5"
    artifact.mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        set_aside_damaged(where)
    line = str(caught.value)
    assert line.startswith(f"{file} must be the metadata of the runs here, but is damaged (")
    assert "run again to begin anew (what was pushed stays)" in line and "\n" not in line
    (database,) = tmp_path.glob("metadata.sqlite.damaged-*")
    (root,) = tmp_path.glob("pipeline_root.damaged-*")
    assert database.read_bytes() == content and str(database) in line and str(root) in line
    assert (root / artifact.relative_to(where.pipeline_root)).is_dir()
    # The next run does not stumble over it.
    set_aside_damaged(where)
    close_interrupted(where)
    assert [*Path(where.pipeline_root).iterdir()] == []


def test_metadata_that_are_damaged_during_a_run_are_moved_aside(tmp_path: Path) -> None:
    where, file = places(tmp_path), tmp_path / "metadata.sqlite"
    close_interrupted(where)

    def fail() -> None:
        file.write_bytes(damaged(file.read_bytes(), "overwritten"))
        raise RuntimeError("database disk image is malformed")

    with pytest.raises(DataError, match=f"^{file} must be"), damage_mended("digits", where):
        fail()
    assert not file.exists()


@pytest.mark.parametrize("left", [None, b""])
def test_artifacts_whose_metadata_are_gone_are_not_written_into(
    tmp_path: Path, left: bytes | None
) -> None:
    """The new database would number its executions as the old one did."""
    where = places(tmp_path)
    if left is not None:
        (tmp_path / "metadata.sqlite").write_bytes(left)
    stale = tmp_path / "pipeline_root" / "ExampleGen" / "examples" / "1"
    stale.mkdir(parents=True)
    set_aside_damaged(where)
    assert not stale.exists() and [*tmp_path.glob("pipeline_root.damaged-*/ExampleGen/*/1")]


def test_whole_metadata_and_what_is_no_artifact_stay(tmp_path: Path) -> None:
    where = places(tmp_path)
    (tmp_path / "pipeline_root").mkdir()
    (tmp_path / "pipeline_root" / "preflight.json").touch()
    set_aside_damaged(where)
    close_interrupted(where)
    (tmp_path / "pipeline_root" / "ExampleGen" / "examples" / "1").mkdir(parents=True)
    set_aside_damaged(where)
    assert not [*tmp_path.glob("*.damaged-*")]


def test_metadata_that_cannot_be_opened_are_one_clear_line(tmp_path: Path) -> None:
    where, file = places(tmp_path), tmp_path / "metadata.sqlite"
    file.mkdir()
    set_aside_damaged(where)
    with pytest.raises(DataError) as caught:
        close_interrupted(where)
    line = str(caught.value)
    assert line.startswith(f"{file} must be the metadata of the runs here, but cannot be read (")
    assert line.endswith(" away to begin anew (what was pushed stays)") and "\n" not in line


def test_two_runs_at_once_do_not_share_a_directory(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(UserError, match="must not be in use"):
        local_runner.run(load_config("digits"), tmp_path)
    assert not (tmp_path / "metadata.sqlite").exists()


def folder_config(root: Path, classes: dict[str, list[str]]) -> PipelineConfig:
    for name, files in classes.items():
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_bytes(b"not looked at yet")
    return load_config(
        "digits",
        [
            "data={source: image_folder, path: "
            + str(root)
            + ", features: {image: {kind: image, size: 8}}}"
        ],
    )


@pytest.mark.slow
def test_the_runner_file_of_the_tfx_command_does_not_share_it_either(tmp_path: Path) -> None:
    output = tmp_path / "runs" / "digits"
    output.mkdir(parents=True)
    with exclusive(output):
        done = subprocess.run(
            [sys.executable, ROOT / "pipeline" / "local_runner.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and "must not be in use" in done.stderr.splitlines()[-1]
    assert not (output / "metadata.sqlite").exists()


def test_preflight_accepts_what_can_be_run(tmp_path: Path) -> None:
    check_places(load_config("digits"))
    check_places(folder_config(tmp_path, {"a": ["1.png"], "b": ["1.jpg"]}))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "has no class sub-folder; add a sub-folder of images per class"),
        ({"a": ["1.png"]}, "has only the class 'a'; add a sub-folder of images per class"),
        (
            {"a": ["1.png"], "b": ["1.txt"]},
            "/b' holds no .png, .jpg, .jpeg, .webp, .bmp, .gif file; add images or remove the "
            "folder",
        ),
    ],
    ids=["no class", "one class", "empty class"],
)
def test_preflight_refuses_data(tmp_path: Path, classes: Any, message: str) -> None:
    config = folder_config(tmp_path, classes)
    with pytest.raises(DataError) as caught:
        check_places(config)
    assert str(caught.value).startswith("data.path")
    assert str(caught.value).endswith(message)


def test_preflight_refuses_a_folder_that_is_gone(tmp_path: Path) -> None:
    config = folder_config(tmp_path / "gone", {"a": ["1.png"], "b": ["1.png"]})
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"data\.path must be an existing directory"):
        check_places(config)


# A builder of the user's, with what is wrong with it.
BUILDERS = """
import keras

def two_logits(inputs, output):
    inputs = keras.Input(inputs["image"].shape, dtype="uint8", name="image")
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))

def other_input(inputs, output):
    inputs = keras.Input((4, 4, 1), dtype="uint8", name="image")
    return keras.Model(inputs, keras.layers.Dense(output.size)(keras.layers.Flatten()(inputs)))
"""


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("{model: resnet50}", ModelError, "ResNet50 needs images of at least 32x32"),
        (
            "{model: cnn_tutorial, parameters: {filters: [4, 4, 4, 4]}}",
            ModelError,
            "model 'cnn_tutorial' with parameters {'filters': [4, 4, 4, 4]} cannot be built for "
            "image (image [8, 8, 1]) and 10 outputs: ",
        ),
        (
            "{model: 'preflight_builders:two_logits'}",
            ModelError,
            "model 'preflight_builders:two_logits' must return logits of shape (None, 10), one "
            "for each class of the data, but returns (None, 2); end it with Dense(10)",
        ),
        (
            "{model: 'preflight_builders:other_input'}",
            ModelError,
            "model 'preflight_builders:other_input' must take image as uint8 of shape "
            "(None, 8, 8, 1), but takes uint8 of shape (None, 4, 4, 1); ",
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
        check_places(config)
    assert str(caught.value).startswith(f"{role}: {message}")
    assert "\n" not in str(caught.value)


HINT = "name: hint, student_layer: {}, teacher_layer: {}"


@pytest.mark.parametrize(
    ("student_layer", "teacher_layer", "message"),
    [
        (
            "feature",
            "features",
            "distill.methods.0.student_layer must name a layer of separable_cnn, got 'feature'; "
            "its layers: features, ",
        ),
        (
            "features",
            "stage1",
            "distill.methods.0.teacher_layer must name a layer of resnet_small, got 'stage1'; its "
            "layers: stage",
        ),
    ],
    ids=["student", "teacher"],
)
def test_an_unknown_layer_ends_the_run_before_it_begins(
    tmp_path: Path, student_layer: str, teacher_layer: str, message: str
) -> None:
    hint = HINT.format(student_layer, teacher_layer)
    config = load_config("digits", ["distill.soft_targets=online", f"distill.methods=[{{{hint}}}]"])
    with pytest.raises(ConfigError) as caught:
        local_runner.run(config, tmp_path / "run")
    found = str(caught.value)
    assert found.startswith(message)
    assert "\n" not in found
    # Those without a name of their own are counted after the semicolon, not listed.
    candidates = found.split("its layers: ")[1].split("; ")[0].split(", ")
    assert {"features", "logits"} <= set(candidates)
    assert len(candidates) == len(set(candidates))
    assert not (tmp_path / "run").exists()


def test_features_of_different_rank_end_the_run_before_it_begins(tmp_path: Path) -> None:
    hint = HINT.format("features", "stage1_block1")
    config = load_config("digits", ["distill.soft_targets=online", f"distill.methods=[{{{hint}}}]"])
    with pytest.raises(ConfigError, match="cannot be projected to teacher features"):
        local_runner.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_next_generation_must_have_the_teachers_layers(tmp_path: Path) -> None:
    """The student teaches then, and has no `stage1_block1`."""
    hint = HINT.format("block1", "stage1_block1")
    online = ["distill.soft_targets=online", f"distill.methods=[{{{hint}}}]"]
    check_places(load_config("digits", online))
    with pytest.raises(ConfigError) as caught:
        check_places(load_config("digits", [*online, "distill.generations=2"]))
    assert str(caught.value).startswith(
        "distill.methods.0.teacher_layer must name a layer of separable_cnn, got 'stage1_block1'"
    )


def test_an_assistant_must_have_the_layers_of_both_its_sides() -> None:
    """As a student `block1`, as a teacher `stage1_block1`; no built-in model has both."""
    hint = HINT.format("block1", "stage1_block1")
    online = ["distill.soft_targets=online", f"distill.methods=[{{{hint}}}]"]
    assistant = "distill.assistants=[{model: separable_cnn}]"
    with pytest.raises(ConfigError) as caught:
        check_places(load_config("digits", [*online, assistant]))
    assert str(caught.value).startswith(
        "distill.methods.0.teacher_layer must name a layer of separable_cnn, got 'stage1_block1'"
    )
    with pytest.raises(ConfigError) as caught:
        check_places(load_config("digits", [*online, "distill.assistants=[{model: resnet_small}]"]))
    assert str(caught.value).startswith(
        "distill.assistants.0: distill.methods.0.student_layer must name a layer of resnet_small"
    )


def test_a_run_that_cannot_succeed_does_not_begin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config("digits", ["student={model: resnet50}"])
    with caplog.at_level(logging.INFO, "tfx_distill"), pytest.raises(ModelError):
        local_runner.run(config, tmp_path / "run")
    assert "checking data and models" in caplog.messages
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_training_that_crashed_is_taken_up_again(miniature_run: Any) -> None:
    """In its second generation, by a signal as native code sends it: the first stays trained."""
    epochs = 15
    command = [
        COMMAND,
        *arguments_of(
            miniature_run,
            f"student.train={{epochs: {epochs}, patience: {epochs}, learning_rate: 0.001}}",
            "distill={control: false, generations: 2}",
        ),
    ]
    resume = miniature_run.output / "pipeline_root" / "Distiller" / "resume"
    assert not list(resume.glob("*/*"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as killed:
        try:
            deadline = time.monotonic() + 300
            while not list(resume.glob("*/generation_2/state.npz")):
                assert killed.poll() is None, "the run ended before its first checkpoint"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (work,) = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
            os.kill(int(work), signal.SIGSEGV)
            shown = killed.communicate(timeout=60)[1].decode()
        finally:
            killed.kill()
    assert killed.returncode == 128 + signal.SIGSEGV
    last = shown.splitlines()[-1]
    assert last.startswith(
        "error: Distiller: the process was ended by SIGSEGV (Segmentation fault)"
    )
    assert f"messages are in {miniature_run.output / 'run.log'}, and the same command goes" in last

    log = miniature_run.output / "run.log"
    before = log.stat().st_size
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    said = log.read_bytes()[before:].decode()
    again = [line for line in said.splitlines() if "taken up again" in line]
    first, second = (int(line.split("epoch ")[1]) for line in again)
    assert 1 <= second < first == epochs
    assert said.count(f"epoch {epochs}/{epochs}") == 1
    assert not list(resume.glob("*"))  # it is published
    # What was whole is not done again.
    rows = [row.split() for row in done.stderr.splitlines()]
    for node in ("ExampleGen", "Transform", "TeacherTrainer", "SoftTargets"):
        assert [node, "cached"] in rows
