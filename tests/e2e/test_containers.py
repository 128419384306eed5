"""The real image in real containers: by itself, and driven by KFP's own local engine.

`make test-real` runs this. The image is built first, which takes minutes, so nothing else does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_server import DOCKER, IMAGE, build_image, docker_server, lacking
from report_figures import figures

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(3600)]

USER = 10001
# Waits as a training would.
EXECUTOR = """
import time
from tfx.dsl.components.base import base_executor
class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        print("at work", flush=True)
        time.sleep(300)
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[str]:
    """The address of a Docker server that has the image."""
    if lack := lacking():
        pytest.skip(f"containers need {lack}")
    # Not pytest's directory, which would keep gigabytes.
    with tempfile.TemporaryDirectory(prefix="tfx-distill-docker-") as name:
        directory = Path(name)
        with docker_server(directory) as address, pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", address)
            build_image(address, directory)
            yield address


@pytest.fixture(scope="module")
def local_figures(miniature_run: Any) -> dict[str, Any]:
    path = Path(miniature_run.uris["Evaluator.evaluation"], "report.json")
    return figures(json.loads(path.read_text()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory that the image's user may write to."""
    directory = tmp_path / "root"
    directory.mkdir()
    os.chown(directory, USER, USER)
    # pytest's own directories are closed to others, but what is mounted is the last one alone.
    return directory


def in_container(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as the image's own user, who may write to the mounted root alone.

    New files are for him alone, he has no HOME, and 64 files may be open.
    """
    bare = ("sh", "-c", 'umask 077; unset HOME; exec "$@"', "sh")
    options = ("--rm", "--network=none", "--ulimit=nofile=64:64", f"--volume={root}:{root}")
    return subprocess.run(
        [DOCKER, "run", *options, IMAGE, *bare, *command],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("docker")
def test_a_run_in_the_image_comes_to_what_the_local_run_comes_to(
    root: Path, miniature_run: Any, local_figures: dict[str, Any]
) -> None:
    settings = [word for each in miniature_run.overrides for word in ("--set", each)]
    done = in_container(
        root, "tfx-distill", "run", "digits", "--output", str(root / "run"), *settings
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((root / "run" / "report" / "report.json").read_text())
    assert figures(report) == local_figures
    pushed = root / "run" / "pushed"
    assert {path.name for path in pushed.iterdir()} >= {"saved_model", "tflite"}
    assert {path.stat().st_uid for path in pushed.rglob("*")} == {USER}


@pytest.mark.usefixtures("docker")
def test_kfps_own_local_engine_comes_to_what_the_local_run_comes_to(
    root: Path, miniature_run: Any, local_figures: dict[str, Any]
) -> None:
    """Its order, its placeholders, its types of artifacts; every node in a container."""
    from kfp import components, local

    from pipeline.clusters.compilation import compile_pipeline

    config = miniature_run.config(f"runtime.image={IMAGE}", "runtime.pipeline_root=gs://none/root")
    pipeline = components.load_component_from_text(compile_pipeline(config, "kubeflow"))
    local.init(runner=local.DockerRunner(network_mode="none"), pipeline_root=str(root))
    pipeline(push_destination=str(root / "pushed"))
    (report,) = root.glob("*/*/evaluation/report.json")
    assert figures(json.loads(report.read_text())) == local_figures
    assert {path.name for path in (root / "pushed").iterdir()} >= {"saved_model", "tflite"}


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_although_it_is_the_first_process(root: Path, number: int) -> None:
    """Which Linux lets ignore signals that it has no handler for."""
    (root / "executors.py").write_text(EXECUTOR)
    command = [
        *(DOCKER, "run", "--rm", "--network=none", f"--volume={root}:{root}"),
        *(f"--cidfile={root / 'id'}", f"--env=PYTHONPATH={root}", IMAGE),
        *("python", "-m", "pipeline.clusters.container"),
        *("--executor_class_path", "executors.Executor"),
        *("--json_serialized_inputs_spec_args", "{}"),
        "--json_serialized_invocation_args",
        json.dumps({"outputs": {"outputFile": str(root / "output.json")}}),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None and node.stdout.readline() == "at work\n"
        container = (root / "id").read_text()
        kill = [DOCKER, "kill", f"--signal={int(number)}", container]
        subprocess.run(kill, check=True, capture_output=True)
        _, shown = node.communicate(timeout=60)
    lines = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert node.returncode == 128 + number
    assert len(lines) == 1 and lines[0].endswith("goes on from what is saved")


@pytest.mark.usefixtures("docker")
def test_the_image_is_no_larger_than_it_has_been() -> None:
    command = [DOCKER, "image", "inspect", "--format={{.Size}}", IMAGE]
    size = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert size < 3.4e9
