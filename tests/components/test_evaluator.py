"""The Evaluator: its wiring, and its results in a real run counted a second time."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from ai_edge_litert.interpreter import Interpreter
from tfx import types
from tfx.components.evaluator import component as tfx_component
from tfx.types import standard_artifacts

from components.artifacts import TFLiteModels
from components.evaluator.component import Evaluator, EvaluatorInputs
from components.evaluator.executor import Executor
from components.evaluator.tfma_config import slice_numbers, tfma_config
from modules.data.spec import OutputSpec
from modules.judge import evaluation
from modules.report.files import read_report
from modules.settings import EvaluateSettings

INPUTS = {
    "examples": standard_artifacts.Examples,
    "transformed_examples": standard_artifacts.Examples,
    "transform_graph": standard_artifacts.TransformGraph,
    "model": standard_artifacts.Model,
    "baseline_model": standard_artifacts.Model,
    "control_model": standard_artifacts.Model,
    "tflite": TFLiteModels,
    "statistics": standard_artifacts.ExampleStatistics,
    "anomalies": standard_artifacts.ExampleAnomalies,
    "teacher_run": standard_artifacts.ModelRun,
    "student_run": standard_artifacts.ModelRun,
    "control_run": standard_artifacts.ModelRun,
    "hyperparameters": standard_artifacts.HyperParameters,
}
SAVED_MODELS = {"teacher": "TeacherTrainer", "student": "Distiller", "control": "Control"}


@pytest.fixture(scope="session")
def evaluated(miniature_run: Any) -> Path:
    return Path(miniature_run.uris["Evaluator.evaluation"])


@pytest.fixture(scope="session")
def report(evaluated: Path) -> dict[str, Any]:
    return json.loads((evaluated / "report.json").read_text())


@pytest.fixture(scope="session")
def raw_eval(miniature_run: Any, read_examples: Any) -> list[Any]:
    return read_examples(f"{miniature_run.uris['ExampleGen.examples']}/Split-eval")


@pytest.fixture(scope="session")
def truth(raw_eval: list[Any]) -> np.ndarray:
    return np.array([each.features.feature["label"].int64_list.value[0] for each in raw_eval])


@pytest.fixture(scope="session")
def saved_model_answers(miniature_run: Any, raw_eval: list[Any]) -> dict[str, np.ndarray]:
    """The class that each SavedModel chooses for each eval example; it is sent the image alone."""
    requests = [
        tf.train.Example(
            features=tf.train.Features(feature={"image": each.features.feature["image"]})
        ).SerializeToString()
        for each in raw_eval
    ]
    answers = {}
    for role, node in SAVED_MODELS.items():
        model = tf.saved_model.load(f"{miniature_run.uris[f'{node}.model']}/Format-Serving")
        output = model.signatures["serving_default"](examples=tf.constant(requests))
        np.testing.assert_allclose(
            output["probabilities"], tf.nn.softmax(output["logits"]), atol=1e-6
        )
        answers[role] = output["logits"].numpy().argmax(axis=1)
    return answers


@pytest.mark.slow
def test_accuracy_is_what_the_saved_models_score(
    report: dict[str, Any], saved_model_answers: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    counted = {
        role: float((answer == truth).mean()) for role, answer in saved_model_answers.items()
    }
    assert {role: report[role]["accuracy"] for role in counted} == pytest.approx(counted)
    assert report["examples"]["eval"] == len(truth)
    # Different models, or the roles could be mixed up unseen.
    assert counted["teacher"] != counted["student"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic_range", "int8"])
def test_accuracy_is_what_the_tflite_files_score(
    miniature_run: Any, report: dict[str, Any], read_examples: Any, variant: str
) -> None:
    entry = report["variants"][variant]
    file = Path(miniature_run.uris["Exporter.tflite"], entry["file"])
    assert file.parts[-3:] == ("student", variant, "model.tflite")
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    examples = read_examples(f"{miniature_run.uris['Transform.transformed_examples']}/Split-eval")
    right = 0
    for example in examples:
        features = example.features.feature
        pixels = np.frombuffer(features["image"].bytes_list.value[0], np.uint8)
        interpreter.set_tensor(source["index"], pixels.reshape(1, 8, 8, 1))
        interpreter.invoke()
        answer = interpreter.get_tensor(sink["index"])[0].argmax()
        right += int(answer == features["label"].int64_list.value[0])
    assert entry["accuracy"] == pytest.approx(right / len(examples))


@pytest.mark.slow
def test_comparison_is_of_these_answers(
    report: dict[str, Any], saved_model_answers: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    teacher, student, control = (saved_model_answers[role] for role in SAVED_MODELS)
    right = {role: (answer == truth).mean() for role, answer in saved_model_answers.items()}
    comparison = report["comparison"]
    assert comparison["agreement"] == pytest.approx((teacher == student).mean())
    assert comparison["accuracy_change"] == pytest.approx(right["student"] - right["teacher"])
    assert comparison["distillation_gain"] == pytest.approx(right["student"] - right["control"])
    assert not np.array_equal(control, student)
    for entry in report["per_class"]:
        of_class = truth == int(entry["label"])
        assert entry["count"] == of_class.sum()
        share = (student[of_class] == truth[of_class]).mean()
        assert entry["student"]["accuracy"] == pytest.approx(share)


@pytest.mark.slow
def test_sizes_are_those_of_the_files(miniature_run: Any, report: dict[str, Any]) -> None:
    for role, node in SAVED_MODELS.items():
        directory = Path(miniature_run.uris[f"{node}.model"], "Format-Serving")
        files = [path for path in directory.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files if path.parent.name != "assets.extra")
        assert report[role]["size_bytes"] == size
    exported = Path(miniature_run.uris["Exporter.tflite"])
    teacher_size = (exported / "teacher/float32/model.tflite").stat().st_size
    for entry in report["variants"].values():
        assert entry["size_bytes"] == (exported / entry["file"]).stat().st_size
        assert entry["compression"] == pytest.approx(teacher_size / entry["size_bytes"])


@pytest.mark.slow
def test_latency_is_measured_alike(report: dict[str, Any]) -> None:
    timed = [report["teacher"], report["student"], *report["variants"].values()]
    assert {(each["latency"]["runtime"], each["latency"]["threads"]) for each in timed} == {
        ("litert", 1)
    }
    assert report["control"]["latency"] is None
    assert report["student"]["latency"] == report["variants"]["float32"]["latency"]
    speedup = report["comparison"]["speedup"]
    assert 0 < speedup["ci_low"] <= speedup["median"] <= speedup["ci_high"]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_tfma_results_can_be_loaded_and_have_all_slices(
    evaluated: Path, report: dict[str, Any], role: str
) -> None:
    result = tfma.load_eval_result(str(evaluated), model_name=role)
    by_slice = {
        slice_key: {name: value["doubleValue"] for name, value in metrics[""][""].items()}
        for slice_key, metrics in result.slicing_metrics
    }
    assert set(by_slice) == {()} | {(("class_name", str(digit)),) for digit in range(10)}
    for entry in report["per_class"]:
        metrics = by_slice[(("class_name", entry["label"]),)]
        assert metrics["example_count"] == entry["count"]
        accuracy = entry[role]["accuracy"]
        assert metrics["sparse_categorical_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    overall = by_slice[()]
    assert overall["sparse_categorical_accuracy"] == pytest.approx(report[role]["accuracy"])
    loss = overall["sparse_categorical_crossentropy"]
    assert loss == pytest.approx(report[role]["loss"], abs=1e-3)
    assert overall["top_3_accuracy"] == pytest.approx(report[role]["top_k"]["3"], abs=1e-6)
    numbers = slice_numbers(result)
    assert numbers[()] == {
        "accuracy": overall["sparse_categorical_accuracy"],
        "loss": overall["sparse_categorical_crossentropy"],
        "top_k.3": overall["top_3_accuracy"],
    }
    assert set(numbers) == set(by_slice)


@pytest.mark.slow
def test_blessing_agrees_with_the_gate(miniature_run: Any, report: dict[str, Any]) -> None:
    """The artifact as TFX's own Pusher and Resolver read it."""
    blessing = miniature_run.blessing
    assert report["gate"]["blessed"] is True
    assert miniature_run.outcome.blessed is True
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED"]
    properties = blessing.custom_properties
    assert properties["blessed"].int_value == 1
    assert properties["current_model"].string_value == miniature_run.uris["Distiller.model"]
    assert properties["baseline_model"].string_value == miniature_run.uris["TeacherTrainer.model"]


