"""Trainers as CustomJobs: TFX's runner and Google's client against a service on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from compiled_specs import IMAGE, compiled, constants, containers_of
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform_v1.services.job_service import JobServiceClient
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceRestTransport
from google.cloud.aiplatform_v1.types import CustomJob, JobState
from tfx import types
from tfx.extensions.google_cloud_ai_platform import runner, training_clients
from tfx.types import artifact_utils, standard_artifacts

from components.artifacts import TeacherLogits
from pipeline.clusters.custom_job import Executor

PARENT = "projects/acme/locations/europe-west4"
VERTEX = (
    "runtime.vertex={project: acme, region: europe-west4, service_account: trainer@acme, "
    "network: projects/1/global/networks/n, labels: {team: vision}}"
)
POOLS = (
    "runtime.resources.trainer={replicas: 3, machine_type: n1-standard-8, spot: true, cpu: 4, "
    "accelerator: NVIDIA_TESLA_T4, accelerator_count: 2, timeout_minutes: 90}"
)


class Service(ThreadingHTTPServer):
    """Accepts CustomJobs, whose state is then `state`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: list[CustomJob] = []
        self.state = JobState.JOB_STATE_SUCCEEDED


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        assert self.path.partition("?")[0] == f"/v1/{PARENT}/customJobs"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        job = CustomJob.from_json(body.decode(), ignore_unknown_fields=False)
        job.name = f"{PARENT}/customJobs/{len(self.server.jobs)}"
        self.server.jobs.append(job)
        self._answer(job)

    def do_GET(self) -> None:
        job = self.server.jobs[-1]
        assert self.path.partition("?")[0] == f"/v1/{job.name}"
        job.state = self.server.state
        self._answer(job)

    def _answer(self, job: CustomJob) -> None:
        body = CustomJob.to_json(job).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    def create_client(client: Any) -> None:
        assert client._region == "europe-west4"
        transport = JobServiceRestTransport(
            host=f"127.0.0.1:{server.server_port}",
            credentials=AnonymousCredentials(),
            url_scheme="http",
        )
        client._client = JobServiceClient(transport=transport)

    server = Service()
    monkeypatch.setattr(training_clients.VertexJobClient, "create_client", create_client)
    monkeypatch.setattr(runner, "_POLLING_INTERVAL_IN_SECONDS", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def spec() -> Any:
    return compiled("vertex", VERTEX, POOLS)


def artifacts() -> tuple[dict[str, list[types.Artifact]], dict[str, list[types.Artifact]]]:
    def at(kind: type, uri: str) -> list[types.Artifact]:
        artifact = kind()
        artifact.uri = uri
        return [artifact]

    inputs = {
        "teachers": at(standard_artifacts.Model, "gs://bucket/teacher"),
        "soft_targets": at(TeacherLogits, "gs://bucket/soft"),
    }
    return inputs, {"model": at(standard_artifacts.Model, "gs://bucket/model")}


def test_trainers_alone_start_jobs(spec: Any) -> None:
    launched = set()
    for name, container in containers_of(*spec).items():
        path = container.args[list(container.args).index("--executor_class_path") + 1]
        if path == "pipeline.clusters.custom_job.Executor":
            launched.add(name)
            # The job has the machines and the time limit; the node only waits.
            assert not container.HasField("resources")
            assert list(container.command) == ["python", "-m", "pipeline.clusters.container"]
    assert launched == {"TeacherTrainer", "Distiller", "Control"}
    assert containers_of(*spec)["SoftTargets"].resources.accelerator.count == 2


def test_the_job_is_what_the_configuration_says(spec: Any, service: Service) -> None:
    given = constants(spec[0].root.dag.tasks["Distiller"])
    inputs, outputs = artifacts()
    Executor().Do(inputs, outputs, {**given, "epochs": 3, "alpha": 0.25})
    (job,) = service.jobs
    assert job.display_name == "digits-training"
    assert job.labels["team"] == "vision"
    assert job.job_spec.service_account == "trainer@acme"
    assert job.job_spec.network == "projects/1/global/networks/n"
    assert job.job_spec.scheduling.strategy.name == "SPOT"
    assert job.job_spec.scheduling.timeout.total_seconds() == 90 * 60
    assert [pool.replica_count for pool in job.job_spec.worker_pool_specs] == [1, 2]
    for pool in job.job_spec.worker_pool_specs:
        assert pool.machine_spec.machine_type == "n1-standard-8"
        assert pool.machine_spec.accelerator_type.name == "NVIDIA_TESLA_T4"
        assert pool.machine_spec.accelerator_count == 2
        assert pool.container_spec.image_uri == IMAGE


def test_each_machine_runs_the_nodes_own_executor(spec: Any, service: Service) -> None:
    given = constants(spec[0].root.dag.tasks["Distiller"])
    inputs, outputs = artifacts()
    Executor().Do(inputs, outputs, {**given, "epochs": 3})
    command = list(service.jobs[0].job_spec.worker_pool_specs[1].container_spec.command)
    assert command[:3] == ["python", "-m", "tfx.scripts.run_executor"]
    flags = dict(zip(command[3::2], command[4::2], strict=True))
    assert flags["--executor_class_path"] == "components.training.TrainerExecutor"
    properties = json.loads(flags["--exec-properties"])
    assert properties["epochs"] == 3
    assert properties["module_path"] == "modules.distill_trainer"
    # Other machines are no other training: a saved state is found again.
    plain = constants(compiled("vertex")[0].root.dag.tasks["Distiller"])
    assert json.loads(properties["custom_config"]) == json.loads(plain["custom_config"])
    read = artifact_utils.parse_artifact_dict(flags["--inputs"])
    assert [type(each).__name__ for each in (*read["teachers"], *read["soft_targets"])] == [
        "Model",
        "TeacherLogits",
    ]
    assert read["soft_targets"][0].uri == "gs://bucket/soft"


def test_a_failed_job_fails_the_node(spec: Any, service: Service) -> None:
    service.state = JobState.JOB_STATE_FAILED
    given = constants(spec[0].root.dag.tasks["Control"])
    with pytest.raises(RuntimeError, match="JOB_STATE_FAILED"):
        Executor().Do(*artifacts(), given)


def test_one_machine_of_a_type_of_its_own_is_one_pool() -> None:
    spec = compiled("vertex", VERTEX, "runtime.resources.trainer.machine_type=n1-highmem-8")
    config = json.loads(constants(spec[0].root.dag.tasks["Control"])["custom_config"])
    job = config["custom_job"]["args"]["job_spec"]
    assert [pool["replica_count"] for pool in job["worker_pool_specs"]] == [1]
    assert "scheduling" not in job
