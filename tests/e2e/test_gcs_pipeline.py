"""The whole pipeline on gs://: data, artifacts, checkpoints and the push, at an emulator of GCS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from gcs_front import BUCKET, gcs_network, lacking
from report_figures import figures

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]

URL = f"gs://{BUCKET}"
EPOCHS = 6
# A server that is busy answers some requests with 503.
REFUSED_EVERY = 25
SETTINGS = (
    "teacher.parameters={widths: [8, 16], blocks: 1}",
    "teacher.train.epochs=4",
    f"student.train.epochs={EPOCHS}",
    "latency={processes: 3, blocks: 3, queries_per_block: 10}",
    "gate={min_accuracy: 0.2, max_tflite_accuracy_drop: 0.5, allow_below_control: true}",
    "runtime.checkpoint_seconds=0",
)
# The nodes as on a cluster, which has its metadata elsewhere; prints where the evaluation lies.
RUN = """
import logging
import sys
from tfx.orchestration import metadata
from pipeline.beam_arguments import beam_arguments
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline
from pipeline.local_runner import LocalRunner
from pipeline.run_metadata import latest_output

logging.getLogger("tfx_distill").setLevel(logging.INFO)
url, database, *overrides = sys.argv[1:]
image = "{kind: image, size: 8, channels: 1}"
data = f"data={{source: image_folder, path: '{url}/digits', features: {{image: {image}}}}}"
config = load_config("digits", [data, *overrides])
where = Places(
    pipeline_root=f"{url}/root",
    push_destination=f"{url}/pushed",
    metadata=metadata.sqlite_metadata_connection_config(database),
    beam_arguments=beam_arguments(config.runtime, "local", f"{url}/root"),
)
LocalRunner(config).run(create_pipeline(config, where))
with metadata.Metadata(where.metadata) as handle:
    uri = latest_output(handle.store, "digits", "Evaluator", "evaluation").uri
from tfx.dsl.io import fileio
print(fileio.open(f"{uri}/report.json").read())
"""
PUT = """
import sys
import gcsfs

gcsfs.GCSFileSystem().put(sys.argv[1], sys.argv[2], recursive=True)
"""
# Ends when the student's training has been saved, which it prints.
AWAIT_CHECKPOINT = f"""
import time
import gcsfs

while not (found := gcsfs.GCSFileSystem(use_listings_cache=False).glob(
    "{BUCKET}/root/Distiller/resume/**/state.npz"
)):
    time.sleep(0.05)
print(*found)
"""


@dataclass
class Network:
    """Where GCS is the emulator."""

    enter: Sequence[str]
    environment: dict[str, str]

    def start(self, *command: str, log: Path) -> subprocess.Popen[str]:
        """A process in it; its own id is the command's. Its stderr is appended to `log`."""
        with log.open("a") as stderr:
            return subprocess.Popen(
                [*self.enter, *command],
                env=os.environ | self.environment | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def run(self, *command: str, log: Path) -> str:
        """What a command printed that succeeded."""
        with self.start(*command, log=log) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, log.read_text()[-3000:]
        return said


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network of this module alone."""
    if lack := lacking():
        pytest.skip(f"a network of its own needs {lack}")
    with gcs_network(tmp_path_factory.mktemp("gcs"), REFUSED_EVERY) as (enter, environment):
        yield Network(enter, environment)


def write_digits(folder: Path) -> None:
    """Every fourth one, as an image folder."""
    from modules.data.sources.digits import digits

    for index, (png, label) in enumerate(digits()):
        if index % 4 == 0:
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            (folder / str(label) / f"{index}.png").write_bytes(png)


def report(said: str) -> dict[str, Any]:
    """The figures of the report that a run has printed."""
    return figures(json.loads(said[said.index("{") :]))


def test_a_killed_run_at_a_busy_gs_comes_to_what_one_on_disk_comes_to(
    network: Network, tmp_path: Path
) -> None:
    log, others = tmp_path / "run.log", tmp_path / "others.log"
    write_digits(tmp_path / "digits")
    network.run(sys.executable, "-c", PUT, str(tmp_path / "digits"), f"{URL}/digits", log=others)
    on_gs = [sys.executable, "-c", RUN, URL, str(tmp_path / "gs.sqlite"), *SETTINGS]

    with (
        network.start(*on_gs, log=log) as killed,
        network.start(sys.executable, "-c", AWAIT_CHECKPOINT, log=others) as awaits,
    ):
        try:
            while awaits.poll() is None:
                assert killed.poll() is None, log.read_text()[-3000:]
                time.sleep(0.05)
        finally:
            killed.kill()
            awaits.kill()
    assert awaits.returncode == 0, others.read_text()[-3000:]

    said = network.run(*on_gs, log=log)
    again = [line for line in log.read_text().splitlines() if "taken up again" in line]
    assert len(again) == 1 and 1 <= int(again[0].split()[-1]) <= EPOCHS

    on_disk = [sys.executable, "-c", RUN, str(tmp_path), str(tmp_path / "disk.sqlite"), *SETTINGS]
    unbroken = subprocess.run(on_disk, cwd=ROOT, capture_output=True, text=True, check=True)
    assert report(said) == report(unbroken.stdout)

    command = str(Path(sys.executable).with_name("tfx-distill"))
    assert "files as in the manifest" in network.run(command, "verify", f"{URL}/pushed", log=others)
