"""`tfx-distill pipeline` and `tfx-distill run` on Kubeflow: the real client, a local server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server
import pytest
import yaml
from checkout import ROOT as REPOSITORY
from click.testing import CliRunner, Result
from kfp_server import KfpServer, RefusalError
from printed import answers, one_line
from small_spec import ROOT, spec, write_spec

from pipeline.cli.main import main
from pipeline.clusters import kfp_connection

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KF_PIPELINES_ENDPOINT", "TFX_DISTILL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server.serve() as running:
        yield running


@pytest.fixture
def invoke(server: KfpServer) -> Invoke:
    def to_server(*arguments: str) -> Result:
        there = ("--engine=kubeflow", f"--endpoint={server.url}")
        return CliRunner().invoke(main, [*arguments, *there])

    return to_server


@pytest.fixture
def created(invoke: Invoke, tmp_path: Path) -> str:
    assert invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path)).exit_code == 0
    return "digits"


def test_create_uploads_the_compiled_file(
    invoke: Invoke, server: KfpServer, tmp_path: Path
) -> None:
    result = invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path))
    assert (result.exit_code, result.stderr) == (0, "")
    (pipeline,) = server.pipelines.values()
    (version,) = server.versions.values()
    assert result.stdout == f"pipeline digits created: {pipeline['pipeline_id']}\n"
    assert version["pipeline_spec"] == spec()


def test_a_platform_spec_goes_with_it(invoke: Invoke, server: KfpServer, tmp_path: Path) -> None:
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"train": {}}}}}}
    path = write_spec(tmp_path)
    Path(path).write_text(yaml.safe_dump_all([spec(), platform]))
    assert invoke("pipeline", "create", "--pipeline_path", path).exit_code == 0
    (version,) = server.versions.values()
    assert version["pipeline_spec"]["platform_spec"] == platform
    run = ("run", "create", "--pipeline_name=digits", "--runtime_parameter=epochs=2")
    assert invoke(*run).exit_code == 0
    (run,) = server.runs.values()
    assert run["runtime_config"] == {"parameters": {"epochs": 2}, "pipeline_root": ROOT}


def test_a_name_that_is_taken(invoke: Invoke, created: str, tmp_path: Path) -> None:
    line = one_line(invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path)))
    assert "a pipeline 'digits' is there already" in line and "pipeline update" in line


def test_a_name_is_looked_up_before_anything_is_compiled(
    invoke: Invoke, created: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.clusters.compilation", None)
    runtime = ("--set=runtime.image=a/b:1", "--set=runtime.pipeline_root=gs://bucket/root")
    path = ("--pipeline_path=digits", *runtime)
    assert "is there already" in one_line(invoke("pipeline", "create", *path))
    line = one_line(invoke("pipeline", "update", *path, "--set=name=other"))
    assert "there is no pipeline 'other'" in line


def test_update_adds_a_version_and_runs_take_the_newest(
    invoke: Invoke, server: KfpServer, created: str, tmp_path: Path
) -> None:
    path = write_spec(tmp_path, sdkVersion="newer")
    assert invoke("pipeline", "update", "--pipeline_path", path).exit_code == 0
    assert len(server.versions) == 2
    assert invoke("run", "create", "--pipeline_name", created).exit_code == 0
    (run,) = server.runs.values()
    used = server.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert used["pipeline_spec"]["sdkVersion"] == "newer"


def test_list_shows_all_pages(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("pipeline", "list").stdout == "no pipelines\n"
    for name in ("cifar", "tables", "birds"):
        invoke("pipeline", "create", "--pipeline-path", write_spec(tmp_path, name))
    assert [row[0] for row in answers(invoke("pipeline", "list"))] == ["birds", "cifar", "tables"]


def test_delete_takes_all_versions_first(
    invoke: Invoke, server: KfpServer, created: str, tmp_path: Path
) -> None:
    for _ in range(3):
        invoke("pipeline", "update", "--pipeline_path", write_spec(tmp_path))
    assert len(server.versions) >= 2
    invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path, "other"))
    result = invoke("pipeline", "delete", "--pipeline_name", created)
    assert (result.exit_code, result.stdout) == (0, "pipeline digits deleted\n")
    assert [each["display_name"] for each in server.pipelines.values()] == ["other"]
    assert [each["display_name"] for each in server.versions.values()] == ["other"]


def test_a_run_from_its_start_to_its_end(invoke: Invoke, server: KfpServer, created: str) -> None:
    assert invoke("run", "list", "--pipeline_name", created).stdout == "no runs\n"
    parameters = ("--runtime_parameter=temperature=2", "--runtime-parameter", "data_path=gs://a=b")
    ((run_id, state, _, name, link),) = answers(
        invoke("run", "create", "--pipeline_name", created, *parameters)
    )
    (run,) = server.runs.values()
    assert (run_id, state) == (run["run_id"], "PENDING")
    assert name.startswith("digits-") and link == f"{server.url}/#/runs/details/{run_id}"
    assert run["runtime_config"]["parameters"] == {"temperature": 2.0, "data_path": "gs://a=b"}
    assert run["runtime_config"]["pipeline_root"] == ROOT
    assert server.experiments[run["experiment_id"]]["display_name"] == "digits"

    run["state"] = "RUNNING"
    run["run_details"] = {
        "task_details": [
            {"task_id": "1", "display_name": "train", "state": "RUNNING"},
            {
                "task_id": "2",
                "display_name": "read",
                "state": "FAILED",
                "error": {"code": 13, "message": "no\nspace left"},
            },
        ]
    }
    result = invoke("run", "status", "--run_id", run_id, "--pipeline_name", created)
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()[-2:]] == [
        ["train", "RUNNING"],
        ["read", "FAILED", "no", "space", "left"],
    ]
    result = invoke("run", "terminate", "--run_id", run_id)
    assert (result.exit_code, result.stdout) == (0, f"run {run_id} asked to stop\n")
    assert run["state"] == "CANCELING"
    assert "run is CANCELING" in one_line(invoke("run", "terminate", "--run_id", run_id))


def test_runs_are_listed_newest_first(invoke: Invoke, server: KfpServer, created: str) -> None:
    for _ in range(3):
        assert invoke("run", "create", "--pipeline_name", created).exit_code == 0
    rows = answers(invoke("run", "list", "--pipeline_name", created))
    assert [row[0] for row in rows] == list(server.runs)[::-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("temperature=hot", "must be a number, got 'hot'"),
        ("temperature=nan", "must be a number, got 'nan'"),
        ("epochs=2.5", "must be a whole number, got '2.5'"),
        ("heat=3", "'heat' must be one of the pipeline's parameters, which are data_path, epochs"),
        ("temperature", "needs NAME=VALUE, got 'temperature'"),
    ],
)
def test_wrong_runtime_parameters(
    invoke: Invoke, server: KfpServer, created: str, given: str, said: str
) -> None:
    result = invoke("run", "create", "--pipeline_name", created, "--runtime_parameter", given)
    assert said in one_line(result, code=2)
    assert not server.runs


@pytest.mark.parametrize(
    "command",
    [
        ["pipeline", "delete", "--pipeline_name=none"],
        ["run", "create", "--pipeline_name=none"],
        ["run", "list", "--pipeline_name=none"],
    ],
    ids=" ".join,
)
def test_no_such_pipeline(invoke: Invoke, command: list[str]) -> None:
    assert "there is no pipeline 'none'" in one_line(invoke(*command))


def test_update_needs_a_pipeline(invoke: Invoke, tmp_path: Path) -> None:
    line = one_line(invoke("pipeline", "update", "--pipeline_path", write_spec(tmp_path)))
    assert "there is no pipeline 'digits'" in line and "pipeline create" in line


@pytest.mark.parametrize("command", ["status", "terminate"])
def test_no_such_run(invoke: Invoke, command: str) -> None:
    line = one_line(invoke("run", command, "--run_id=7"))
    assert "refuses with 404" in line and "run 7 not found" in line and "run list" in line


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (RefusalError(401, "token expired"), ("401", "token expired", "--iap_client_id")),
        (RefusalError(403, "user x cannot list"), ("403", "user x cannot list", "--namespace")),
        (RefusalError(500, "database\nis gone"), ("500", "database is gone")),
        (RefusalError(502, "<h1>Bad gateway</h1>", "text/html"), ("502", "Bad gateway")),
        (
            RefusalError(200, "<html>sign in</html>", "text/html"),
            ("a web page instead", "--endpoint"),
        ),
    ],
    ids=["unauthorised", "forbidden", "broken", "gateway", "login"],
)
@pytest.mark.parametrize("healthy", [True, False])
def test_a_server_that_refuses(
    invoke: Invoke, server: KfpServer, refusal: RefusalError, said: tuple[str, ...], healthy: bool
) -> None:
    server.answers, server.fails_after_health = refusal, healthy
    line = one_line(invoke("pipeline", "list"))
    assert line.startswith(server.url)
    for part in said:
        assert part in line


def test_debug_shows_the_traceback(invoke: Invoke, server: KfpServer) -> None:
    server.answers = RefusalError(500, "gone")
    result = invoke("pipeline", "list", "--debug")
    assert result.exit_code == 1 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_nothing_listens() -> None:
    """In a process of its own, where no test catches what the libraries log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    code = "from pipeline.cli.main import main; main()"
    arguments = ["pipeline", "list", "--engine=kubeflow", "--endpoint", url]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {url}: cannot be reached") and "--endpoint" in line


