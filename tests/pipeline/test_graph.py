"""The graph: which nodes there are, what waits for what, where the student goes."""

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from modules.code_digest import code_digest
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

# What every node takes: {input key: (producer, output key)}.
EDGES = {
    "ExampleGen": {},
    "StatisticsGen": {"examples": ("ExampleGen", "examples")},
    "SchemaGen": {"statistics": ("StatisticsGen", "statistics")},
    "ExampleValidator": {
        "statistics": ("StatisticsGen", "statistics"),
        "schema": ("SchemaGen", "schema"),
    },
    "Transform": {
        "examples": ("ExampleGen", "examples"),
        "schema": ("SchemaGen", "schema"),
        "statistics": ("StatisticsGen", "statistics"),
    },
    "TeacherTrainer": {
        "examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
    },
    "SoftTargets": {
        "examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
        "teachers": ("TeacherTrainer", "model"),
    },
    "Control": {
        "examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
    },
    "Distiller": {
        "examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
        "teachers": ("TeacherTrainer", "model"),
        "soft_targets": ("SoftTargets", "soft_targets"),
    },
    "Exporter": {
        "model": ("Distiller", "model"),
        "teacher_model": ("TeacherTrainer", "model"),
        "raw_examples": ("ExampleGen", "examples"),
        "examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
    },
    "Evaluator": {
        "examples": ("ExampleGen", "examples"),
        "transformed_examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
        "model": ("Distiller", "model"),
        "baseline_model": ("TeacherTrainer", "model"),
        "control_model": ("Control", "model"),
        "tflite": ("Exporter", "tflite"),
        "statistics": ("StatisticsGen", "statistics"),
        "anomalies": ("ExampleValidator", "anomalies"),
        "teacher_run": ("TeacherTrainer", "model_run"),
        "student_run": ("Distiller", "model_run"),
        "control_run": ("Control", "model_run"),
    },
    "Pusher": {
        "model": ("Distiller", "model"),
        "model_blessing": ("Evaluator", "blessing"),
        "tflite": ("Exporter", "tflite"),
        "evaluation": ("Evaluator", "evaluation"),
    },
}


def graph(tmp_path: Path, *overrides: str) -> Pipeline:
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    places = Places(str(tmp_path / "root"), str(tmp_path / "pushed"), connection)
    return create_pipeline(load_config("digits", overrides), places)


def edges(pipeline: Pipeline) -> dict[str, dict[str, tuple[str, str]]]:
    return {
        node.id: {
            key: (channel.producer_component_id, channel.output_key)
            for key, channel in node.inputs.items()
        }
        for node in pipeline.components
    }


def given_by(node: Any, key: str) -> list[tuple[str, str]]:
    """Producer and output key of every channel of a compiled node's input, in order."""
    return [
        (channel.producer_node_query.id, channel.output_key)
        for channel in node.inputs.inputs[key].channels
    ]


def compiled(pipeline: Pipeline) -> dict[str, Any]:
    """The nodes of the pipeline in the form that runners execute."""
    nodes = (node.pipeline_node for node in Compiler().compile(pipeline).nodes)
    return {node.node_info.id: node for node in nodes}


def push_directory(pipeline: Pipeline) -> str:
    (pusher,) = (node for node in pipeline.components if node.id == "Pusher")
    destination = json.loads(pusher.exec_properties["push_destination"])
    return destination["filesystem"]["base_directory"]


def test_nodes_and_what_they_take(tmp_path: Path) -> None:
    assert edges(graph(tmp_path)) == EDGES


def test_transform_waits_for_the_validator(tmp_path: Path) -> None:
    nodes = compiled(graph(tmp_path))
    assert "ExampleValidator" in nodes["Transform"].upstream_nodes
    assert "Transform" in nodes["ExampleValidator"].downstream_nodes


def test_every_node_comes_after_those_it_takes_from(tmp_path: Path) -> None:
    nodes = list(compiled(graph(tmp_path)).items())
    assert {name for name, _ in nodes} == set(EDGES)
    done: set[str] = set()
    for name, node in nodes:
        assert done.issuperset(node.upstream_nodes)
        done.add(name)


