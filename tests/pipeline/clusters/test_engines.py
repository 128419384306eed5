"""What an engine cannot run is refused in one line, before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from modules.errors import ConfigError
from pipeline.cli.main import main
from pipeline.clusters.engines import Engine, cautions, check_engine
from pipeline.config import load_config

DIGEST = "eu.gcr.io/acme/tfx-distill@sha256:" + 64 * "0"
GIVEN = {
    "runtime.image": "registry:5000/acme/tfx-distill:1.0",
    "runtime.pipeline_root": "gs://bucket/pipelines",
}
TRAINER = "runtime.resources.trainer"
IMAGES = "source: image_folder, features: {image: {kind: image, size: 8}}"


def config(*overrides: str, **given: str) -> Any:
    settings = {**GIVEN, **{f"runtime.{key}": value for key, value in given.items()}}
    return load_config("digits", [*(f"{k}={v}" for k, v in settings.items()), *overrides])


def refusal(engine: Any, *overrides: str, **given: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_engine(config(*overrides, **given), engine)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("engine", ["kubeflow", "vertex"])
@pytest.mark.parametrize(
    "image",
    [
        "tfx-distill:0.1.0",
        "localhost:5000/x:y",
        "a.b/c/d_e-f:V1.2",
        DIGEST,
        f"acme/x:latest{DIGEST[-72:]}",
    ],
)
def test_an_image_that_does_not_change_is_accepted(engine: Engine, image: str) -> None:
    check_engine(config(image=image), engine)


@pytest.mark.parametrize("image", ["tfx-distill", "localhost:5000/tfx-distill", "a/b:latest"])
def test_an_image_that_may_change_is_accepted_by_force_alone(image: str) -> None:
    assert refusal("vertex", image=image) == (
        f"runtime.image must not change under a compiled pipeline, got {image!r}; name a "
        "version's tag or a digest (image@sha256:...), or give --force"
    )
    check_engine(config(image=image), "vertex", allow_mutable_image=True)


@pytest.mark.parametrize("image", ["a b:1", "A/B:1", "a:b:1", "a@sha256:12", "http://a/b:1"])
def test_what_is_no_image_is_refused(image: str) -> None:
    assert f"must be a container image such as registry/project/name:tag, got {image!r}" in refusal(
        "kubeflow", image=f"'{image}'"
    )


@pytest.mark.parametrize(
    ("engine", "roots"),
    [
        ("kubeflow", ["gs://bucket/a", "gs://bucket"]),
        ("vertex", ["gs://bucket/a/"]),
    ],
)
def test_a_root_that_the_engine_reads_is_accepted(engine: Engine, roots: list[str]) -> None:
    for root in roots:
        check_engine(config(pipeline_root=root), engine)


@pytest.mark.parametrize("scheme", ["minio", "s3"])
def test_kubeflow_carries_what_tfx_cannot_read_but_not_the_push(scheme: str) -> None:
    root = f"{scheme}://bucket/a"
    assert "push.destination must be gs://bucket/path" in refusal("kubeflow", pipeline_root=root)
    accepted = config("push.destination=gs://bucket/models", pipeline_root=root)
    check_engine(accepted, "kubeflow")
    assert not any("credentials" in sentence for sentence in cautions(accepted, "kubeflow"))
    assert any("begins anew" in sentence for sentence in cautions(accepted, "kubeflow"))
    assert "runtime.pipeline_root must be gs://bucket/path" in refusal("vertex", pipeline_root=root)


def test_kubeflows_pusher_writes_to_s3_where_it_has_credentials() -> None:
    accepted = config("push.destination=s3://bucket/models", pipeline_root="s3://bucket/a")
    check_engine(accepted, "kubeflow")
    (caution,) = [each for each in cautions(accepted, "kubeflow") if "credentials" in each]
    assert caution.startswith("push.destination s3://bucket/models needs the store's credentials")


REFUSED = {
    ("vertex", "push.destination=s3://bucket/models"): (
        "push.destination must be gs://bucket/path on Vertex AI Pipelines, which the Pusher can "
        "write"
    ),
    ("kubeflow", "push.destination=/srv/models"): (
        "push.destination must be gs://bucket/path or s3://bucket/path on Kubeflow Pipelines"
    ),
    ("kubeflow", "runtime.image=null"): "runtime.image must be set, since Kubeflow Pipelines runs",
    ("vertex", "runtime.image=null"): "runtime.image must be set, since Vertex AI Pipelines runs",
    ("vertex", "runtime.pipeline_root=null"): (
        "runtime.pipeline_root must be set, where Vertex AI Pipelines keeps the artifacts; set it "
        "to gs://bucket/path"
    ),
    ("vertex", "runtime.pipeline_root=/tmp/runs"): (
        "runtime.pipeline_root must be gs://bucket/path, which Vertex AI Pipelines can read, got "
        "'/tmp/runs'"
    ),
    ("kubeflow", "runtime.pipeline_root=runs"): (
        "runtime.pipeline_root must be gs://bucket/path or minio://bucket/path or s3://bucket/path"
    ),
    ("vertex", "runtime.pipeline_root=gs://"): "got 'gs://'",
    ("kubeflow", "name=my_digits"): (
        "name must have only a-z, 0-9 and - on Kubeflow Pipelines, got 'my_digits'; set name: "
        "my-digits"
    ),
    ("vertex", "push.destination=/srv/models"): (
        "push.destination must be gs://bucket/path on Vertex AI Pipelines, which the Pusher can "
        "write and which outlives the container, got '/srv/models'; set it"
    ),
    ("vertex", f"data={{{IMAGES}, path: photos}}"): (
        "data.path must be a URL such as gs://bucket/images on Vertex AI Pipelines, or an absolute "
        "path in the image, got 'photos'"
    ),
    ("kubeflow", f"data={{{IMAGES}, path: s3://bucket/photos}}"): (
        "data.path must be gs://bucket/path, which TFX can read, got 's3://bucket/photos'"
    ),
    ("vertex", f"{TRAINER}.accelerator=nvidia-tesla-t4"): "did you mean NVIDIA_TESLA_T4",
    ("vertex", "runtime.resources.evaluator.accelerator=NVIDIA_T4"): (
        "runtime.resources.evaluator.accelerator must be one of NVIDIA_A100_80GB, "
    ),
    ("kubeflow", f"{TRAINER}.accelerator=NVIDIA_TESLA_T4"): (
        "runtime.resources.trainer.accelerator must be a resource of Kubernetes such as "
        "nvidia.com/gpu, or on GKE an accelerator such as nvidia-tesla-t4, got 'NVIDIA_TESLA_T4'"
    ),
    ("kubeflow", f"{TRAINER}.replicas=2"): (
        "runtime.resources.trainer.replicas is for Vertex CustomJobs, got 2; on Kubeflow Pipelines "
        "a node is one container: remove the key"
    ),
    ("kubeflow", f"{TRAINER}.machine_type=n1-standard-8"): "machine_type is for Vertex CustomJobs",
    ("vertex", f"{TRAINER}={{replicas: 2, machine_type: n1-standard-8}}"): (
        "runtime.vertex.project must be set for Trainers that run as CustomJobs"
    ),
    ("kubeflow", "runtime.strategy=multi_worker"): (
        "runtime.strategy is multi_worker, but a Trainer runs on one machine on Kubeflow Pipelines"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("engine", "override"), REFUSED)
def test_the_refusal_names_key_rule_and_value(engine: str, override: str) -> None:
    assert REFUSED[engine, override] in refusal(engine, override)


VERTEX = "runtime.vertex={project: acme, region: europe-west4}"
POOLS = f"{TRAINER}={{replicas: 2, machine_type: n1-standard-8}}"


def test_several_machines_need_to_know_of_each_other() -> None:
    check_engine(config(VERTEX, POOLS, "runtime.strategy=multi_worker"), "vertex")
    line = refusal("vertex", VERTEX, POOLS, "runtime.strategy=mirrored")
    assert "the same model on each of the 2 replicas; set it to auto" in line
    tuned = "distill.alpha=auto"
    check_engine(config(VERTEX, POOLS, tuned), "vertex")
    line = refusal("vertex", VERTEX, POOLS, tuned, "runtime.strategy=multi_worker")
    assert "but the search runs on one machine" in line
    line = refusal("vertex", VERTEX, f"{TRAINER}.replicas=2")
    assert "runtime.resources.trainer.machine_type must be set" in line


def test_beam_workers_elsewhere_need_a_root_that_they_can_read() -> None:
    line = refusal(
        "kubeflow",
        "runtime.beam.kubeflow.runner=flink",
        "push.destination=gs://bucket/models",
        pipeline_root="minio://bucket/a",
    )
    assert "runtime.beam.kubeflow.runner is flink, whose workers need a pipeline root" in line


def test_an_unknown_engine_is_refused() -> None:
    assert refusal("airflow") == "the engine must be one of kubeflow, vertex, got 'airflow'"


@pytest.mark.parametrize(
    ("engine", "overrides", "sentence"),
    [
        ("vertex", [f"data={{{IMAGES}, path: /data}}"], "must exist in the image"),
        (
            "kubeflow",
            [f"data={{{IMAGES}, path: gs://b/a}}"],
            "every run trains anew",
        ),
        ("vertex", ["student.model=mine.models:build"], "student.model mine.models:build must be"),
        ("vertex", ["runtime.resources.default.spot=true"], "resources.default.spot has no effect"),
        ("vertex", [f"{TRAINER}={{machine_type: m, cpu: 2}}"], "trainer.cpu and memory have no"),
    ],
)
def test_what_may_surprise_is_said(engine: Engine, overrides: list[str], sentence: str) -> None:
    assert cautions(config(), engine) == []
    assert any(sentence in found for found in cautions(config(*overrides), engine))


def test_spot_machines_are_there_for_custom_jobs() -> None:
    found = cautions(config(f"{TRAINER}={{machine_type: m, spot: true}}"), "vertex")
    assert found == []


def test_the_checks_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from pipeline.config import load_config\n"
        "from pipeline.clusters.engines import check_engine\n"
        f"overrides = {[f'{key}={value}' for key, value in GIVEN.items()]}\n"
        "check_engine(load_config('digits', overrides), 'vertex')\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'kfp', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--engine", "airflow"], 2, "'airflow' is not one of 'kubeflow', 'vertex'"),
        (["--engine", "vertex"], 2, "error: runtime.image must be set"),
        (["--engine", "vertex", "no.yaml"], 2, "error: 'no.yaml' is neither a preset"),
    ],
)
def test_the_command_refuses_without_a_file(
    arguments: list[str], code: int, line: str, tmp_path: Any
) -> None:
    file = tmp_path / "out"
    done = CliRunner().invoke(main, ["compile", *arguments, "-o", str(file)])
    assert (done.exit_code, file.exists()) == (code, False)
    assert line in done.output