def test_a_server_that_never_answers(
    invoke: Invoke, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kfp_connection, "_TIMEOUT", (0.2, 0.2))
    server.delay = 60
    assert "has not answered within" in one_line(invoke("pipeline", "list"))
    # A namespace spares the question for the server's health.
    result = invoke("run", "status", "--run_id=1", "--namespace=team")
    assert "has not answered within" in one_line(result)
    assert len(server.requests) == 4  # each was asked twice


def test_no_endpoint() -> None:
    result = CliRunner().invoke(main, ["pipeline", "list", "--engine=kubeflow"])
    assert one_line(result, code=2).startswith("--endpoint must be the URL")


def test_the_environment_has_an_endpoint(
    server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    result = CliRunner().invoke(main, ["pipeline", "list", "--engine=kubeflow"])
    assert (result.exit_code, result.stdout) == (0, "no pipelines\n")


def test_a_configuration_has_endpoint_and_namespace(
    server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.config import PRESETS_DIR

    content = yaml.safe_load((PRESETS_DIR / "digits.yaml").read_text())
    content["runtime"] = {"kubeflow": {"endpoint": server.url, "namespace": "team"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    server.multi_user = True
    path = write_spec(tmp_path)
    monkeypatch.setenv("TFX_DISTILL_CONFIG", "mine.yaml")
    for command in (
        ["pipeline", "create", "--pipeline_path", path],
        ["pipeline", "update", "--pipeline_path", path],
        ["run", "create", "--pipeline_name=digits"],
        ["run", "list", "--pipeline_name=digits"],
    ):
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, result.stderr) == (0, "")
    assert [each["namespace"] for each in server.pipelines.values()] == ["team"]
    assert [each["namespace"] for each in server.experiments.values()] == ["team"]
    result = CliRunner().invoke(main, ["pipeline", "list", "--config=digits"])
    assert "runtime.vertex.project it has neither" in one_line(result, code=2)


def test_several_users_need_a_namespace(invoke: Invoke, server: KfpServer) -> None:
    server.multi_user = True
    assert "namespace is empty" in one_line(invoke("pipeline", "list"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pipelineInfo: {name: a}\nnonsense: 1", 'no field named "nonsense"'),
        (yaml.safe_dump(spec(schemaVersion="2.0.0")), "got schemaVersion '2.0.0'"),
        (json.dumps({"pipelineSpec": spec()}), "is for the other engine"),
        ("[1, 2]", "must be a pipeline spec 2.1"),
        ("pipelineInfo: [", "must be a pipeline spec 2.1"),
    ],
    ids=["unknown field", "older", "job", "list", "broken"],
)
def test_a_file_that_is_no_pipeline(
    invoke: Invoke, server: KfpServer, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / ("bad.yaml" if content.startswith("pipelineInfo") else "bad.json")
    path.write_text(content)
    line = one_line(invoke("pipeline", "create", "--pipeline_path", str(path)), code=2)
    assert line.startswith(str(path)) and said in line and "tfx-distill compile" in line
    assert not server.pipelines


def test_the_server_finds_the_file_bad(
    invoke: Invoke, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes here and not there is told in the server's words."""

    def refuse(**_: Any) -> None:
        raise RefusalError(400, "Invalid input error: unknown component comp-train")

    monkeypatch.setattr(server, "_upload", refuse)
    line = one_line(invoke("pipeline", "create", "--pipeline_path", write_spec(tmp_path)))
    assert "refuses with 400" in line and "unknown component comp-train" in line


def test_a_configuration_that_cannot_be_compiled_is_refused_before_anything_is_sent(
    invoke: Invoke, server: KfpServer
) -> None:
    result = invoke("pipeline", "create", "--pipeline_path=digits", "--set", "distill.alpha=2")
    assert "distill.alpha" in one_line(result, code=2)
    result = invoke("pipeline", "create", "--pipeline_path=nothing")
    assert "neither a preset" in one_line(result, code=2)
    assert not server.requests
