"""`tfx-distill pipeline` and `tfx-distill run` on Vertex AI: the real client, a local service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vertex_pipelines
import yaml
from click.testing import CliRunner, Result
from google.protobuf import json_format
from printed import answers, one_line
from small_spec import ROOT, spec, write_job, write_spec
from vertex_pipelines import Jobs

from pipeline.cli.main import main
from pipeline.clusters import vertex_client
from pipeline.config import PRESETS_DIR

# The client alone takes seconds to load.
pytestmark = pytest.mark.slow

PLACE = ("--project=acme", "--region=europe-west4")
VERTEX = {
    "project": "acme",
    "region": "europe-west4",
    "service_account": "runner@acme.iam.gserviceaccount.com",
    "network": "projects/12/global/networks/inner",
    "labels": {"team": "vision"},
    "caching": False,
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where definitions are kept."""
    monkeypatch.delenv("TFX_DISTILL_CONFIG", raising=False)
    monkeypatch.setenv("VERTEX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def service() -> Iterator[Jobs]:
    with vertex_pipelines.serve() as running:
        yield running


@pytest.fixture
def created(tmp_path: Path) -> str:
    assert invoke("pipeline", "create", "--pipeline_path", write_job(tmp_path)).exit_code == 0
    return "digits"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--engine=vertex"])


def configuration(directory: Path, vertex: dict[str, Any]) -> str:
    content = yaml.safe_load((PRESETS_DIR / "digits.yaml").read_text())
    content["runtime"] = {"vertex": vertex}
    path = directory / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def caching(job: Any) -> list[bool]:
    tasks = json_format.MessageToDict(job._pb)["pipelineSpec"]["root"]["dag"]["tasks"]
    return [task["cachingOptions"].get("enableCache", False) for task in tasks.values()]


def test_definitions_are_kept_here(home: Path, tmp_path: Path) -> None:
    assert invoke("pipeline", "list").stdout == "no pipelines\n"
    path = write_job(tmp_path)
    file = home / "digits" / "pipeline.json"
    result = invoke("pipeline", "create", "--pipeline_path", path)
    assert (result.exit_code, result.stdout) == (0, f"pipeline digits created: {file}\n")
    assert json.loads(file.read_text())["pipelineSpec"] == spec()
    line = one_line(invoke("pipeline", "create", "--pipeline_path", path))
    assert "a pipeline 'digits' is there already" in line and "pipeline update" in line

    write_job(tmp_path, labels={"changed": "yes"})
    assert invoke("pipeline", "update", "--pipeline_path", path).exit_code == 0
    assert json.loads(file.read_text())["labels"] == {"changed": "yes"}
    assert [row[:2] for row in answers(invoke("pipeline", "list"))] == [["digits", str(file)]]

    assert invoke("pipeline", "delete", "--pipeline_name=digits").exit_code == 0
    assert list(home.iterdir()) == []
    assert invoke("pipeline", "list").stdout == "no pipelines\n"


@pytest.mark.parametrize(
    "command",
    [
        ["pipeline", "delete", "--pipeline_name=none"],
        ["run", "create", "--pipeline_name=none", *PLACE],
    ],
    ids=" ".join,
)
def test_no_such_pipeline(command: list[str]) -> None:
    assert "there is no pipeline 'none'" in one_line(invoke(*command))


@pytest.mark.parametrize("name", ["../digits", ".", 'a"b', ""])
def test_a_name_that_is_none(home: Path, name: str) -> None:
    line = one_line(invoke("pipeline", "delete", "--pipeline_name", name), code=2)
    assert f"got {name!r}" in line


def test_a_run_from_its_start_to_its_end(service: Jobs, created: str) -> None:
    from google.cloud.aiplatform_v1.types import PipelineState, PipelineTaskDetail
    from google.rpc.status_pb2 import Status

    assert invoke("run", "list", "--pipeline_name", created, *PLACE).stdout == "no runs\n"
    parameters = ("--runtime_parameter=temperature=2", "--runtime-parameter", "epochs=3")
    ((run_id, state, _, name, link),) = answers(
        invoke("run", "create", "--pipeline_name", created, *PLACE, *parameters)
    )
    (job,) = service.jobs.values()
    assert (job.name.rpartition("/")[2], state) == (run_id, "PIPELINE_STATE_PENDING")
    assert (name, job.display_name) == ("digits", "digits")
    assert f"/europe-west4/pipelines/runs/{run_id}?project=acme" in link
    assert dict(job.runtime_config.parameter_values) == {"temperature": 2.0, "epochs": 3.0}
    assert job.runtime_config.gcs_output_directory == ROOT
    assert dict(job.labels)["tfx_version"] == "1-21-0"
    assert not job.service_account and not job.network and caching(job) == [True]

    job.state = PipelineState.PIPELINE_STATE_FAILED
    job.error = Status(code=9, message="the node train\nfailed")
    job.job_detail.task_details = [
        PipelineTaskDetail(task_name="train", state=PipelineTaskDetail.State.FAILED)
    ]
    result = invoke("run", "status", "--run_id", run_id, *PLACE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\nthe node train failed\n" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["train", "FAILED"]

    result = invoke("run", "terminate", "--run_id", job.name)
    assert (result.exit_code, result.stdout) == (0, f"run {job.name} asked to stop\n")
    assert job.state == PipelineState.PIPELINE_STATE_CANCELLING
    line = one_line(invoke("run", "terminate", "--run_id", run_id, *PLACE))
    assert "is cancelling" in line


def test_runs_of_a_pipeline_newest_first(service: Jobs, created: str, tmp_path: Path) -> None:
    from google.cloud.aiplatform_v1.types import PipelineJob

    invoke("pipeline", "create", "--pipeline_path", write_job(tmp_path, "other"))
    invoke("run", "create", "--pipeline_name=other", *PLACE)
    invoke("run", "create", "--pipeline_name", created, *PLACE)
    (_, job) = service.jobs.values()
    for number in (1, 2):
        again = PipelineJob(job)
        again.name = f"{job.name}{number}"
        again.create_time = job.create_time.replace(year=2030 + number)
        service.jobs[again.name.rpartition("/")[2]] = again
    rows = answers(invoke("run", "list", "--pipeline_name", created, *PLACE))
    first = job.name.rpartition("/")[2]
    assert [row[0] for row in rows] == [f"{first}2", f"{first}1", first]


def test_a_pipeline_spec_in_yaml_is_a_job_too(tmp_path: Path, service: Jobs) -> None:
    """Of Kubeflow's file Vertex AI wants a PipelineJob made."""
    line = one_line(invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path)), code=2)
    assert "must be a PipelineJob, and is for the other engine" in line


