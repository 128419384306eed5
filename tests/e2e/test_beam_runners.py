"""The Beam nodes compute the same wherever their workers are.

ExampleGen, StatisticsGen, Transform, SoftTargets and the Evaluator's TFMA are run as Beam's runners
run them: in this process (the reference, in which SoftTargets does without Beam), by the
multi-processing runner, and by the portable runner, which hands the job to a job service in a
process of its own. In the last two cases the workers are processes that know nothing but what Beam
sends them, as on Dataflow, Flink and Spark.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from beam_clusters import flink_cluster, lacking, spark_cluster
from beam_outputs import assert_the_same
from checkout import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WORKER_MODULE = "apache_beam.runners.worker.sdk_worker_main"
# Beam starts it in the place of Python; it tells who became a worker.
WORKER = """#!/bin/sh
case "$*" in *{module}*) echo $$ >> {log} ;; esac
exec {python} "$@"
"""
STAGES = ("ExampleGen", "StatisticsGen", "Transform", "SoftTargets", "Evaluator")


@dataclass
class Run:
    """Executors of the graph's Beam nodes under one runner, and where they wrote."""

    directory: Path
    nodes: dict[str, Any]
    arguments: list[str]
    executed: list[str] = field(default_factory=list)

    def execute(self, node: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        """Run a node's executor with its own properties; returns its artifacts by key."""
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

        made = {}
        for key, artifact_type in outputs.items():
            made[key] = artifact_type()
            made[key].uri = str(self.directory / node / key)
            Path(made[key].uri).mkdir(parents=True)
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=list(self.arguments),
            tmp_dir=str(self.directory / "tmp"),
            unique_id="1",
        )
        component = self.nodes[node]
        component.executor_class(context).Do(
            {key: [artifact] for key, artifact in inputs.items()},
            {key: [artifact] for key, artifact in made.items()},
            dict(component.properties),
        )
        self.executed.append(node)
        return made


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Sixty images of three classes, with one more feature to slice by."""
    import tensorflow as tf

    from pipeline.config import load_config

    root = tmp_path_factory.mktemp("images")
    pixels, rows = np.random.default_rng(0), ["file_name,camera"]
    for number in range(60):
        name = f"{'abc'[number % 3]}/{number:02}.png"
        (root / name).parent.mkdir(exist_ok=True)
        image = pixels.integers(0, 256, (10, 12, 1), dtype=np.uint8)
        (root / name).write_bytes(tf.io.encode_png(image).numpy())
        rows.append(f"{name},{'old' if number % 2 else 'new'}")
    (root / "metadata.csv").write_text("\n".join(rows))
    features = {"image": {"kind": "image", "size": 8, "channels": 1}}
    data = {
        "source": "image_folder",
        "path": str(root),
        "features": features,
        "eval_fraction": 0.4,
    }
    return load_config(
        "digits",
        [
            f"data={json.dumps(data)}",
            "evaluate={slices: [class_name, camera], top_k: [2]}",
            "teacher={model: separable_cnn, parameters: {filters: [8]}}",
        ],
    )


@pytest.fixture(scope="module")
def nodes(config: Any) -> dict[str, Any]:
    """Executor classes and execution properties of the pipeline's nodes, as an image has them."""
    from tfx.components.evaluator import executor as tfx_evaluator
    from tfx.utils import proto_utils

    from components.evaluator.tfma_config import tfma_config
    from modules.data.spec import OutputSpec
    from pipeline.graph import Places, create_pipeline

    found = {}
    places = Places("/artifacts", "/pushed", beam_soft_targets=True)
    for component in create_pipeline(config, places).components:
        found[component.id] = SimpleNamespace(
            executor_class=component.executor_spec.executor_class,
            properties=dict(component.spec.exec_properties),
        )
    # All that our Evaluator does with Beam is to call this executor with this configuration.
    found["Evaluator"].executor_class = tfx_evaluator.Executor
    found["Evaluator"].properties["eval_config"] = proto_utils.proto_to_json(
        tfma_config(config.evaluate, OutputSpec(task="classification", size=3))
    )
    return found


