"""The compiled file is valid by the published messages, and says what the configuration says."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compiled_specs import (
    GIVEN,
    IMAGE,
    ROOT,
    compiled,
    constants,
    containers_of,
    from_outside,
    parsed,
    text,
)
from google.protobuf import json_format
from kfp import components as kfp_components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from modules.code_digest import code_digest
from pipeline.clusters.compilation import compile_pipeline
from pipeline.clusters.engines import cautions
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline

ENGINES = ("kubeflow", "vertex")
MORE_TEACHERS = "more_teachers=[{model: separable_cnn}, {model: cnn_tutorial}]"
SEARCH = "distill.alpha=auto"
IMAGE_FEATURE = "features: {image: {kind: image, size: 8}}"
FOLDER = f"data={{source: image_folder, path: gs://bucket/images, {IMAGE_FEATURE}}}"


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    return {engine: text(engine) for engine in ENGINES}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def spec(texts: dict[str, str], engine: str) -> Any:
    return parsed(engine, texts[engine])[0]


@pytest.fixture
def containers(texts: dict[str, str], engine: str) -> dict[str, Any]:
    return containers_of(*parsed(engine, texts[engine]))


# -- the file --


def test_kubeflow_pipelines_loads_the_file(texts: dict[str, str]) -> None:
    component = kfp_components.load_component_from_text(texts["kubeflow"])
    assert component.name == "digits"
    assert set(component.component_spec.inputs) == {
        "alpha", "epochs", "push_destination", "temperature",
    }  # fmt: skip
    assert yaml.safe_load(texts["kubeflow"])["schemaVersion"] == "2.1.0"


def test_vertex_is_told_where_artifacts_go(texts: dict[str, str]) -> None:
    job = json.loads(texts["vertex"])
    assert job["runtimeConfig"]["gcsOutputDirectory"] == ROOT
    assert job["displayName"] == job["pipelineSpec"]["pipelineInfo"]["name"] == "digits"
    assert job["pipelineSpec"]["defaultPipelineRoot"] == ROOT


@pytest.mark.parametrize(
    "overrides",
    [(), (MORE_TEACHERS, SEARCH), ("distill.control=false", "gate={min_accuracy: 0.5}")],
)
def test_the_graph_is_the_local_one(engine: str, overrides: tuple[str, ...]) -> None:
    tasks = compiled(engine, *overrides)[0].root.dag.tasks
    local = create_pipeline(load_config("digits", overrides), Places("/artifacts", "/pushed"))
    assert {
        name: {
            key: (
                value.task_output_artifact.producer_task,
                value.task_output_artifact.output_artifact_key,
            )
            for key, value in task.inputs.artifacts.items()
        }
        for name, task in tasks.items()
    } == {
        node.id: {
            key: (channel.producer_component_id, channel.output_key)
            for key, channel in node.inputs.items()
        }
        for node in local.components
    }
    assert {name: set(task.dependent_tasks) for name, task in tasks.items()} == {
        node.id: {upstream.id for upstream in node.upstream_nodes} for node in local.components
    }


def test_argo_accepts_every_name() -> None:
    names = compiled("kubeflow", MORE_TEACHERS, SEARCH)[0].root.dag.tasks
    assert "TeacherTrainer-2" in names
    assert all(name.replace("-", "").isalnum() for name in names)


@pytest.mark.thorough
@pytest.mark.slow
def test_other_processes_compile_the_same_bytes(texts: dict[str, str], tmp_path: Path) -> None:
    settings = [part for given in GIVEN for part in ("--set", given)]
    for seed, engine in enumerate(ENGINES):
        file = tmp_path / engine
        command = ["compile", "--engine", engine, "-o", str(file), *settings, "digits"]
        done = subprocess.run(
            [sys.executable, "-c", "from pipeline.cli.main import main; main()", *command],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{file}: pipeline digits for {engine}\n"
        assert file.read_text() == texts[engine]


# -- containers and their code --


def test_the_image_has_the_code(
    spec: Any, containers: dict[str, Any], tmp_path: Path, engine: str
) -> None:
    for name, container in containers.items():
        assert container.image == IMAGE
        assert list(container.command) == ["python", "-m", "pipeline.clusters.container"]
        executor = container.args[list(container.args).index("--executor_class_path") + 1]
        module, _, class_name = executor.rpartition(".")
        assert hasattr(importlib.import_module(module), class_name)
        given = constants(spec.root.dag.tasks[name])
        assert "module_file" not in given
        if path := given.get("module_path"):
            assert path.startswith("modules.")
            assert hasattr(importlib.import_module(path), "run_fn")
    with_module = {
        name for name in containers if "module_path" in constants(spec.root.dag.tasks[name])
    }
    assert with_module == {"TeacherTrainer", "Distiller", "Control"}
    path = constants(spec.root.dag.tasks["Transform"])["preprocessing_fn"]
    module, _, function = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


def test_nothing_is_written_at_compile_time(engine: Any, tmp_path: Path) -> None:
    # A root that exists: TFX puts wheels of module files there, if it builds any.
    config = load_config("digits", [*GIVEN])
    from pipeline.clusters.compilation import ClusterRunner, engine_pipeline

    runtime = config.runtime.model_copy(update={"pipeline_root": str(tmp_path)})
    config = config.model_copy(update={"runtime": runtime})
    ClusterRunner(config, engine).run(engine_pipeline(config, engine), write_out=False)
    assert list(tmp_path.iterdir()) == []


def test_a_new_image_invalidates_the_cache_of_all_our_code(spec: Any) -> None:
    for name, task in spec.root.dag.tasks.items():
        ours = name != "StatisticsGen"
        assert (code_digest() in json.dumps(constants(task))) == ours, name


# -- run parameters --


def test_run_parameters_have_the_configured_values(spec: Any) -> None:
    parameters = spec.root.input_definitions.parameters
    kinds = pipeline_spec_pb2.ParameterType
    assert {
        name: (each.parameter_type, json_format.MessageToDict(each.default_value))
        for name, each in parameters.items()
    } == {
        "temperature": (kinds.NUMBER_DOUBLE, 4.0),
        "alpha": (kinds.NUMBER_DOUBLE, 0.1),
        "epochs": (kinds.NUMBER_INTEGER, 60),
        "push_destination": (kinds.STRING, f"{ROOT}/pushed"),
    }
    assert all(each.is_optional for each in parameters.values())


def test_each_parameter_reaches_those_that_obey_it(engine: str) -> None:
    tasks = compiled(engine, SEARCH, FOLDER)[0].root.dag.tasks
    student = {name: name for name in ("alpha", "epochs", "temperature")}
    taken = {name: from_outside(task) for name, task in tasks.items()}
    assert {name: each for name, each in taken.items() if each} == {
        "ExampleGen": {"input_base": "data_path"},
        "Search": student,
        "Distiller": student,
        "Control": {"epochs": "epochs"},
        "Evaluator": student | {"data_path": "data_path", "push_destination": "push_destination"},
        "Pusher": {"run_destination": "push_destination"},
    }


def test_the_files_of_a_table_keep_their_pattern(engine: str) -> None:
    changes = "data={source: csv, path: 'gs://bucket/days/*.csv', label: y}"
    spec, _ = compiled(engine, changes)
    default = spec.root.input_definitions.parameters["data_path"].default_value
    assert default.string_value == "gs://bucket/days"
    assert '"*.csv"' in constants(spec.root.dag.tasks["ExampleGen"])["input_config"]


def test_the_pushs_own_destination_is_the_default(engine: str) -> None:
    parameters = compiled(engine, "push.destination=gs://else/where")[0].root.input_definitions
    assert parameters.parameters["push_destination"].default_value.string_value == "gs://else/where"


# -- caching, retries, timeouts --


def uncached(spec: Any) -> set[str]:
    tasks = spec.root.dag.tasks.items()
    return {name for name, task in tasks if not task.caching_options.enable_cache}


def test_what_looks_at_the_destination_is_not_cached(spec: Any, engine: str) -> None:
    assert uncached(spec) == {"Pusher"}
    against = "gate.limits=[{number: student.accuracy, against: pushed, min: -0.01}]"
    assert uncached(compiled(engine, against)[0]) == {"Pusher", "Evaluator"}


def test_files_are_looked_at_before_the_cache_on_vertex_alone() -> None:
    spec, deployment = compiled("vertex", FOLDER)
    assert uncached(spec) == {"Pusher"}
    container = containers_of(spec, deployment)["ExampleGen"]
    assert "{{$}}" in container.lifecycle.pre_cache_check.args
    assert uncached(compiled("kubeflow", FOLDER)[0]) == {"Pusher", "ExampleGen"}


def test_a_query_is_compiled(engine: str) -> None:
    query = "SELECT x, y FROM `project.set.table`"
    spec, deployment = compiled(engine, f"data={{source: bigquery, query: '{query}', label: y}}")
    assert "data_path" not in spec.root.input_definitions.parameters
    given = constants(spec.root.dag.tasks["ExampleGen"])
    (split,) = json.loads(given["input_config"])["splits"]
    assert split["pattern"] == query
    assert query in given["custom_config"]
    args = list(containers_of(spec, deployment)["ExampleGen"].args)
    assert "components.example_gen.executor.Executor" in args
    # No tables are watched, so a run is served the rows that another one has read.
    assert uncached(spec) == {"Pusher"}


def test_embedded_data_are_found_in_the_image(engine: str) -> None:
    changes = "data={source: parquet, path: 'embedded:segments.parquet', label: category}"
    content = text(engine, changes)
    spec, _ = parsed(engine, content)
    assert uncached(spec) == {"Pusher"}
    assert "data_path" not in spec.root.input_definitions.parameters
    example_gen = str(spec.root.dag.tasks["ExampleGen"])
    assert "embedded:segments.parquet" in example_gen
    assert os.getcwd() not in content
    assert not any(
        "data.path" in each for each in cautions(load_config("digits", [changes]), engine)
    )


def test_every_task_is_tried_again(spec: Any) -> None:
    for task in spec.root.dag.tasks.values():
        assert task.retry_policy.max_retry_count == 2
        assert task.retry_policy.backoff_duration.seconds > 0


def test_a_long_training_is_tried_again_on_kubeflow() -> None:
    """Argo's limit counts from the beginning of the first try, whatever that was busy with."""
    longest = compiled("kubeflow")[0].root.dag.tasks["TeacherTrainer"].retry_policy
    assert longest.backoff_max_duration.ToTimedelta().days >= 14