def test_the_configuration_is_kept_with_the_definition(
    service: Jobs, tmp_path: Path, home: Path
) -> None:
    file = configuration(tmp_path, VERTEX)
    path = write_job(tmp_path)
    assert invoke("pipeline", "create", "--pipeline_path", path, "--config", file).exit_code == 0
    # A file that brings no configuration leaves what was kept.
    assert invoke("pipeline", "update", "--pipeline_path", path).exit_code == 0
    ((run_id, *_),) = answers(invoke("run", "create", "--pipeline_name=digits"))
    (job,) = service.jobs.values()
    assert (job.service_account, job.network) == (VERTEX["service_account"], VERTEX["network"])
    assert dict(job.labels)["team"] == "vision" and caching(job) == [False]
    status = invoke("run", "status", "--run_id", run_id, "--pipeline_name=digits")
    assert (status.exit_code, status.stderr) == (0, "")

    service.jobs.clear()
    other = (
        "--service_account=other@acme.iam.gserviceaccount.com",
        "--network=projects/12/global/networks/outer",
        "--label=cost=low",
        "--label=team=sound",
        "--caching",
    )
    answers(invoke("run", "create", "--pipeline_name=digits", *other))
    (job,) = service.jobs.values()
    assert (job.service_account, job.network) == (
        "other@acme.iam.gserviceaccount.com",
        "projects/12/global/networks/outer",
    )
    assert {"cost": "low", "team": "sound"}.items() <= dict(job.labels).items()
    assert caching(job) == [True]

    (home / "digits" / "settings.json").write_text('{"projekt": 1}')
    line = one_line(invoke("run", "create", "--pipeline_name=digits"), code=2)
    assert "settings.json" in line and "create it again" in line


def test_caching_allows_what_is_compiled_and_no_more(service: Jobs, tmp_path: Path) -> None:
    job = json.loads(Path(write_job(tmp_path)).read_text())
    job["pipelineSpec"]["root"]["dag"]["tasks"]["train"]["cachingOptions"] = {}
    (tmp_path / "digits.json").write_text(json.dumps(job))
    invoke("pipeline", "create", "--pipeline_path=digits.json")
    answers(invoke("run", "create", "--pipeline_name=digits", "--caching", *PLACE))
    (submitted,) = service.jobs.values()
    assert caching(submitted) == [False]