@pytest.fixture(scope="module")
def reference(
    config: Any, nodes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """Everything computed in this process, and the untrained models that are judged."""
    from components.soft_targets.executor import Executor
    from pipeline.beam_arguments import beam_arguments

    directory = tmp_path_factory.mktemp("in_memory")
    alone = SimpleNamespace(executor_class=Executor, properties=nodes["SoftTargets"].properties)
    run = Run(
        directory,
        nodes | {"SoftTargets": alone},
        beam_arguments(config.runtime, "local", str(directory)),
    )
    made = run_stages(run, None, lambda examples, graph: export_models(directory, graph.uri))
    return SimpleNamespace(run=run, **made)


def run_stages(run: Run, given: Any, models: Callable[..., Any]) -> dict[str, Any]:
    """All Beam nodes of a run, each on the reference's inputs (`given`) or on the run's own."""
    from tfx.types import standard_artifacts as artifacts

    from components.artifacts import TeacherLogits

    examples = run.execute("ExampleGen", {}, {"examples": artifacts.Examples})["examples"]
    source = given.examples if given else examples
    statistics = run.execute(
        "StatisticsGen", {"examples": source}, {"statistics": artifacts.ExampleStatistics}
    )["statistics"]
    if given:
        schema = given.schema
    else:
        schema = run.execute("SchemaGen", {"statistics": statistics}, {"schema": artifacts.Schema})[
            "schema"
        ]
    transformed = run.execute(
        "Transform",
        {"examples": source, "schema": schema, "statistics": statistics},
        {
            "transform_graph": artifacts.TransformGraph,
            "transformed_examples": artifacts.Examples,
            "updated_analyzer_cache": artifacts.TransformCache,
        },
    )
    student, teacher = models(source, transformed["transform_graph"])
    # Its files mirror those of the examples, of which every runner makes its own number.
    answered = given.__dict__ if given else transformed
    soft_targets = run.execute(
        "SoftTargets",
        {
            "examples": answered["transformed_examples"],
            "transform_graph": answered["transform_graph"],
            "teachers": teacher,
        },
        {"soft_targets": TeacherLogits},
    )["soft_targets"]
    evaluation = run.execute(
        "Evaluator",
        {"examples": source, "model": student, "baseline_model": teacher},
        {"evaluation": artifacts.ModelEvaluation},
    )["evaluation"]
    return {
        "examples": examples,
        "statistics": statistics,
        "schema": schema,
        "models": (student, teacher),
        "soft_targets": soft_targets,
        "evaluation": evaluation,
        **transformed,
    }


def export_models(directory: Path, graph: str) -> tuple[Any, Any]:
    """Student and teacher as the Trainers leave them, but untrained."""
    import keras
    from tfx.types import standard_artifacts

    from modules.data.spec import read_spec
    from modules.export import saved_model
    from modules.models import zoo
    from modules.settings import ModelSettings

    made, spec = [], read_spec(graph)
    for seed, name in enumerate(("student", "teacher")):
        keras.utils.set_random_seed(seed)
        settings = ModelSettings(model="separable_cnn", parameters={"filters": [4 + 4 * seed]})
        model = zoo.build_model(settings, spec.by_name, spec.output)
        artifact = standard_artifacts.Model()
        artifact.uri = str(directory / name)
        saved_model.export(model, settings, graph, f"{artifact.uri}/Format-Serving")
        made.append(artifact)
    return made[0], made[1]


@dataclass
class Workers:
    """The program that stands for Python where Beam starts a worker, and the workers it became."""

    command: Path
    log: Path

    def started(self) -> set[int]:
        """Process ids of the workers so far."""
        return {int(line) for line in self.log.read_text().split()} if self.log.exists() else set()


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    made = Workers(tmp_path / "python", tmp_path / "workers")
    made.command.write_text(
        WORKER.format(module=WORKER_MODULE, log=made.log, python=sys.executable)
    )
    made.command.chmod(0o755)
    return made


@pytest.fixture
def job_service(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Beam's job service in a process of its own; gone with its workers afterwards."""
    port_file, log = tmp_path / "port", tmp_path / "job_service.log"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"),
                *("--port=0", f"--port_file={port_file}", f"--staging_dir={tmp_path / 'staged'}"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        while not port_file.exists() or not port_file.read_text().strip():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        port = port_file.read_text().strip()
        yield SimpleNamespace(endpoint=f"localhost:{port}", pid=process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def elsewhere(
    config: Any, nodes: dict[str, Any], reference: Any, directory: Path, beam: dict[str, Any]
) -> tuple[Run, SimpleNamespace]:
    """The same nodes under another runner."""
    from modules.settings import BeamSettings
    from pipeline.beam_arguments import beam_arguments

    runtime = config.runtime.model_copy(
        update={
            "beam": {"local": BeamSettings.model_validate(beam)},
            "image": "registry/tfx-distill:1",
        }
    )
    run = Run(directory, nodes, beam_arguments(runtime, "local", str(directory)))
    made = run_stages(run, reference, lambda examples, graph: reference.models)
    return run, SimpleNamespace(**made)


@pytest.mark.thorough
def test_workers_of_the_multi_processing_runner_compute_the_same(
    config: Any, nodes: Any, reference: Any, workers: Workers, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "executable", str(workers.command))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    beam = {"runner": "multi_processing", "workers": 2}
    run, made = elsewhere(config, nodes, reference, tmp_path / "run", beam)
    assert run.executed == list(STAGES)
    # Two for every Beam pipeline, and every node has at least one.
    assert len(workers.started()) >= 2 * len(STAGES)
    assert os.getpid() not in workers.started()
    assert_the_same(made, reference)


@pytest.mark.thorough
def test_workers_behind_a_job_service_compute_the_same(
    config: Any, nodes: Any, reference: Any, workers: Workers, job_service: Any, tmp_path: Path
) -> None:
    beam = {
        "runner": "portable",
        "options": [
            f"--job_endpoint={job_service.endpoint}",
            "--environment_type=beam:env:harness_subprocess_python:v1",
            f"--environment_config={workers.command} -m {WORKER_MODULE}",
        ],
    }
    run, made = elsewhere(config, nodes, reference, tmp_path / "run", beam)
    assert run.executed == list(STAGES)
    assert len(workers.started()) >= len(STAGES)
    assert not workers.started() & {os.getpid(), job_service.pid}
    # The image has the packages: a job must not bring its own to install.
    assert not list((tmp_path / "staged").rglob("*.tar.gz"))
    assert_the_same(made, reference)


@pytest.mark.real
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cluster", [flink_cluster, spark_cluster])
def test_clusters_compute_the_same(
    config: Any, nodes: Any, reference: Any, cluster: Any, tmp_path: Path
) -> None:
    if lack := lacking():
        pytest.skip(f"two hosts need {lack}")
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as (options, pools):
        beam = {"runner": "portable", "options": options}
        run, made = elsewhere(config, nodes, reference, tmp_path / "run", beam)
    assert run.executed == list(STAGES)
    # Both hosts had something to do.
    assert all("Starting worker" in log.read_text() for log in pools)
    assert_the_same(made, reference)
