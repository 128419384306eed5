"""Pushing to URLs: through TFX's registry to a store without rename, locks or directories."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tensorflow as tf
from pushes import make_candidate, names, served, versions
from tfx.dsl.io import fileio, filesystem, filesystem_registry
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils
from vertex_server import serve

from components.artifacts import TFLiteModels
from components.pusher.executor import Executor
from modules.errors import ConfigError, UserError
from modules.push import publish
from modules.push.verify import verify
from modules.settings import PushSettings, VertexRegistrySettings

SCHEME = "bucket://"
MOST_STEPS = 200


class Died(BaseException):
    """Nothing may catch it, and nothing works after it: what a kill is to a remote store."""


class ObjectStore(filesystem.Filesystem):
    """A store of objects on a local folder: they appear when they are closed, as a whole.

    There is nothing but objects: a directory is there while an object has it in its name.
    """

    SUPPORTED_SCHEMES: ClassVar = [SCHEME]
    root: Path
    before_change: Callable[[], None]

    @classmethod
    def path(cls, url: Any) -> Path:
        scheme, separator, name = url.partition("://")
        assert separator and f"{scheme}://" in (SCHEME, "gs://")
        return cls.root / name

    @staticmethod
    def open(name: Any, mode: str = "r") -> Any:
        path = ObjectStore.path(name)
        if "w" not in mode:
            return path.open(mode)
        return _Upload(path)

    @staticmethod
    def exists(path: Any) -> bool:
        return ObjectStore.path(path).exists()

    @staticmethod
    def isdir(path: Any) -> bool:
        return ObjectStore.path(path).is_dir()

    @staticmethod
    def listdir(path: Any) -> list[Any]:
        found = ObjectStore.path(path).iterdir()
        return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in found]

    @staticmethod
    def makedirs(path: Any) -> None:
        pass

    @staticmethod
    def remove(path: Any) -> None:
        ObjectStore.before_change()
        ObjectStore._remove(ObjectStore.path(path))

    @staticmethod
    def rmtree(path: Any) -> None:
        for below in sorted(ObjectStore.path(path).rglob("*")):
            if below.is_file():
                ObjectStore.before_change()
                ObjectStore._remove(below)

    @staticmethod
    def copy(src: Any, dst: Any, overwrite: bool = False) -> None:
        with ObjectStore.open(dst, "wb") as file:
            file.write(ObjectStore.path(src).read_bytes())

    @staticmethod
    def walk(top: Any, topdown: bool = True, onerror: Any = None) -> Iterator[Any]:
        for directory, folders, files in os.walk(ObjectStore.path(top)):
            yield f"{SCHEME}{Path(directory).relative_to(ObjectStore.root)}", folders, files

    @staticmethod
    def _remove(path: Path) -> None:
        path.unlink()
        for directory in path.parents:
            if directory == ObjectStore.root or any(directory.iterdir()):
                return
            directory.rmdir()


class _Upload:
    """An object that is written; it is there once it is closed without an error."""

    def __init__(self, path: Path):
        self.path, self.chunks = path, []

    def __enter__(self) -> _Upload:
        return self

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            ObjectStore.before_change()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(b"".join(self.chunks))


filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(ObjectStore, priority=1)
URL = f"{SCHEME}models/digits"


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Path:
    """The folder behind the destination."""
    ObjectStore.root = tmp_path / "store"
    ObjectStore.root.mkdir()
    ObjectStore.before_change = staticmethod(lambda: None)
    return ObjectStore.root / "models/digits"


def fail_at(step: int, error: BaseException) -> None:
    """Makes the step-th change of the store fail; after a death, everything does."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step or (steps > step and isinstance(error, Died)):
            raise error

    ObjectStore.before_change = staticmethod(count)


def push_all(tmp_path: Path, tokens: str, url: str = URL, **options: Any) -> list[int]:
    candidates = (make_candidate(tmp_path / "work", token) for token in tokens)
    return [publish.push(c, url, remote=fileio, **options).version for c in candidates]


def assert_whole(store: Path) -> None:
    """Every version, which is what has a manifest, is whole and verifies."""
    for file in store.glob("tflite/*/manifest.json"):
        assert verify(f"{URL}/tflite/{file.parent.name}", remote=fileio).problems == ()
    for file in store.glob("saved_model/*/saved_model.pb"):
        assert {path.name for path in file.parent.iterdir()} == {
            *("saved_model.pb", "assets", "assets.extra", "variables")
        }


def test_a_push_to_a_url(tmp_path: Path, store: Path) -> None:
    candidate = make_candidate(tmp_path / "work", "a", ("int8", "float16"))
    pushed = publish.push(candidate, f"{URL}/", remote=fileio, now=lambda: 7)
    assert (pushed.version, pushed.copied) == (7, True)
    assert pushed.saved_model_dir == f"{URL}/saved_model/7"
    assert pushed.tflite_dir == f"{URL}/tflite/7"
    assert names(store / "tflite/7") == [
        *(".push.json", "manifest.json", "model.tflite", "model_float16.tflite")
    ]
    assert served(store) == "a"
    assert not publish.push(candidate, URL, remote=fileio).copied
    found = verify(URL, remote=fileio)
    assert (found.version, found.files, found.problems) == (7, 7, ())
    assert found.saved_model_dir == pushed.saved_model_dir
    assert publish.last_pushed(URL, remote=fileio) == {
        "version": 7,
        "student": candidate.report["student"],
        "variants": candidate.report["variants"],
    }
    (store / "saved_model/7/assets/v.txt").unlink()
    assert verify(f"{URL}/saved_model/7", remote=fileio).problems == (
        f"{URL}/saved_model/7/assets/v.txt is missing.",
    )


