"""The compiled pipeline, executed container by container, against the local runner's.

What is compiled differs from the local run in everything that a run may set; the run sets it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp_backend
import pytest
from checkout import ROOT as REPOSITORY
from kfp_backend import Backend, Image, Run

pytestmark = [pytest.mark.thorough, pytest.mark.slow, pytest.mark.e2e]

# Where Kubeflow Pipelines keep artifacts unless they are told otherwise.
ROOT = "minio://mlpipeline/v2/artifacts"
LOCAL_EPOCHS, LOCAL_TEMPERATURE = 3, 4.0
COMPILED = (
    "runtime.image=registry.example/tfx-distill:1.0.0",
    f"runtime.pipeline_root={ROOT}",
    "student.train.epochs=1",
    "distill.temperature=9",
    "push.destination=gs://bucket/pushed",
)
FROM_THE_CACHE = {
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "TeacherTrainer",
    "Control",
    "SoftTargets",
}


def means_taken_out(data: dict[str, Any]) -> dict[str, float]:
    """Of all features; Beam adds in another order each time, so the last digit is left to it."""
    return {
        f"{split}.{feature['name']}": mean
        for split, content in data["splits"].items()
        for feature in content["features"]
        if (mean := feature.pop("mean")) is not None
    }


@dataclass
class Cluster:
    """A backend with the compiled miniature; `before` is called before every attempt."""

    job: kfp_backend.Job
    directory: Path
    before: Callable[[str, int], None] = lambda task, number: None
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        from pipeline.clusters.container import DIRECTORIES_VARIABLE

        places = "minio://={disk}/minio/,s3://={disk}/s3/"
        self.backend = Backend(
            self.directory / "cluster",
            image=Image(environment={"PYTHONPATH": str(REPOSITORY), DIRECTORIES_VARIABLE: places}),
            observer=lambda task, number: self.before(task, number),
            sleep=self.slept.append,
        )

    def run(self, **parameters: Any) -> Run:
        return self.backend.run(self.job, parameters=parameters)

    def report(self, run: Run) -> dict[str, Any]:
        uri = run.tasks["Evaluator"].outputs.artifacts["evaluation"].uri
        return json.loads((self.backend.path(uri) / "report.json").read_text())


@pytest.fixture(scope="module")
def cluster(miniature_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    from pipeline.clusters.compilation import compile_pipeline

    text = compile_pipeline(miniature_run.config(*COMPILED), "kubeflow")
    return Cluster(kfp_backend.parse(text), tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def pushed(cluster: Cluster) -> Path:
    return cluster.directory / "pushed"


@pytest.fixture(scope="module")
def run(cluster: Cluster, pushed: Path) -> Run:
    """What the local run has done, with its values as parameters."""
    done = cluster.run(
        epochs=LOCAL_EPOCHS, temperature=LOCAL_TEMPERATURE, push_destination=str(pushed)
    )
    assert done.state == "SUCCEEDED", done.problems()
    return done


@pytest.fixture(scope="module")
def report(cluster: Cluster, run: Run) -> dict[str, Any]:
    return cluster.report(run)


@pytest.fixture(scope="module")
def local_report(miniature_run: Any) -> dict[str, Any]:
    path = Path(miniature_run.uris["Evaluator.evaluation"], "report.json")
    return json.loads(path.read_text())


def test_every_node_runs_once_in_a_container_of_its_own(run: Run) -> None:
    assert set(run.states.values()) == {"SUCCEEDED"}
    assert FROM_THE_CACHE | {"Distiller", "Exporter", "Evaluator", "Pusher"} == set(run.states)
    assert [len(record.attempts) for record in run.tasks.values()] == [1] * len(run.tasks)


def test_it_reports_what_the_local_run_reports(
    report: dict[str, Any], local_report: dict[str, Any]
) -> None:
    roles = ("teacher", "student", "control")
    for name in ("accuracy", "parameters"):
        found = {role: report[role][name] for role in roles}
        assert found == {role: local_report[role][name] for role in roles}
    for name in ("loss", "ece"):
        found = {role: report[role][name] for role in roles}
        assert found == pytest.approx({role: local_report[role][name] for role in roles}, rel=1e-4)
    accuracies = {name: each["accuracy"] for name, each in report["variants"].items()}
    assert accuracies == {name: each["accuracy"] for name, each in local_report["variants"].items()}
    assert report["confusion"] == local_report["confusion"]
    found, local = report["data"], local_report["data"]
    assert means_taken_out(found) == pytest.approx(means_taken_out(local), rel=1e-12)
    assert found == local


def test_the_gate_comes_to_the_same_verdict(
    report: dict[str, Any], local_report: dict[str, Any]
) -> None:
    def verdicts(gate: dict[str, Any]) -> list[tuple[Any, ...]]:
        keys = ("name", "variant", "threshold", "verdict", "passed", "counts")
        return [tuple(check[key] for key in keys) for check in gate["checks"]]

    assert verdicts(report["gate"]) == verdicts(local_report["gate"])
    assert report["gate"]["blessed"] is local_report["gate"]["blessed"] is True
    assert report["gate"]["verdict"] == local_report["gate"]["verdict"]


def test_the_report_shows_what_was_run_and_not_what_was_compiled(
    report: dict[str, Any], run: Run, pushed: Path
) -> None:
    config = report["config"]
    assert config["student"]["train"]["epochs"] == LOCAL_EPOCHS
    assert config["distill"]["temperature"] == LOCAL_TEMPERATURE
    assert len(report["curves"]["student"]["loss"]) == LOCAL_EPOCHS
    assert run.tasks["Distiller"].parameter("temperature") == LOCAL_TEMPERATURE
    assert run.tasks["Pusher"].parameter("run_destination") == str(pushed)


def only_version(directory: Path) -> Path:
    (version,) = directory.iterdir()
    return version


@pytest.mark.usefixtures("run")
def test_what_was_judged_is_pushed(pushed: Path, report: dict[str, Any]) -> None:
    saved_model, tflite = only_version(pushed / "saved_model"), only_version(pushed / "tflite")
    assert saved_model.name == tflite.name
    assert (saved_model / "saved_model.pb").is_file()
    manifest = json.loads((tflite / "manifest.json").read_text())
    digest = hashlib.sha256((tflite / "model.tflite").read_bytes()).hexdigest()
    assert digest == manifest["sha256"] == report["variants"][manifest["variant"]]["sha256"]
    assert [manifest["variant"]] == report["gate"]["tflite"]


def test_the_blessing_and_the_push_are_told_to_the_engine(run: Run, pushed: Path) -> None:
    from kfp_backend.values import to_python

    def metadata(task: str, key: str) -> dict[str, Any]:
        fields = run.tasks[task].outputs.artifacts[key].metadata.fields
        return {name: to_python(value) for name, value in fields.items()}

    blessing = metadata("Evaluator", "blessing")
    assert blessing["blessed"] == 1
    # Where an executor was given a local copy, others are told the URL.
    assert blessing["current_model"] == run.tasks["Distiller"].outputs.artifacts["model"].uri
    version = only_version(pushed / "saved_model")
    assert metadata("Pusher", "pushed_model")["pushed_destination"] == str(version)


@pytest.fixture(scope="module")
def changed(cluster: Cluster, run: Run) -> Run:
    """Another temperature, and a destination that becomes good after a first attempt."""
    assert run.state == "SUCCEEDED"
    blocked = cluster.directory / "blocked"
    blocked.write_text("a file where a directory has to be")

    def repair(task: str, number: int) -> None:
        if (task, number) == ("Pusher", 2):
            blocked.unlink()

    cluster.before = repair
    return cluster.run(
        epochs=LOCAL_EPOCHS, temperature=2.0, push_destination=str(blocked / "pushed")
    )


def test_another_temperature_concerns_the_student_alone(
    changed: Run, run: Run, cluster: Cluster
) -> None:
    assert changed.state == "SUCCEEDED", changed.problems()
    assert {name for name, state in changed.states.items() if state == "CACHED"} == FROM_THE_CACHE
    assert changed.tasks["Distiller"].parameter("temperature") == 2.0
    assert cluster.report(changed)["config"]["distill"]["temperature"] == 2.0
    students = [each.tasks["Distiller"].outputs.artifacts["model"] for each in (run, changed)]
    weights = [
        {
            path.name: path.read_bytes()
            for path in cluster.backend.path(student.uri).rglob("*.data-*")
        }
        for student in students
    ]
    assert weights[0].keys() == weights[1].keys() != set()
    assert weights[0] != weights[1]


def test_a_node_that_fails_is_tried_again(changed: Run, cluster: Cluster) -> None:
    record = changed.tasks["Pusher"]
    assert [attempt.returncode for attempt in record.attempts] == [1, 0]
    policy = cluster.job.spec.root.dag.tasks["Pusher"].retry_policy
    assert record.waits == cluster.slept == [policy.backoff_duration.seconds]
    failed = record.attempts[0].log.read_text()
    assert str(cluster.directory / "blocked") in failed
    assert only_version(cluster.directory / "blocked" / "pushed" / "tflite").is_dir()
