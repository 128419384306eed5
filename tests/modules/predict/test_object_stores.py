"""A real student at a real S3 server: pushed, verified, rolled back and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3_server
from click.testing import CliRunner, Result
from pushed_models import export, make_graph
from pushes import push_exported
from transform_graphs import png

from modules import files
from modules.errors import UserError
from modules.push.publish import Pushed
from pipeline.cli.main import main

pytestmark = pytest.mark.thorough
URL = "s3://models/digits"


def forget_connections() -> None:
    """The store's environment is read when its file system is first made."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that reaches a server with a bucket `models`."""
    with s3_server.s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        environment = s3_server.environment(endpoint)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            forget_connections()
            fsspec.filesystem("s3").mkdir("models")
            yield environment
        forget_connections()


@pytest.fixture(scope="module")
def push(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function that pushes an exported student with some of its TFLite variants."""
    directory = tmp_path_factory.mktemp("student")
    graph = make_graph(directory / "graph", "binary", ["photo"])
    serving_dir, exported = export(graph, directory, ["float32", "int8"])

    def run(variants: list[str], destination: str = URL, **options: Any) -> Pushed:
        return push_exported(serving_dir, exported, variants, destination, **options)

    return run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(png(np.random.default_rng(0), 8, 9))
    return path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def answers(model: str, image: Path) -> list[dict[str, Any]]:
    result = invoke("predict", "--model", model, "--json", image)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_from_the_first_push_to_the_last_answer(
    server: dict[str, str], push: Callable[..., Pushed], image: Path, tmp_path: Path
) -> None:
    first = push(["int8"])
    assert first.saved_model_dir == f"{URL}/saved_model/{first.version}"
    assert not push(["int8"]).copied
    second = push(["float32", "int8"])
    count = len(second.manifest.files["saved_model"]) + 2
    result = invoke("verify", URL)
    assert result.stdout == f"version {second.version}: {count} files as in the manifest\n"

    files.copy_tree(URL, str(tmp_path / "copy"))
    remote, local = (answers(place, image) for place in (URL, str(tmp_path / "copy")))
    assert [(answer["format"], answer["variant"]) for answer in remote] == [
        *(("saved_model", None), ("tflite", "float32"))
    ]
    assert remote == local

    result = invoke("push", "--rollback", URL)
    assert (result.exit_code, result.stderr) == (0, "")
    back = int(files.entries(f"{URL}/tflite")[-1])
    assert back > second.version
    assert f"version {back} has the content of version {first.version}" in result.stdout
    assert [answer["variant"] for answer in answers(URL, image)] == [None, "int8"]

    third = push(["int8", "float32"], keep=2)
    for kind in ("tflite", "saved_model"):
        # Not `entries`: this server still lists folders whose objects are gone.
        kept = {int(name.split("/")[0]) for name in files.file_names(f"{URL}/{kind}")}
        assert kept == {back, third.version}
    assert invoke("verify", f"{URL}/tflite/{back}").exit_code == 0
    files.remove(f"{URL}/saved_model/{third.version}/saved_model.pb")
    result = invoke("verify", f"{URL}/tflite/{third.version}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {URL}/saved_model/{third.version}/saved_model.pb is missing.\n"
    )


@pytest.fixture(params=["wrong key", "no server"])
def broken(
    server: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A server that cannot be used."""
    if request.param == "wrong key":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    forget_connections()
    yield
    monkeypatch.undo()
    forget_connections()


def test_a_server_that_cannot_be_used_is_one_line(broken: None, image: Path) -> None:
    for command in (["verify"], ["push", "--rollback"], ["predict", image, "--model"]):
        result = invoke(*command, URL)
        assert (result.exit_code, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: push destination {URL} cannot be used (")
        assert line.endswith("); fix that or choose another destination")


def test_a_bucket_that_is_not_there_is_one_line(
    server: dict[str, str], push: Callable[..., Pushed], image: Path
) -> None:
    url = "s3://nowhere/digits"
    for command, code in ((["verify"], 1), (["push", "--rollback"], 1), (["predict", image], 2)):
        result = invoke(*command, *(["--model"] if code == 2 else []), url)
        assert (result.exit_code, result.stdout) == (code, "")
        (line,) = result.stderr.splitlines()
        assert url in line and "; give" in line
    with pytest.raises(UserError, match=rf"^push destination {url} cannot be used \(.*bucket"):
        push(["int8"], url)
