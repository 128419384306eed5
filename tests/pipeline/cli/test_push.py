"""`tfx-distill verify` and `tfx-distill push --rollback` on destinations that were pushed to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from object_store import ObjectStore

from modules.push import publish
from pipeline.cli.main import main


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def push_student(directory: Path, token: str, destination: str, **options: Any) -> int:
    """Push a student whose files hold the token; its version."""
    (directory / "saved_model").mkdir(parents=True)
    (directory / "saved_model" / "saved_model.pb").write_text(token)
    exported = directory / "student" / "int8"
    exported.mkdir(parents=True)
    (exported / "model.tflite").write_text(token)
    sha256 = hashlib.sha256(token.encode()).hexdigest()
    spec = {"inputs": [], "output": {}, "task": "binary", "labels": ["a", "b"], "sha256": sha256}
    (exported / "spec.json").write_text(json.dumps(spec | {"size_bytes": len(token)}))
    (directory / "preprocessing").mkdir()
    preprocessing = {"spec": {}, "raw": {}, "vocabularies": {}}
    (directory / "preprocessing" / "preprocessing.json").write_text(json.dumps(preprocessing))
    report = {
        "student": {},
        "saved_model": {"saved_model.pb": sha256},
        "variants": {"int8": {"sha256": sha256}},
        "comparison": {},
        "gate": {"blessed": True, "tflite": ["int8"]},
    }
    candidate = publish.Candidate(str(directory / "saved_model"), str(directory), report, "digits")
    return int(publish.push(candidate, destination, **options).version)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The output directory of a run that has pushed two versions."""
    for token in ("first", "second"):
        push_student(tmp_path / token, token, str(tmp_path / "run" / "pushed"))
    return tmp_path / "run"


def versions(run: Path) -> list[int]:
    return sorted(int(path.name) for path in (run / "pushed" / "tflite").iterdir())


def test_verify_the_newest_version(run: Path) -> None:
    line = f"version {versions(run)[-1]}: 2 files as in the manifest\n"
    for place in (run, run / "pushed"):
        result = invoke("verify", place)
        assert (result.exit_code, result.stdout, result.stderr) == (0, line, "")


def test_verify_one_version(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, _ = versions(run)
    for form in ("saved_model", "tflite"):
        result = invoke("verify", run / "pushed" / form / str(older))
        assert result.stdout == f"version {older}: 2 files as in the manifest\n"
    monkeypatch.chdir(run / "pushed" / "tflite" / str(older))
    assert invoke("verify", ".").stdout == f"version {older}: 2 files as in the manifest\n"


def test_verify_names_what_is_wrong(run: Path) -> None:
    newest = str(versions(run)[-1])
    (run / "pushed" / "tflite" / newest / "model.tflite").write_text("other")
    (run / "pushed" / "saved_model" / newest / "saved_model.pb").unlink()
    result = invoke("verify", run)
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
    assert "saved_model.pb" in result.stderr and "model.tflite" in result.stderr


@pytest.mark.parametrize("command", [["verify"], ["push", "--rollback"]])
def test_a_directory_that_is_not_there(tmp_path: Path, command: list[str]) -> None:
    result = invoke(*command, tmp_path / "none")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: DIR must be a run's output directory or a push destination, but "
        f"{tmp_path / 'none'} is no directory; correct the path\n"
    )


@pytest.mark.parametrize("command", [["verify"], ["push", "--rollback"]])
def test_nothing_was_pushed(tmp_path: Path, command: list[str]) -> None:
    result = invoke(*command, tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and str(tmp_path) in line


@pytest.mark.parametrize("place", ["", "pushed"])
def test_rollback(run: Path, place: str) -> None:
    older, newer = versions(run)
    result = invoke("push", "--rollback", run / place)
    assert (result.exit_code, result.stderr) == (0, "")
    newest = versions(run)[-1]
    assert newest > newer
    sentence = f"version {newest} has the content of version {older}, back from {newer}\n"
    assert result.stdout == f"{run / 'pushed'}: {sentence}"
    tflite = run / "pushed" / "tflite" / str(newest) / "model.tflite"
    assert tflite.read_text() == "first"
    assert invoke("verify", run).exit_code == 0


def test_rollback_of_the_default_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = run.parent
    (home / "runs").mkdir()
    run.rename(home / "runs" / "digits")
    monkeypatch.chdir(home)
    result = invoke("push", "--rollback")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{home / 'runs' / 'digits' / 'pushed'}: version ")


def test_nothing_to_go_back_to(tmp_path: Path) -> None:
    push_student(tmp_path / "student", "only", str(tmp_path / "pushed"))
    result = invoke("push", "--rollback", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no version to roll back to" in result.stderr


def test_urls_stay_urls(tmp_path: Path) -> None:
    ObjectStore.reset()
    url = "bucket://models/digits"
    older, newer = (push_student(tmp_path / token, token, url) for token in ("first", "second"))
    assert invoke("verify", url).stdout == f"version {newer}: 2 files as in the manifest\n"
    result = invoke("push", "--rollback", url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{url}: version ")
    assert result.stdout.endswith(f"has the content of version {older}, back from {newer}\n")
    assert not (Path.cwd() / "bucket:").exists()