@pytest.mark.slow
def test_report_holds_the_whole_configuration(miniature_run: Any, report: dict[str, Any]) -> None:
    assert report["config"] == json.loads(miniature_run.config().model_dump_json())
    assert report["push"]["tflite"] == "smallest"
    assert report["labels"] == [str(digit) for digit in range(10)]


@pytest.mark.slow
def test_report_can_be_read_and_has_its_table_beside_it(evaluated: Path) -> None:
    assert read_report(evaluated / "report.json").gate.blessed
    table = (evaluated / "report.md").read_text()
    for name in ("teacher", "student", "control", "TFLite float16", "TFLite int8"):
        assert f"| {name} " in table


@pytest.mark.slow
def test_slices_are_tfmas_with_our_intervals(
    report: dict[str, Any], saved_model_answers: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    slices = {each["slice"]["class_name"]: each for each in report["slices"]}
    assert set(slices) == set(report["labels"])
    for label, found in slices.items():
        of_class = truth == int(label)
        assert found["count"] == of_class.sum()
        right = {
            role: saved_model_answers[role][of_class] == int(label)
            for role in ("teacher", "student")
        }
        for role, each in right.items():
            assert found[role]["accuracy"] == pytest.approx(each.mean(), abs=1e-6)
            low, high = found[role]["intervals"]["accuracy"]
            assert low <= found[role]["accuracy"] + 1e-6 and found[role]["accuracy"] <= high + 1e-6
        change = found["student"]["against"]["teacher"]["accuracy"]
        expected = right["student"].mean() - right["teacher"].mean()
        assert change["value"] == pytest.approx(expected)
        assert change["low"] <= change["value"] <= change["high"]
    assert [each["count"] for each in report["slices"]] == sorted(
        (each["count"] for each in report["slices"]), reverse=True
    )


@pytest.mark.slow
def test_paired_changes_are_of_the_same_examples(
    report: dict[str, Any], saved_model_answers: dict[str, np.ndarray], truth: np.ndarray
) -> None:
    """Differences of shares would not notice a mixed-up order; the intervals do."""
    from modules.measure.intervals import paired_difference

    student, teacher = (saved_model_answers[role] == truth for role in ("student", "teacher"))
    found = report["student"]["against"]["teacher"]["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx(paired_difference(teacher, student, 0.95))
    # Nearly every answer of the float32 file is the student's own, so the interval is narrow.
    same = report["variants"]["float32"]["against"]["student"]["accuracy"]
    assert same["value"] == 0
    assert same["high"] - same["low"] < 0.05


@pytest.mark.slow
def test_confusion_and_disagreements_are_of_these_answers(
    report: dict[str, Any],
    saved_model_answers: dict[str, np.ndarray],
    truth: np.ndarray,
    raw_eval: list[Any],
) -> None:
    for role in ("teacher", "student"):
        matrix = np.zeros((10, 10), int)
        np.add.at(matrix, (truth, saved_model_answers[role]), 1)
        found = {
            (cell["label"], cell["predicted"]): cell["count"] for cell in report["confusion"][role]
        }
        assert found == {(i, j): matrix[i, j] for i, j in zip(*matrix.nonzero(), strict=True)}
    at = {
        example.features.feature["example_id"].bytes_list.value[0].decode(): index
        for index, example in enumerate(raw_eval)
    }
    assert report["disagreements"]
    for each in report["disagreements"]:
        index = at[each["example_id"]]
        assert each["label"] == truth[index]
        assert each["teacher"] == saved_model_answers["teacher"][index] != each["student"]
        assert each["student"] == saved_model_answers["student"][index]


@pytest.mark.slow
def test_report_tells_of_the_nodes_before(miniature_run: Any, report: dict[str, Any]) -> None:
    assert {role: len(curves["loss"]) for role, curves in report["curves"].items()} == {
        "teacher": 2,
        "student": 3,
        "control": 3,
    }
    assert "val_soft_target_loss" in report["curves"]["student"]
    assert "soft_target_loss" not in report["curves"]["control"]
    splits = report["data"]["splits"]
    assert splits["train"]["examples"] + splits["eval"]["examples"] == 1797
    assert splits["eval"]["classes"] == {
        each["label"]: each["count"] for each in report["per_class"]
    }
    assert report["data"]["anomalies"] == []
    uris = {each["role"]: each["uri"] for each in report["lineage"]["artifacts"]}
    assert uris["model"] == miniature_run.uris["Distiller.model"]
    assert uris["baseline_model"] == miniature_run.uris["TeacherTrainer.model"]


@pytest.mark.slow
def test_every_file_answers_in_a_fresh_process_as_judged(report: dict[str, Any]) -> None:
    fresh = {
        "teacher": report["teacher"]["fresh"],
        "student": report["student"]["fresh"],
        **{name: entry["fresh"] for name, entry in report["variants"].items()},
    }
    assert set(fresh["teacher"]) == {"saved_model", "litert"}
    assert set(fresh["student"]) == {"saved_model"}
    for found in fresh.values():
        for runtime, each in found.items():
            assert each["passed"], each["problem"]
            assert each["runtime"] == runtime and each["canaries"] == 16
            assert 0 < each["runtime_memory_bytes"] <= each["peak_memory_bytes"]


@pytest.mark.slow
def test_report_files_lie_beside_the_tfma_results(evaluated: Path) -> None:
    page = (evaluated / "index.html").read_text()
    assert page.startswith("<!DOCTYPE html>") or page.startswith("<!doctype html>")
    assert len(page) < 8_000_000
    assert (evaluated / "model_card.md").read_text().startswith("---")


def accuracies(student: float, teacher: float) -> Any:
    entries = {"student": student, "teacher": teacher}
    return SimpleNamespace(
        main="accuracy",
        **{role: SimpleNamespace(accuracy=value) for role, value in entries.items()},
    )


def overall(**numbers: float) -> dict[str, Any]:
    return {role: {(): {"accuracy": value}} for role, value in numbers.items()}


def test_the_same_number_by_two_ways() -> None:
    report = accuracies(student=1 / 3, teacher=0.9)
    evaluation.check_against_tfma(report, overall(student=float(np.float32(1 / 3)), teacher=0.9))


@pytest.mark.parametrize(
    ("role", "theirs"), [("student", {"student": 0.79}), ("teacher", {"teacher": 0.9001})]
)
def test_another_number_by_tfma_is_an_error(role: str, theirs: dict[str, float]) -> None:
    report = accuracies(student=0.8, teacher=0.9)
    with pytest.raises(RuntimeError, match=f"^{role} accuracy is 0.[89]00000 by our count but 0"):
        evaluation.check_against_tfma(report, overall(**theirs))


def test_errors_are_compared_in_their_own_size() -> None:
    entries = {role: SimpleNamespace(rmse=4321.0) for role in ("student", "teacher")}
    report = SimpleNamespace(main="rmse", **entries)
    close = {role: {(): {"rmse": 4321.02}} for role in entries}
    evaluation.check_against_tfma(report, close)
    with pytest.raises(RuntimeError, match="student rmse is 4321"):
        evaluation.check_against_tfma(report, close | {"student": {(): {"rmse": 4321.1}}})
    # What diverged is refused by the gate.
    diverged = SimpleNamespace(main="rmse", **dict.fromkeys(entries, SimpleNamespace(rmse=None)))
    evaluation.check_against_tfma(diverged, close)


def make_component(**replaced: Any) -> Evaluator:
    channels = {name: types.Channel(type=kind) for name, kind in INPUTS.items()}
    return Evaluator(
        inputs=EvaluatorInputs(**{**channels, **replaced}),
        evaluate=EvaluateSettings(),
        config="{}",
        compare_with_pushed="",
        code_digest="abc",
    )


def test_component_is_tfxs_with_our_channels() -> None:
    component = make_component()
    assert isinstance(component, tfx_component.Evaluator)
    assert component.id == "Evaluator"
    assert component.executor_spec.executor_class is Executor
    assert {name: channel.type for name, channel in component.inputs.items()} == INPUTS
    assert {name: channel.type for name, channel in component.outputs.items()} == {
        "evaluation": standard_artifacts.ModelEvaluation,
        "blessing": standard_artifacts.ModelBlessing,
    }
    properties = component.exec_properties
    assert (properties["config"], properties["code_digest"]) == ("{}", "abc")
    assert json.loads(properties["example_splits"]) == ["eval"]


def test_component_without_control_has_no_such_input() -> None:
    optional = {"control_model", "control_run", "hyperparameters"}
    expected = {name: kind for name, kind in INPUTS.items() if name not in optional}
    component = make_component(**dict.fromkeys(optional))
    assert {name: channel.type for name, channel in component.inputs.items()} == expected


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_component_refuses_another_artifact_type(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make_component(**{name: types.Channel(type=standard_artifacts.Schema)})


def test_tfma_compares_student_and_teacher_and_leaves_the_verdict_to_the_gate() -> None:
    config = tfma_config(EvaluateSettings(slices=(("class_name",), ("site", "light"))))
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [
        [],
        ["class_name"],
        ["site", "light"],
    ]
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [
        ("student", False),
        ("teacher", True),
    ]
    assert {spec.label_key for spec in config.model_specs} == {"label"}
    assert not any(
        metric.HasField("threshold") for spec in config.metrics_specs for metric in spec.metrics
    )


@pytest.mark.parametrize(("classes", "wanted"), [(None, {2, 5}), (5, {2}), (6, {2, 5}), (2, set())])
def test_an_answer_among_all_classes_is_not_asked_for(
    classes: int | None, wanted: set[int]
) -> None:
    output = classes and OutputSpec(task="classification", size=classes)
    config = tfma_config(EvaluateSettings(top_k=(2, 5)), output or None)
    found = {
        json.loads(each.config)["k"] for each in config.metrics_specs[0].metrics if each.config
    }
    assert found == wanted
