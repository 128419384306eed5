"""What the commands for servers share: their names and help, what they compile, what they build."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import kfp_server
import pytest
import vertex_pipelines
import yaml
from checkout import ROOT
from click.testing import CliRunner, Result
from small_spec import write_job, write_spec

from pipeline.cli.main import main
from pipeline.clusters.remote import libraries_silent

RUNTIME = (
    "--set=runtime.image=registry/digits:1.2",
    "--set=runtime.pipeline_root=gs://bucket/root",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KF_PIPELINES_ENDPOINT", "TFX_DISTILL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VERTEX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tfx-distill")


def last_line(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


def test_run_is_a_command_and_a_group() -> None:
    text = invoke("run", "--help").stdout
    assert text.startswith("Usage: tfx-distill run [OPTIONS] [PRESET|FILE]")
    assert "--output" in text
    for name in ("create", "list", "status", "terminate"):
        assert f"\n  {name} " in text
        usage = invoke("run", name, "--help").stdout
        assert usage.startswith(f"Usage: tfx-distill run {name} [OPTIONS]\n")
    # Any other word is a preset or a file, and after an option no word is a command.
    for arguments in (["run", "delete"], ["run", "--debug", "nothing"]):
        assert "neither a preset" in last_line(invoke(*arguments), 2)
    assert "'create' is neither a preset" in last_line(invoke("run", "--debug", "create"), 2)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("pipeline create", "engine pipeline_path package_path endpoint iap_client_id namespace"),
        ("pipeline create", "build_image"),
        ("pipeline update", "engine pipeline_path endpoint iap_client_id namespace build_image"),
        ("pipeline compile", "engine pipeline_path package_path"),
        ("pipeline list", "engine endpoint iap_client_id namespace"),
        ("pipeline delete", "engine pipeline_name endpoint iap_client_id namespace"),
        ("run create", "engine pipeline_name endpoint iap_client_id namespace project region"),
        ("run create", "runtime_parameter"),
        ("run list", "engine pipeline_name endpoint iap_client_id namespace"),
        (
            "run status",
            "engine pipeline_name run_id endpoint iap_client_id namespace project region",
        ),
        ("run terminate", "engine run_id endpoint iap_client_id namespace"),
    ],
)
def test_the_options_of_tfx(command: str, options: str) -> None:
    """With underscores and with dashes, as `tfx` has them."""
    words = invoke(*command.split(), "--help").stdout.replace(",", " ").split()
    for option in options.split():
        assert {f"--{option}", f"--{option.replace('_', '-')}"} <= set(words)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine=airflow"], "'airflow' is not one of"),
        (["--set=runtime.image=a:1"], "--engine must be kubeflow or vertex"),
        (["--engine=vertex"], "runtime.image must be set"),
        (["--engine=vertex", "--set=runtime.image=registry/a:latest"], "must not change"),
        (
            ["--engine=vertex", RUNTIME[0], "--set=runtime.pipeline_root=/srv"],
            "runtime.pipeline_root must be gs://",
        ),
        (
            ["--engine=vertex", *RUNTIME, "--set=runtime.resources.trainer.accelerator=gpu9"],
            "runtime.resources.trainer.accelerator must be one of",
        ),
    ],
)
@pytest.mark.parametrize("command", ["create", "compile"])
def test_what_no_engine_runs_is_refused_at_once(
    command: str, arguments: list[str], said: str
) -> None:
    result = invoke("pipeline", command, "--pipeline_path=digits", *arguments)
    assert said in last_line(result, 2)
    assert list(Path.cwd().iterdir()) == []


def test_set_goes_with_a_configuration(tmp_path: Path) -> None:
    arguments = ("--pipeline_path", write_job(tmp_path), "--engine=vertex", "--set=seed=1")
    assert "--set goes with a preset" in last_line(invoke("pipeline", "compile", *arguments), 2)


def test_a_compiled_file_is_kept_elsewhere(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    arguments = ("--engine=vertex", "--pipeline_path", path)
    copied = invoke("pipeline", "create", *arguments, "--package_path=copy.json")
    assert copied.exit_code == 0
    assert Path("copy.json").read_bytes() == Path(path).read_bytes()
    line = last_line(invoke("pipeline", "compile", *arguments, "--package_path=no/where"), 2)
    assert "--package_path must be a file that can be written" in line


def checkout(directory: Path, built: str, exit_code: int = 0) -> None:
    """A script as `make image` has it, and a builder, that write down their arguments."""
    (directory / "tools").mkdir()
    for name, text in (
        ("tools/image.sh", f'echo "build $@" >> calls; echo "step 1"; echo "image: {built}"'),
        ("bin/docker", '[ "$1" = info ] || echo "docker $@" >> calls'),
    ):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\nexit {exit_code if name == 'tools/image.sh' else 0}\n")
        path.chmod(0o755)


@pytest.fixture
def no_builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is installed on this machine does not count."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "env"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


BUILD = (
    "pipeline",
    "create",
    "--engine=vertex",
    "--pipeline_path=digits",
    "--build_image",
    "--set=runtime.pipeline_root=gs://bucket/root",
)


@pytest.mark.slow
def test_the_image_is_built_pushed_and_compiled_in(no_builder: None, tmp_path: Path) -> None:
    checkout(tmp_path, "registry:5000/digits:0.1.0-abc")
    result = invoke(*BUILD, "--set=runtime.image=registry:5000/digits")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "calls").read_text().splitlines() == [
        "build registry:5000/digits cpu",
        "docker push registry:5000/digits:0.1.0-abc",
    ]
    job = json.loads((tmp_path / "home" / "digits" / "pipeline.json").read_text())
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"].values()
    images = {each["container"]["image"] for each in executors if "container" in each}
    assert images == {"registry:5000/digits:0.1.0-abc"}


def test_no_docker(no_builder: None, tmp_path: Path) -> None:
    checkout(tmp_path, "a")
    (tmp_path / "bin" / "docker").unlink()
    result = invoke(*BUILD, "--set=runtime.image=registry/digits")
    assert "--build_image needs docker or podman" in last_line(result, 1)
    assert not (tmp_path / "calls").exists()


def test_an_image_that_cannot_be_built(no_builder: None, tmp_path: Path) -> None:
    checkout(tmp_path, "a", exit_code=4)
    result = invoke(*BUILD, "--set=runtime.image=registry/digits:1")
    assert "tools/image.sh registry/digits cpu` must succeed" in last_line(result, 1)
    assert "docker push" not in (tmp_path / "calls").read_text()
    assert not (tmp_path / "home").exists()


def test_an_image_is_built_in_a_checkout(tmp_path: Path) -> None:
    result = invoke(*BUILD, "--set=runtime.image=registry/digits:1")
    assert "--build_image needs tools/image.sh" in last_line(result, 2)
    arguments = ("--engine=vertex", "--pipeline_path", write_job(tmp_path), "--build_image")
    assert "needs runtime.image" in last_line(invoke("pipeline", "create", *arguments), 2)


def write_runner(text: str) -> str:
    Path("runner.py").write_text(text)
    return "runner.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "file"), [("kubeflow", "digits.yaml"), ("vertex", "digits.json")]
)
def test_our_runner_files(engine: str, file: str) -> None:
    path = ROOT / "pipeline" / f"{engine}_runner.py"
    arguments = ("--engine", engine, "--pipeline_path", str(path))
    result = invoke("pipeline", "compile", *arguments)
    assert (result.exit_code, result.stdout) == (
        0,
        f"pipeline digits compiled: {Path.cwd() / file}\n",
    )
    assert "runtime.image is not set" in result.stderr
    # What stands for an image and a bucket compiles, and is not sent.
    endpoint = "--endpoint=http://127.0.0.1:9", "--namespace=team"
    line = last_line(invoke("pipeline", "create", *arguments, *endpoint), 2)
    assert "must be set before a pipeline is sent" in line
    assert not Path("home").exists()


@pytest.mark.slow
def test_a_runner_file_with_a_configuration(tmp_path: Path) -> None:
    from pipeline.config import PRESETS_DIR

    content = yaml.safe_load((PRESETS_DIR / "digits.yaml").read_text())
    content["name"] = "mine"
    content["runtime"] = {
        "image": "registry/tfx-distill:0.1.0",
        "pipeline_root": "gs://bucket/root",
        "vertex": {"project": "acme", "region": "europe-west4"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    runner = str(ROOT / "pipeline" / "vertex_runner.py")
    arguments = ("--pipeline_path", runner, "--config=mine.yaml")
    result = invoke("pipeline", "create", *arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"pipeline mine created: {tmp_path}/home/mine/pipeline.json\n"
    assert "TFX_DISTILL_CONFIG" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('nothing')", "must call KubeflowV2DagRunner.run once"),
        ("import sys; sys.exit(3)", "must end without an error, and ends with exit code 3"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines; --debug shows"),
    ],
)
def test_runner_files_that_do_not_compile(text: str, said: str) -> None:
    arguments = ("--engine=kubeflow", "--pipeline_path", write_runner(text))
    result = invoke("pipeline", "compile", *arguments)
    assert result.exit_code != 0 and result.stdout == ""
    assert said in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def table(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines()[1:]]


@pytest.mark.slow
def test_from_the_preset_to_a_run_on_kubeflow() -> None:
    with kfp_server.serve() as server:
        there = ("--engine=kubeflow", "--endpoint", server.url)
        path = ("--pipeline_path=digits", *RUNTIME)
        assert invoke("pipeline", "compile", "--engine=kubeflow", *path).exit_code == 0
        assert invoke("pipeline", "create", *path, *there).exit_code == 0
        assert invoke("pipeline", "update", "--pipeline_path=digits.yaml", *there).exit_code == 0
        first, second = (version["pipeline_spec"] for version in server.versions.values())
        assert first == second == yaml.safe_load(Path("digits.yaml").read_text())
        named = ("--pipeline_name=digits", *there)
        parameters = ("--runtime_parameter=temperature=2", "--runtime_parameter=epochs=3")
        ((run_id, *_),) = table(invoke("run", "create", *named, *parameters))
        (run,) = server.runs.values()
        assert run["runtime_config"] == {
            "parameters": {"temperature": 2.0, "epochs": 3},
            "pipeline_root": "gs://bucket/root",
        }
        assert table(invoke("run", "status", "--run_id", run_id, *there))[0][1] == "PENDING"
        assert invoke("run", "terminate", "--run_id", run_id, *there).exit_code == 0
        assert table(invoke("run", "list", *named))[0][:2] == [run_id, "CANCELING"]
        assert invoke("pipeline", "delete", *named).exit_code == 0
        assert not server.pipelines and not server.versions


@pytest.mark.slow
def test_from_the_preset_to_a_run_on_vertex() -> None:
    place = ("--engine=vertex", "--project=acme", "--region=europe-west4")
    with vertex_pipelines.serve() as service:
        path = ("--engine=vertex", "--pipeline_path=digits", *RUNTIME)
        assert invoke("pipeline", "compile", *path).exit_code == 0
        assert invoke("pipeline", "create", *path).exit_code == 0
        kept = Path("home/digits/pipeline.json")
        assert kept.read_bytes() == Path("digits.json").read_bytes()
        named = ("--pipeline_name=digits", *place)
        parameters = ("--runtime_parameter=alpha=0.25", "--runtime_parameter=epochs=3")
        ((run_id, *_),) = table(invoke("run", "create", *named, *parameters))
        job = service.jobs[run_id]
        values: Any = dict(job.runtime_config.parameter_values)
        assert (values["alpha"], values["epochs"]) == (0.25, 3.0)
        status = table(invoke("run", "status", "--run_id", run_id, *place))
        assert status[0][1] == "PIPELINE_STATE_PENDING"
        assert invoke("run", "terminate", "--run_id", run_id, *place).exit_code == 0
        listed = table(invoke("run", "list", *named))
        assert listed[0][:2] == [run_id, "PIPELINE_STATE_CANCELLING"]
        assert invoke("pipeline", "delete", *named[:1], "--engine=vertex").exit_code == 0
        assert not kept.exists()


def test_a_spec_for_the_wrong_engine(tmp_path: Path) -> None:
    arguments = ("--engine=vertex", "--pipeline_path", write_spec(tmp_path))
    assert "is for the other engine" in last_line(invoke("pipeline", "compile", *arguments), 2)


def test_the_clients_logs_are_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    for shown in (False, True):
        with libraries_silent(shown):
            logging.getLogger("google.auth").warning("no project, shown: %s", shown)
    logging.getLogger("google.auth").warning("after")
    assert caplog.messages == ["no project, shown: True", "after"]