def test_what_a_reader_waits_for_is_written_last(tmp_path: Path, store: Path) -> None:
    seen = []
    ObjectStore.before_change = staticmethod(
        lambda: seen.append({path.name for path in store.rglob("*") if path.is_file()})
    )
    push_all(tmp_path, "a")
    written = [now - before for before, now in pairwise(seen)]
    assert written[0] == {".push.json"}
    assert written[-1] == {"saved_model.pb"}
    assert "manifest.json" not in seen[-1]


def test_roll_back_and_keep(tmp_path: Path, store: Path) -> None:
    pushed = push_all(tmp_path, "abcd")
    assert publish.rollback(URL, remote=fileio).to == pushed[2]
    assert publish.rollback(URL, remote=fileio).to == pushed[1]
    assert served(store) == "b"
    with pytest.raises(UserError, match=rf"remove {URL}/rolled_back/[0-9a-f]+\.json to allow it"):
        push_all(tmp_path, "d")
    (newest,) = push_all(tmp_path, "e", keep=2)
    assert len(versions(store / "tflite")) == len(versions(store / "saved_model")) == 2
    assert max(versions(store / "tflite")) == newest
    assert_whole(store)
    publish.rollback(URL, remote=fileio)
    assert served(store) == "b"


@pytest.mark.parametrize("error", [Died(), tf.errors.UnavailableError(None, None, "gone\naway")])
@pytest.mark.parametrize("action", ["push", "rollback"])
def test_failure_at_every_change(
    tmp_path: Path, store: Path, error: BaseException, action: str
) -> None:
    push_all(tmp_path, "abc")
    template = shutil.copytree(ObjectStore.root, tmp_path / "template")
    leftovers = 0
    for step in range(1, MOST_STEPS):
        shutil.rmtree(ObjectStore.root)
        shutil.copytree(template, ObjectStore.root)
        fail_at(step, error)
        try:
            if action == "push":
                push_all(tmp_path, "d", keep=2)
            else:
                publish.rollback(URL, remote=fileio)
        except Died:
            told = "gone away; mend"
        except UserError as raised:
            told = str(raised)
        else:
            break
        assert "gone away; mend" in told
        ObjectStore.before_change = staticmethod(lambda: None)
        assert_whole(store)
        seen = versions(store / "saved_model") | versions(store / "tflite")
        leftovers += len(seen) > len(list(store.glob("tflite/*/manifest.json")))
        (version,) = push_all(tmp_path, "e", keep=2)
        assert version > max(seen)
        assert versions(store / "saved_model") == versions(store / "tflite")
        # A rollback, begun or done, needs one more than the newest two.
        assert len(versions(store / "tflite")) == 2 or action == "rollback"
        assert served(store) == "e"
        assert_whole(store)
    assert step > (20 if action == "push" else 8)
    assert leftovers > 5


def test_half_a_manifest_is_no_version(tmp_path: Path, store: Path) -> None:
    """Not every plugin writes a file as a whole or not at all."""
    first, second = push_all(tmp_path, "ab")
    manifest = store / "tflite" / str(second) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    last = publish.last_pushed(URL, remote=fileio)
    assert last is not None and last["version"] == first
    (third,) = push_all(tmp_path, "b")
    assert third > second
    assert versions(store / "tflite") == versions(store / "saved_model") == {first, third}


def test_what_is_not_ours_is_left_alone(tmp_path: Path, store: Path) -> None:
    for name in ("saved_model/5/saved_model.pb", "tflite/6/model.tflite", "tflite/notes"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).touch()
    pushed = push_all(tmp_path, "abc", keep=2, now=lambda: 1)
    assert pushed == [7, 8, 9]
    assert versions(store / "saved_model") == {5, 8, 9}
    assert versions(store / "tflite") == {6, 8, 9}
    assert (store / "tflite/notes").exists()


def test_two_pushers_on_one_number(tmp_path: Path, store: Path) -> None:
    other = make_candidate(tmp_path / "other", "b")
    steps = 0

    def meanwhile() -> None:
        nonlocal steps
        steps += 1
        if steps == 2:  # the other one has looked before the first one's claim was there
            shutil.rmtree(store / "tflite/7")
            publish.push(other, URL, remote=fileio, now=lambda: 7)

    ObjectStore.before_change = staticmethod(meanwhile)
    # The first one has one object on its way, and makes no other.
    with pytest.raises(UserError, match=r"another pusher writes .*tflite/7"):
        push_all(tmp_path, "a", now=lambda: 7)
    assert push_all(tmp_path, "a", now=lambda: 7) == [8]
    assert served(store) == "a"
    assert verify(f"{URL}/tflite/8", remote=fileio).problems == ()