def test_without_control_there_is_no_such_node_nor_input(tmp_path: Path) -> None:
    pipeline = graph(tmp_path, "distill.control=false", "gate={min_accuracy: 0.5}")
    expected = {name: dict(inputs) for name, inputs in EDGES.items() if name != "Control"}
    del expected["Evaluator"]["control_model"], expected["Evaluator"]["control_run"]
    assert edges(pipeline) == expected
    nodes = compiled(pipeline)
    assert "Control" not in nodes
    assert "control_model" not in nodes["Evaluator"].inputs.inputs
    assert "control_model" in compiled(graph(tmp_path))["Evaluator"].inputs.inputs


def test_online_soft_targets_are_not_computed_before(tmp_path: Path) -> None:
    pipeline = graph(tmp_path, "distill.soft_targets=online")
    expected = {name: dict(inputs) for name, inputs in EDGES.items() if name != "SoftTargets"}
    del expected["Distiller"]["soft_targets"]
    assert edges(pipeline) == expected
    nodes = compiled(pipeline)
    assert set(nodes) == set(expected)
    assert "soft_targets" not in nodes["Distiller"].inputs.inputs
    assert given_by(nodes["Distiller"], "teachers") == [("TeacherTrainer", "model")]


MORE_TEACHERS = (
    "more_teachers=[{model: separable_cnn, weight: 3, parameters: {filters: [4]}}, "
    "{model: cnn_tutorial, weight: 0.5}]"
)
TEACHERS = ["TeacherTrainer", "TeacherTrainer-2", "TeacherTrainer-3"]


@pytest.mark.parametrize("soft_targets", ["cached", "online"])
def test_all_teachers_reach_the_student_in_order(tmp_path: Path, soft_targets: str) -> None:
    nodes = compiled(graph(tmp_path, MORE_TEACHERS, f"distill.soft_targets={soft_targets}"))
    assert [name for name in nodes if name.startswith("TeacherTrainer")] == TEACHERS
    takers = {"Distiller", "SoftTargets"} if soft_targets == "cached" else {"Distiller"}
    for name in takers:
        for key, teacher in zip(("teachers", "teachers_2", "teachers_3"), TEACHERS, strict=True):
            assert given_by(nodes[name], key) == [(teacher, "model")]
        assert "teachers_4" not in nodes[name].inputs.inputs
        assert set(TEACHERS) <= set(nodes[name].upstream_nodes)
    assert ("SoftTargets" in nodes) == (soft_targets == "cached")


def test_every_teacher_has_its_own_settings_and_its_share(tmp_path: Path) -> None:
    pipeline = graph(tmp_path, MORE_TEACHERS, "teacher.weight=2")
    configs = {
        node.id: json.loads(node.exec_properties["custom_config"])
        for node in pipeline.components
        if "custom_config" in node.exec_properties and node.id != "Transform"
    }
    models = [configs[name]["model"]["model"] for name in TEACHERS]
    assert models == ["resnet_small", "separable_cnn", "cnn_tutorial"]
    assert configs["Distiller"]["teacher_weights"] == [2.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("seed", "seeds"), [(0, [0, 1, 2]), (2**32 - 2, [2**32 - 2, 2**32 - 1, 0])]
)
def test_teachers_alike_begin_with_other_weights(
    tmp_path: Path, seed: int, seeds: list[int]
) -> None:
    alike = "more_teachers=[{model: separable_cnn}, {model: separable_cnn}]"
    pipeline = graph(tmp_path, alike, f"seed={seed}")
    configs = {node.id: node.exec_properties.get("custom_config") for node in pipeline.components}
    assert [json.loads(configs[name])["seed"] for name in TEACHERS] == seeds
    for name in ("Distiller", "Control"):
        assert json.loads(configs[name])["seed"] == seed


@pytest.mark.parametrize("quantization", ["post", "aware"])
def test_student_and_control_are_trained_for_int8_alike(tmp_path: Path, quantization: str) -> None:
    pipeline = graph(tmp_path, f"export.quantization={quantization}")
    configs = {node.id: node.exec_properties.get("custom_config") for node in pipeline.components}
    names = ("TeacherTrainer", "Distiller", "Control")
    aware = {name: json.loads(configs[name])["quantization_aware"] for name in names}
    expected = quantization == "aware"
    assert aware == {"TeacherTrainer": False, "Distiller": expected, "Control": expected}


