"""Registration in the Vertex AI Model Registry: the real client, a registry on this machine."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from pushes import make_candidate
from vertex_server import PARENT, Registry, serve

from modules.errors import ConfigError, UserError
from modules.push import publish
from modules.push.manifest import Manifest
from modules.push.registry import check_push, labels, register
from modules.settings import PushSettings, VertexRegistrySettings

SETTINGS = VertexRegistrySettings(project="acme", region="europe-west4")
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve() as running:
        yield running


def pushed(tmp_path: Path, token: str, pipeline: str = "digits", **report: Any) -> Manifest:
    candidate = make_candidate(tmp_path / "work", token)
    candidate = dataclasses.replace(
        candidate, pipeline=pipeline, report={**candidate.report, **report}
    )
    return publish.push(candidate, str(tmp_path / "pushed")).manifest


def url(manifest: Manifest) -> str:
    return f"gs://bucket/models/saved_model/{manifest.version}"


@pytest.mark.slow
def test_each_push_becomes_a_version_of_one_model(tmp_path: Path, registry: Registry) -> None:
    for number, token in enumerate("ab", start=1):
        manifest = pushed(tmp_path, token)
        name = register(manifest, url(manifest), SETTINGS)
        assert name == f"{PARENT}/models/digits@{number}"
        model = registry.models["digits"][-1]
        assert model.artifact_uri == url(manifest)
        assert model.container_spec.image_uri == IMAGE
        assert model.display_name == "digits"
        assert list(model.version_aliases) == [f"v{manifest.version}", "default"]
        assert dict(model.labels) == labels(manifest)
    assert registry.uploads == 2


@pytest.mark.slow
def test_the_same_content_is_registered_once(tmp_path: Path, registry: Registry) -> None:
    first, second = pushed(tmp_path, "a"), pushed(tmp_path, "b")
    names = [register(m, url(m), SETTINGS) for m in (first, second, first, second)]
    assert names[:2] == names[2:] and names[0] != names[1]
    assert registry.uploads == 2


@pytest.mark.slow
def test_display_name_and_ids_that_vertex_takes(tmp_path: Path, registry: Registry) -> None:
    settings = SETTINGS.model_copy(update={"display_name": "Digits, small"})
    for pipeline in ("3-digits", "x" * 80):
        manifest = pushed(tmp_path, pipeline[0], pipeline)
        register(manifest, url(manifest), settings)
        register(pushed(tmp_path, f"{pipeline[0]}2", pipeline), url(manifest), settings)
    assert set(registry.models) == {"m-3-digits", "x" * 63}
    assert {m.display_name for found in registry.models.values() for m in found} == {
        "Digits, small"
    }


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refuses", "broken_operations"])
def test_a_failure_is_one_line_and_the_next_run_registers(
    tmp_path: Path, registry: Registry, fault: str
) -> None:
    manifest = pushed(tmp_path, "a")
    setattr(registry, fault, 1)
    told = "is not allowed" if fault == "refuses" else "the image cannot be pulled"
    with pytest.raises(UserError, match=rf"is pushed to gs://.*not registered .*{told}") as error:
        register(manifest, url(manifest), SETTINGS)
    assert "\n" not in str(error.value)
    assert registry.uploads == 0
    assert register(manifest, url(manifest), SETTINGS) == f"{PARENT}/models/digits@1"


def test_labels_are_the_reports_numbers(tmp_path: Path) -> None:
    manifest = pushed(
        tmp_path,
        "a",
        student={"accuracy": 0.99126, "loss": None, "parameters": 12345, "latency": {"p50": 1}},
        comparison={
            "accuracy_change": -0.0025,
            "compression": 12.345,
            "speedup": {"median": 3.66, "ci_low": 3.5},
            "aa_control": {},
        },
    )
    assert labels(manifest) == {
        "content": manifest.content_digest[:63],
        "pipeline": "digits",
        "version": str(manifest.version),
        "tflite": "int8",
        "student_accuracy": "0_9913",
        "student_parameters": "12345",
        "accuracy_change": "-0_0025",
        "compression": "12_35",
        "speedup": "3_66",
        "int8_accuracy": "0_9",
    }


def test_a_report_of_many_numbers_fits(tmp_path: Path) -> None:
    student = {f"Größe {i} {'x' * 80}{i}": 1e-9 * i for i in range(100)}
    found = labels(pushed(tmp_path, "a", student=student))
    assert len(found) <= 64
    assert all(
        set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for text in found.values()
    )
    assert all(len(text) <= 63 for text in (*found, *found.values()))


@pytest.mark.parametrize("destination", [None, "/srv/models", "s3://bucket/models"])
def test_vertex_needs_a_bucket_that_it_can_read(destination: str | None) -> None:
    with pytest.raises(ConfigError, match=r"push\.vertex needs push\.destination to be a gs://"):
        check_push(PushSettings(destination=destination, vertex=SETTINGS))
    check_push(PushSettings(destination=destination))
    check_push(PushSettings(destination="gs://bucket/models", vertex=SETTINGS))


def test_importing_is_light() -> None:
    code = (
        "import modules.push.publish, modules.push.verify, modules.push.registry, sys; "
        "sys.exit(bool({'tensorflow', 'tfx', 'google.cloud.aiplatform'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