def test_retries_and_timeouts_are_each_roles(engine: str) -> None:
    spec, deployment = compiled(
        engine,
        "runtime.resources.default={retries: 0, timeout_minutes: 10}",
        "runtime.resources.trainer.retries=5",
        "runtime.resources.evaluator={timeout_minutes: null}",
    )
    retries = {
        name: task.retry_policy.max_retry_count
        for name, task in spec.root.dag.tasks.items()
        if task.HasField("retry_policy")
    }
    assert retries == dict.fromkeys(["TeacherTrainer", "SoftTargets", "Distiller", "Control"], 5)
    for name, container in containers_of(spec, deployment).items():
        limited = ["timeout", "--kill-after=60", "600"] * (name not in ("Evaluator", "Exporter"))
        assert list(container.command) == [*limited, "python", "-m", "pipeline.clusters.container"]


# -- resources --

RESOURCES = (
    "runtime.resources={{default: {{cpu: 1.5, memory: 4Gi}}, "
    "trainer: {{memory: 16Gi, accelerator: {}, accelerator_count: 2, spot: true}}}}"
)


def test_vertex_takes_its_own_names_and_numbers() -> None:
    containers = containers_of(*compiled("vertex", RESOURCES.format("NVIDIA_TESLA_T4")))
    trainer = containers["Distiller"].resources
    assert (trainer.cpu_limit, trainer.resource_cpu_limit) == (1.5, "1.5")
    assert trainer.memory_limit == pytest.approx(16 * 1.024**3)
    assert (trainer.accelerator.type, trainer.accelerator.count) == ("NVIDIA_TESLA_T4", 2)
    assert not containers["ExampleGen"].resources.HasField("accelerator")
    assert containers["ExampleGen"].resources.resource_memory_limit == "4Gi"