def test_the_first_teacher_alone_is_the_baseline(tmp_path: Path) -> None:
    nodes = compiled(graph(tmp_path, MORE_TEACHERS))
    for name in ("Exporter", "Evaluator", "Pusher", "Control"):
        taken = {key: given_by(nodes[name], key) for key in nodes[name].inputs.inputs}
        assert taken == {key: [source] for key, source in EDGES[name].items()}
    for name in TEACHERS:
        taken = {key: given_by(nodes[name], key) for key in nodes[name].inputs.inputs}
        assert taken == {key: [source] for key, source in EDGES["TeacherTrainer"].items()}


def test_the_student_goes_where_the_runner_says(tmp_path: Path) -> None:
    assert push_directory(graph(tmp_path)) == str(tmp_path / "pushed")


def test_the_configured_destination_wins(tmp_path: Path) -> None:
    assert push_directory(graph(tmp_path, "push.destination=/srv/models")) == "/srv/models"


def test_pipeline_is_the_configurations(tmp_path: Path) -> None:
    places = Places(str(tmp_path / "root"), "/pushed", beam_arguments=["--direct_num_workers=2"])
    pipeline = create_pipeline(load_config("digits", ["name=mine"]), places)
    assert pipeline.pipeline_info.pipeline_name == "mine"
    assert pipeline.pipeline_info.pipeline_root == str(tmp_path / "root")
    assert pipeline.enable_cache is True
    assert pipeline.beam_pipeline_args == ["--direct_num_workers=2"]


def test_all_nodes_that_run_the_project_s_code_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TFX's cache knows executors and module files by their names alone."""

    def properties() -> dict[str, str]:
        nodes = graph(tmp_path, "distill.alpha=auto", MORE_TEACHERS).components
        return {node.id: json.dumps(node.exec_properties) for node in nodes}

    before = properties()
    assert set(before) == {*EDGES, *TEACHERS, "Search"}
    # As if a file had changed.
    monkeypatch.setattr("modules.code_digest._SUFFIXES", (".py",))
    after, digest = properties(), code_digest()
    changed = {name for name in before if before[name] != after[name]}
    # The executor of StatisticsGen is TFX's own.
    assert changed == set(before) - {"StatisticsGen"}
    assert all(digest in after[name] for name in changed)


def test_the_evaluator_gets_the_whole_configuration(tmp_path: Path) -> None:
    (evaluator,) = (node for node in graph(tmp_path).components if node.id == "Evaluator")
    config = json.loads(evaluator.exec_properties["config"])
    assert config == json.loads(load_config("digits").model_dump_json())


def evaluator_of(pipeline: Pipeline) -> Any:
    (evaluator,) = (node for node in pipeline.components if node.id == "Evaluator")
    return evaluator


def test_the_winner_of_a_search_is_told_to_the_evaluator(tmp_path: Path) -> None:
    pipeline = graph(tmp_path, "distill.alpha=auto")
    told = edges(pipeline)["Evaluator"]
    assert told["hyperparameters"] == ("Search", "best_hyperparameters")
    assert told["search"] == ("Search", "tuner_results")


def test_the_evaluator_looks_at_the_destination_only_if_the_gate_asks(tmp_path: Path) -> None:
    assert evaluator_of(graph(tmp_path)).exec_properties["compare_with_pushed"] == ""
    limit = "gate.limits=[{number: student.accuracy, against: pushed, min: -0.01}]"
    asking = graph(tmp_path, limit)
    assert evaluator_of(asking).exec_properties["compare_with_pushed"] == str(tmp_path / "pushed")


# -- teachers that exist already --