def test_the_configuration_names_the_engine(service: Jobs, tmp_path: Path) -> None:
    file = configuration(tmp_path, VERTEX)
    path = write_job(tmp_path)
    arguments = ["pipeline", "create", "--pipeline_path", path, "--config", file]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    result = CliRunner().invoke(main, ["run", "list", "--pipeline_name=digits", *PLACE])
    assert (result.exit_code, result.stdout) == (0, "no runs\n")
    both = ["run", "list", "--pipeline_name=digits", "--config", file, "--endpoint=http://x"]
    assert "has both" in one_line(CliRunner().invoke(main, both), code=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--pipeline_name=digits"], "--project must be given"),
        (["create", "--pipeline_name=digits", "--project=acme"], "--region must be given"),
        (["create", "--pipeline_name=digits", *PLACE, "--label=a"], "--label needs KEY=VALUE"),
        (
            ["create", "--pipeline_name=digits", *PLACE, "--runtime_parameter=heat=1"],
            "'heat' must be one of",
        ),
        (
            ["create", "--pipeline_name=digits", *PLACE, "--runtime_parameter=epochs=few"],
            "must be a whole number",
        ),
        (["status", "--run_id=7"], "--project must be given"),
        (["status", "--run_id=a/b", *PLACE], "--run_id must be a run's id or projects/"),
    ],
)
def test_wrong_options(service: Jobs, created: str, arguments: list[str], said: str) -> None:
    assert said in one_line(invoke("run", *arguments), code=2)
    assert not service.jobs


@pytest.mark.parametrize("command", ["status", "terminate"])
def test_no_such_run(service: Jobs, command: str) -> None:
    line = one_line(invoke("run", command, "--run_id=seven", *PLACE))
    assert "404" in line and "PipelineJob seven not found" in line and "run list" in line


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((400, "INVALID_ARGUMENT", "the spec\nis bad"), ("400", "the spec is bad")),
        ((409, "ALREADY_EXISTS", "the job exists"), ("409", "the job exists")),
        ((500, "INTERNAL", "broken"), ("500", "broken")),
        ((503, "UNAVAILABLE", "no capacity"), ("503", "no capacity", "--region")),
    ],
)
def test_a_service_that_refuses(
    service: Jobs, created: str, refusal: tuple[int, str, str], said: tuple[str, ...]
) -> None:
    service.refusal = refusal
    line = one_line(invoke("run", "create", "--pipeline_name", created, *PLACE))
    assert line.startswith("Vertex AI acme/europe-west4: refuses")
    assert all(part in line for part in said)


def test_who_is_not_known(service: Jobs, created: str) -> None:
    """The client tries to renew its credentials, and these cannot be."""
    service.refusal = (401, "UNAUTHENTICATED", "invalid token")
    line = one_line(invoke("run", "create", "--pipeline_name", created, *PLACE))
    assert "there are no credentials" in line and "gcloud auth application-default login" in line


def test_who_may_not_submit(service: Jobs, created: str) -> None:
    service.refusal = (403, "PERMISSION_DENIED", "pipelineJobs.create denied")
    line = one_line(invoke("run", "create", "--pipeline_name", created, *PLACE))
    assert "pipelineJobs.create denied" in line and "roles/aiplatform.user" in line


def test_a_pipeline_root_that_vertex_cannot_read(service: Jobs, tmp_path: Path) -> None:
    job = json.loads(Path(write_job(tmp_path)).read_text())
    job["pipelineSpec"]["defaultPipelineRoot"] = "/srv/root"
    (tmp_path / "digits.json").write_text(json.dumps(job))
    assert invoke("pipeline", "create", "--pipeline_path=digits.json").exit_code == 0
    line = one_line(invoke("run", "create", "--pipeline_name=digits", *PLACE), code=2)
    assert "must be a gs:// URL for Vertex AI, got '/srv/root'" in line


def test_a_service_that_never_answers(
    service: Jobs, created: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vertex_client, "ANSWER_SECONDS", 0.3)
    service.delay = 60
    for command in (
        ["create", "--pipeline_name", created],
        ["list", "--pipeline_name", created],
        ["status", "--run_id=7"],
        ["terminate", "--run_id=7"],
    ):
        assert "has not answered within" in one_line(invoke("run", *command, *PLACE))


def test_nothing_listens(created: str) -> None:
    """Over gRPC, the client's own way."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    try:
        aiplatform.init(
            credentials=AnonymousCredentials(), api_endpoint="127.0.0.1:9", api_transport="grpc"
        )
        line = one_line(invoke("run", "create", "--pipeline_name", created, *PLACE))
    finally:
        aiplatform.initializer.global_config.__init__()
    assert "503" in line and "--region" in line


def test_no_credentials(created: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    line = one_line(invoke("run", "list", "--pipeline_name", created, *PLACE))
    assert "there are no credentials" in line and "gcloud auth application-default login" in line


def test_a_region_that_does_not_exist(created: str, service: Jobs) -> None:
    place = ("--project=acme", "--region=atlantis-east1")
    assert "atlantis-east1" in one_line(invoke("run", "list", "--pipeline_name", created, *place))