def test_kubeflow_takes_kubernetes_names_and_texts() -> None:
    content = text("kubeflow", RESOURCES.format("nvidia-tesla-t4"))
    containers = containers_of(*parsed("kubeflow", content))
    trainer = containers["TeacherTrainer"].resources
    assert (trainer.resource_cpu_limit, trainer.resource_memory_limit) == ("1.5", "16Gi")
    assert (trainer.cpu_limit, trainer.memory_limit) == (0, 0)
    assert trainer.accelerator.resource_type == "nvidia.com/gpu"
    assert trainer.accelerator.resource_count == "2"

    _, platform = yaml.safe_load_all(content)
    message = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = json_format.MessageToDict(message.platforms["kubernetes"].deployment_spec)
    assert set(executors["executors"]) == {
        f"{name}_executor" for name in ("TeacherTrainer", "SoftTargets", "Distiller", "Control")
    }
    placed = json_format.ParseDict(
        executors["executors"]["Control_executor"],
        kubernetes_executor_config_pb2.KubernetesExecutorConfig(),
    )
    assert dict(placed.node_selector.labels) == {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
        "cloud.google.com/gke-spot": "true",
    }
    assert [toleration.key for toleration in placed.tolerations] == [
        "nvidia.com/gpu",
        "cloud.google.com/gke-spot",
    ]
    kfp_components.load_component_from_text(content)