def test_a_copy_that_is_cut_short_is_found_out(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(upload: _Upload, chunk: bytes) -> None:
        upload.chunks.append(chunk[: len(chunk) // 2] if "index" in upload.path.name else chunk)

    monkeypatch.setattr(_Upload, "write", half)
    with pytest.raises(UserError, match=r"does not hold what was written: .*variables\.index has"):
        push_all(tmp_path, "a")
    assert not list(store.rglob("saved_model.pb")) and not list(store.rglob("manifest.json"))


def test_tensorflows_own_file_systems_serve(tmp_path: Path) -> None:
    """What TFX has no plugin for goes to tf.io.gfile."""
    destination = tmp_path / "pushed"
    pushed = push_all(tmp_path, "abc", destination.as_uri(), keep=2)
    assert verify(destination.as_uri(), remote=fileio).problems == ()
    assert publish.rollback(destination.as_uri(), remote=fileio).to == pushed[1]
    assert served(destination) == "b"
    assert {pushed[1], pushed[2]} < versions(destination / "tflite")
    # What was pushed to the URL can be read without TFX.
    assert verify(str(destination)).problems == ()


@pytest.mark.parametrize("url", ["s3://bucket/models", "hdfs://host/models"])
def test_a_scheme_without_a_plugin_is_one_clear_line(tmp_path: Path, url: str) -> None:
    for use in (publish.last_pushed, publish.rollback, verify):
        with pytest.raises(UserError, match=f"^push destination {url} .* not implemented") as error:
            use(url, remote=fileio)
        assert "\n" not in str(error.value)


def test_a_url_needs_a_file_system(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{URL} must be a local path here"):
        publish.push(make_candidate(tmp_path, "a"), URL)


class Execution:
    """One execution of the Pusher in a pipeline whose root is a URL."""

    def __init__(self, tmp_path: Path, destination: str, settings: PushSettings) -> None:
        root = ObjectStore.root / "root"
        candidate = make_candidate(tmp_path / "work", "a")
        shutil.copytree(candidate.saved_model_dir, root / "model/Format-Serving")
        shutil.copytree(candidate.tflite_dir, root / "tflite/student")
        (root / "evaluation").mkdir()
        (root / "evaluation/report.json").write_text(json.dumps(candidate.report))
        kinds = {
            "model": standard_artifacts.Model,
            "model_blessing": standard_artifacts.ModelBlessing,
            "tflite": TFLiteModels,
            "evaluation": standard_artifacts.ModelEvaluation,
            "pushed_model": standard_artifacts.PushedModel,
        }
        self.inputs = {name: [kind()] for name, kind in kinds.items()}
        for name, (artifact,) in self.inputs.items():
            artifact.uri = f"{SCHEME}root/{name}"
        self.inputs["model_blessing"][0].set_int_custom_property("blessed", 1)
        self.pushed_model = self.inputs.pop("pushed_model")[0]
        base = pusher_pb2.PushDestination.Filesystem(base_directory=destination)
        self.properties = {
            "push_destination": proto_utils.proto_to_json(
                pusher_pb2.PushDestination(filesystem=base)
            ),
            "push": settings.model_dump_json(),
            "pipeline": "digits",
        }

    def do(self) -> None:
        Executor().Do(self.inputs, {"pushed_model": [self.pushed_model]}, self.properties)


def test_executor_between_urls(tmp_path: Path, store: Path) -> None:
    execution = Execution(tmp_path, URL, PushSettings())
    execution.do()
    version = execution.pushed_model.get_string_custom_property("pushed_version")
    where = execution.pushed_model.get_string_custom_property("pushed_destination")
    assert where == f"{URL}/saved_model/{version}"
    assert execution.pushed_model.get_string_custom_property("pushed_tflite") == (
        f"{URL}/tflite/{version}"
    )
    assert served(store) == "a"
    assert (ObjectStore.root / "root/pushed_model/saved_model.pb").is_file()
    assert verify(URL, remote=fileio).problems == ()


@pytest.mark.slow
def test_executor_registers_what_it_has_pushed(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket of Google's, as far as the Pusher can tell."""
    registry = filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY
    monkeypatch.setitem(registry._preferred_filesystem_by_scheme, "gs://", ObjectStore)
    destination = "gs://models/digits"
    vertex = VertexRegistrySettings(project="acme", region="europe-west4")
    execution = Execution(
        tmp_path, destination, PushSettings(destination=destination, vertex=vertex)
    )
    with serve() as models:
        models.refuses = 1
        with pytest.raises(UserError, match=r"is pushed to gs://models/digits/.* not registered"):
            execution.do()
        (version,) = versions(store / "saved_model")
        assert served(store) == "a" and not models.models
        for _ in range(2):
            execution.do()
            assert versions(store / "saved_model") == {version}
        (registered,) = models.models["digits"]
    assert registered.artifact_uri == f"{destination}/saved_model/{version}"
    assert registered.labels["int8_accuracy"] == "0_9"
