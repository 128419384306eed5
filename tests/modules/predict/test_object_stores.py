"""A real student at servers of S3 and of GCS: pushed, verified, rolled back and asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3_server
from click.testing import CliRunner, Result
from gcs_server import gcs_server
from pushed_models import export, make_graph
from pushes import push_exported
from transform_graphs import png

from modules import files
from modules.errors import UserError
from modules.push.publish import Pushed
from pipeline.cli.main import main

pytestmark = pytest.mark.thorough


@dataclass(frozen=True)
class Store:
    """A server that was started.

    Attributes:
      url: A destination in it.
      no_bucket: What its client says of a bucket that is not there.
      breaking: Environments in which it cannot be used.
    """

    url: str
    no_bucket: str
    breaking: tuple[dict[str, str], ...] = ()

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]


def forget_connections() -> None:
    """The store's environment is read when its file system is first made."""
    for scheme in ("s3", "gs"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()


@contextmanager
def s3(directory: Path) -> Iterator[Store]:
    with s3_server.s3_server(directory) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in s3_server.environment(endpoint).items():
            patch.setenv(name, value)
        yield Store(
            "s3://models/digits",
            no_bucket="bucket",
            breaking=(
                {"AWS_SECRET_ACCESS_KEY": "wrong"},
                {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            ),
        )


@contextmanager
def gcs(directory: Path) -> Iterator[Store]:
    """It asks nobody for a key, and has no other API than that of GCS's objects."""
    from gcsfs.core import GCSFileSystem

    usual = fsspec.get_filesystem_class("gs")
    fsspec.register_implementation("gs", GCSFileSystem, clobber=True)
    try:
        with gcs_server() as url, pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", url)
            patch.setenv("NO_GCE_CHECK", "true")
            yield Store("gs://models/digits", no_bucket="/b/nowhere/")
    finally:
        fsspec.register_implementation("gs", usual, clobber=True)


@pytest.fixture(scope="module", params=[s3, gcs], ids=["s3", "gs"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A server with a bucket `models`."""
    with request.param(tmp_path_factory.mktemp("store")) as started:
        forget_connections()
        fsspec.filesystem(started.scheme).mkdir("models")
        yield started
    forget_connections()


@pytest.fixture(scope="module")
def push(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function that pushes an exported student with some of its TFLite variants."""
    directory = tmp_path_factory.mktemp("student")
    graph = make_graph(directory / "graph", "binary", ["photo"])
    serving_dir, exported = export(graph, directory, ["float32", "int8"])

    def run(variants: list[str], destination: str, **options: Any) -> Pushed:
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
    store: Store, push: Callable[..., Pushed], image: Path, tmp_path: Path
) -> None:
    url = store.url
    first = push(["int8"], url)
    assert first.saved_model_dir == f"{url}/saved_model/{first.version}"
    assert not push(["int8"], url).copied
    second = push(["float32", "int8"], url)
    count = len(second.manifest.files["saved_model"]) + 2
    result = invoke("verify", url)
    assert result.stdout == f"version {second.version}: {count} files as in the manifest\n"

    files.copy_tree(url, str(tmp_path / "copy"))
    remote, local = (answers(place, image) for place in (url, str(tmp_path / "copy")))
    assert [(answer["format"], answer["variant"]) for answer in remote] == [
        *(("saved_model", None), ("tflite", "float32"))
    ]
    assert remote == local

    result = invoke("push", "--rollback", url)
    assert (result.exit_code, result.stderr) == (0, "")
    back = int(files.entries(f"{url}/tflite")[-1])
    assert back > second.version
    assert f"version {back} has the content of version {first.version}" in result.stdout
    assert [answer["variant"] for answer in answers(url, image)] == [None, "int8"]

    third = push(["int8", "float32"], url, keep=2)
    for kind in ("tflite", "saved_model"):
        # Not `entries`: this server still lists folders whose objects are gone.
        kept = {int(name.split("/")[0]) for name in files.file_names(f"{url}/{kind}")}
        assert kept == {back, third.version}
    assert invoke("verify", f"{url}/tflite/{back}").exit_code == 0
    files.remove(f"{url}/saved_model/{third.version}/saved_model.pb")
    result = invoke("verify", f"{url}/tflite/{third.version}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {url}/saved_model/{third.version}/saved_model.pb is missing.\n"
    )


# With gcsfs it is one line, too, after half a minute of attempts for each command.
@pytest.mark.parametrize("store", [s3], ids=["s3"], indirect=True)
def test_a_server_that_cannot_be_used_is_one_line(
    store: Store, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for environment in store.breaking:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        forget_connections()
        for command in (["verify"], ["push", "--rollback"], ["predict", image, "--model"]):
            result = invoke(*command, store.url)
            assert (result.exit_code, result.stdout) == (1, "")
            (line,) = result.stderr.splitlines()
            assert line.startswith(f"error: push destination {store.url} cannot be used (")
            assert line.endswith("); fix that or choose another destination")
        monkeypatch.undo()
    forget_connections()


def test_a_bucket_that_is_not_there_is_one_line(
    store: Store, push: Callable[..., Pushed], image: Path
) -> None:
    url = f"{store.scheme}://nowhere/digits"
    for command, code in ((["verify"], 1), (["push", "--rollback"], 1), (["predict", image], 2)):
        result = invoke(*command, *(["--model"] if code == 2 else []), url)
        assert (result.exit_code, result.stdout) == (code, "")
        (line,) = result.stderr.splitlines()
        assert url in line and "; give" in line
    said = rf"^push destination {url} cannot be used \(.*{store.no_bucket}"
    with pytest.raises(UserError, match=said):
        push(["int8"], url)
