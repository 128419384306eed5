"""What the tests of pushing share: students made of telling bytes, and eyes on a destination."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from modules.push import publish
from modules.push.candidate import Candidate

WARMUP = "assets.extra/tf_serving_warmup_requests"
FILES = (
    WARMUP,
    "assets/v.txt",
    "saved_model.pb",
    "variables/variables.data",
    "variables/variables.index",
)
VOCABULARY = "vocabulary_city.txt"
TENSOR = {"name": "x", "shape": [1, 8, 8, 1], "dtype": "int8"}
KINDS = ("saved_model", "tflite")


def content(token: str, name: str) -> bytes:
    return f"{token}|{name};".encode() * 200


def digest(token: str, name: str) -> str:
    return hashlib.sha256(content(token, name)).hexdigest()


def make_candidate(
    work_dir: Path, token: str, variants: tuple[str, ...] = ("int8",), **metrics: Any
) -> Candidate:
    """A student of which every file tells its token; the same token gives the same content."""
    for name in FILES:
        file = work_dir / "saved_model" / name
        if name == WARMUP:
            file = work_dir / "export" / "warmup" / file.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(token, name))
    measured = {}
    for variant in variants:
        directory = work_dir / "export" / "student" / variant
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.tflite").write_bytes(content(token, variant))
        sha256 = digest(token, variant)
        spec = {
            "inputs": [{**TENSOR, "quantization": {"scale": 0.1, "zero_point": -3}}],
            "output": {**TENSOR, "name": "y", "quantization": None},
            "task": "binary",
            "labels": ["zéro", "one"],
            "sha256": sha256,
            "size_bytes": len(content(token, variant)),
        }
        (directory / "spec.json").write_text(json.dumps(spec))
        measured[variant] = {"accuracy": 0.9, "sha256": sha256, **metrics}
    _write_preprocessing(work_dir / "export" / "preprocessing", token)
    report = {
        "student": {"accuracy": 0.95},
        "saved_model": {name: digest(token, name) for name in FILES if name != WARMUP},
        "variants": {**measured, "float32": {"accuracy": 0.94, "sha256": "0" * 64}},
        "comparison": {"agreement": 0.97},
        "gate": {"blessed": True, "tflite": list(variants)},
    }
    return Candidate(
        str(work_dir / "saved_model"), str(work_dir / "export"), report, "digits-nightly"
    )


def _write_preprocessing(directory: Path, token: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / VOCABULARY).write_bytes(content(token, VOCABULARY))
    vocabulary = {"file": VOCABULARY, "sha256": digest(token, VOCABULARY)}
    preprocessing = {"spec": {}, "raw": {}, "vocabularies": {"city": vocabulary}}
    (directory / "preprocessing.json").write_text(json.dumps(preprocessing))


def push_all(work_dir: Path, destination: Path | str, tokens: str, **options: Any) -> list[int]:
    """Pushes one student for each letter; the versions."""
    candidates = (make_candidate(work_dir, token) for token in tokens)
    return [publish.push(c, str(destination), **options).version for c in candidates]


def push_exported(
    serving_dir: str, tflite: Path, variants: list[str], destination: str, **options: Any
) -> publish.Pushed:
    """Pushes a real SavedModel with some TFLite variants, of which the first is model.tflite."""
    files = {name: tflite / "student" / name / "model.tflite" for name in variants}
    measured = {
        name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for name, file in files.items()
    }
    report = {
        "student": {},
        "saved_model": {
            str(path.relative_to(serving_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in Path(serving_dir).rglob("*")
            if path.is_file()
        },
        "variants": measured,
        "comparison": {},
        "gate": {"blessed": True, "tflite": variants},
    }
    candidate = Candidate(serving_dir, str(tflite), report, "digits")
    return publish.push(candidate, destination, **options)


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def versions(directory: Path) -> set[int]:
    return {int(name) for name in names(directory) if name.isdigit()}


def manifest(destination: Path, version: int) -> dict[str, Any]:
    file = destination / "tflite" / str(version) / "manifest.json"
    return dict(json.loads(file.read_text()))


def make_schema_1(destination: Path, version: int) -> None:
    """Writes a version's manifest as the first schema had it."""
    found = manifest(destination, version)
    for key in ("more", "report", "rollback", "pipeline", "task", "preprocessing"):
        del found[key]
    found["input"] = found.pop("inputs")[0]
    (destination / "tflite" / str(version) / VOCABULARY).unlink()
    file = destination / "tflite" / str(version) / "manifest.json"
    file.write_text(json.dumps({**found, "schema_version": 1}))


def token_of(version_dir: Path) -> str:
    """The token of a SavedModel all of whose files are there and tell the same one."""
    token = (version_dir / "saved_model.pb").read_bytes().split(b"|")[0].decode()
    for name in FILES:
        assert (version_dir / name).read_bytes() == content(token, name), version_dir / name
    return token


def served(destination: Path) -> str:
    """The token of what TF Serving would serve: the highest number."""
    return token_of(destination / "saved_model" / str(max(versions(destination / "saved_model"))))


def assert_all_whole(destination: Path, known: set[Path] | None = None) -> None:
    """Opens every version that a reader can see; those already in `known` are passed over.

    A version may go while it is read, as old ones do, but not while it is still listed.
    """
    known = set() if known is None else known
    # TFLite first: a SavedModel that its manifest names must be there by now.
    for kind in ("tflite", "saved_model"):
        root = destination / kind
        for version_dir in {root / str(v) for v in versions(root)} - known:
            try:
                _assert_whole(version_dir, kind)
            except FileNotFoundError:
                assert not version_dir.exists(), f"{version_dir} lacks something"
            known.add(version_dir)


def _assert_whole(version_dir: Path, kind: str) -> None:
    if kind == "saved_model":
        token_of(version_dir)
        return
    found = json.loads((version_dir / "manifest.json").read_text())
    assert found["version"] == int(version_dir.name)
    token = token_of(version_dir / found["saved_model"]["path"])
    for entry in (found, *found.get("more", [])):
        assert (version_dir / entry["file"]).read_bytes() == content(token, entry["variant"])
    vocabularies = [VOCABULARY] if found.get("preprocessing") else []
    for name in vocabularies:
        assert (version_dir / name).read_bytes() == content(token, name)
    files = [entry["file"] for entry in (found, *found.get("more", []))]
    listed = ["manifest.json", *files, *vocabularies]
    assert names(version_dir) == sorted(listed) or not version_dir.exists()