def test_a_teacher_that_is_asked_has_no_model_to_export_or_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_oracle.py").write_text("def answer(features): ...")
    (tmp_path / "t.keras").write_bytes(b"one")
    monkeypatch.syspath_prepend(str(tmp_path))
    more = f"more_teachers=[{{keras_file: {tmp_path}/t.keras}}, {{model: separable_cnn}}]"
    pipeline = graph(tmp_path, "teacher={function: 'their_oracle:answer'}", more)
    found = edges(pipeline)
    models = {
        "teachers_2": ("TeacherImporter-2", "model"),
        "teachers_3": ("TeacherTrainer-3", "model"),
    }
    asked = {"answers": ("AnswerCollector", "answers")}
    taught = {key: EDGES["Distiller"][key] for key in ("examples", "transform_graph")}
    transformed = {
        "transformed_examples": ("Transform", "transformed_examples"),
        "transform_graph": ("Transform", "transform_graph"),
    }
    assert found["AnswerCollector"] == {**transformed, "examples": ("ExampleGen", "examples")}
    assert found["TeacherImporter-2"] == transformed
    assert found["SoftTargets"] == {**taught, **asked, **models}
    # Here the models alone are of use, and only if they taught online.
    assert found["Distiller"] == {
        **taught,
        "teachers": models["teachers_2"],
        "teachers_2": models["teachers_3"],
        "soft_targets": ("SoftTargets", "soft_targets"),
    }
    assert "teacher_model" not in found["Exporter"]
    evaluator = found["Evaluator"]
    assert evaluator["teacher_answers"] == ("AnswerCollector", "answers")
    assert not {"baseline_model", "teacher_run"} & set(evaluator)
    before = digests(pipeline)
    (tmp_path / "t.keras").write_bytes(b"two")
    (tmp_path / "their_oracle.py").write_text("def answer(features): return 1")
    after = digests(graph(tmp_path, "teacher={function: 'their_oracle:answer'}", more))
    assert len(before) == 2
    assert all(before[name] != after[name] for name in before)


def digests(pipeline: Pipeline) -> dict[str, str]:
    """What the cache knows of teachers from outside, by node."""
    return {
        node.id: node.exec_properties["teacher_digest"]
        for node in pipeline.components
        if "teacher_digest" in node.exec_properties
    }


def trained(pipeline: Pipeline) -> dict[str, Any]:
    """What the Trainers are told, by node."""
    configs = {node.id: node.exec_properties.get("custom_config") for node in pipeline.components}
    return {name: json.loads(configs[name]) for name in ("TeacherTrainer", "Distiller", "Control")}


def test_files_that_models_begin_with_are_in_the_key_and_may_vanish(tmp_path: Path) -> None:
    weights = tmp_path / "backbone.weights.h5"
    weights.write_bytes(b"one")
    (tmp_path / "root").mkdir()
    teacher = f"teacher={{model: resnet50, parameters: {{weights: {weights}}}}}"
    before = trained(graph(tmp_path, teacher))
    weights.write_bytes(b"two")
    after = trained(graph(tmp_path, teacher))
    assert before["TeacherTrainer"] != after["TeacherTrainer"]
    assert before["Distiller"] == after["Distiller"] and before["Control"] == after["Control"]
    weights.unlink()
    assert trained(graph(tmp_path, teacher)) == after


def test_nodes_that_load_models_know_which(tmp_path: Path) -> None:
    (tmp_path / "t.onnx").write_bytes(b"")
    nodes = {
        node.id: node.exec_properties
        for node in graph(
            tmp_path,
            "teacher.parameters={widths: [8, 16]}",
            f"more_teachers=[{{onnx: {tmp_path}/t.onnx}}, {{model: cnn_tutorial}}]",
            "search={students: [{parameters: {filters: [4]}}, {model: cnn_tutorial}]}",
        ).components
    }
    teacher = {"model": "resnet_small", "parameters": {"widths": [8, 16]}, "others": []}
    tutorial = {"model": "cnn_tutorial", "parameters": {}, "others": []}
    student, exported = json.loads(nodes["Exporter"]["models"])
    assert exported == teacher
    assert student["model"] == "separable_cnn"
    small = {"model": "separable_cnn", "parameters": {"filters": [4]}, "others": []}
    assert student["others"] == [small, tutorial]
    assert json.loads(nodes["SoftTargets"]["models"]) == [teacher, None, tutorial]
    told = json.loads(nodes["Distiller"]["custom_config"])["teacher_models"]
    assert told == [teacher, tutorial]