def test_any_gpu_of_a_cluster_needs_no_label() -> None:
    _, platform = yaml.safe_load_all(
        text("kubeflow", "runtime.resources.trainer.accelerator=amd.com/gpu")
    )
    control = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["Control_executor"]
    assert control == {
        "tolerations": [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    }


# -- runner files --


@pytest.mark.thorough
@pytest.mark.slow
def test_tfx_creates_the_pipeline_from_the_runner_file(tmp_path: Path) -> None:
    """The command as it stands, with a home of its own; it finds `pip` by the path."""
    config_file = tmp_path / "experiment.yaml"
    content = yaml.safe_load(Path("pipeline/presets/digits.yaml").read_text())
    content["runtime"] = {"image": IMAGE, "pipeline_root": ROOT}
    config_file.write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("tfx")), "pipeline", "create", "--engine=vertex",
            "--pipeline_path=pipeline/vertex_runner.py",
        ],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.getcwd(),
            "TFX_DISTILL_CONFIG": str(config_file),
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "YOUR_BUCKET" not in done.stderr
    created = tmp_path / "tfx" / "vertex" / "digits" / "pipeline.json"
    assert created.read_text() == compile_pipeline(load_config(str(config_file)), "vertex")


def test_a_runner_file_makes_up_what_a_deployment_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.clusters.runner_files import compile_here

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFX_DISTILL_CONFIG", raising=False)
    compile_here("kubeflow")
    spec, _ = parsed("kubeflow", Path("digits.yaml").read_text())
    assert spec.default_pipeline_root == "gs://YOUR_BUCKET/tfx-distill"
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in warnings if line.startswith("warning: runtime.")] == [
        "runtime.image",
        "runtime.pipeline_root",
    ]


def test_a_runner_file_refuses_as_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.clusters.runner_files import compile_here

    monkeypatch.setenv("TFX_DISTILL_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SystemExit) as ended:
        compile_here("vertex")
    assert ended.value.code == 2
    assert "is neither a preset" in capsys.readouterr().err
