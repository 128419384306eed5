"""The whole pipeline on gs://: artifacts, checkpoints and the push, at an emulator of GCS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT
from gcs_front import BUCKET, gcs_network, lacking
from report_figures import figures

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]

URL = f"gs://{BUCKET}"
# The nodes as on a cluster, which has its metadata elsewhere; prints where the evaluation lies.
RUN = """
import sys
from tfx.orchestration import metadata
from pipeline.beam_arguments import beam_arguments
from pipeline.config import load_config
from pipeline.graph import Places, create_pipeline
from pipeline.local_runner import LocalRunner
from pipeline.run_metadata import latest_output

url, database, *overrides = sys.argv[1:]
config = load_config("digits", overrides)
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


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that runs a command where GCS is the emulator."""
    if lack := lacking():
        pytest.skip(f"a network of its own needs {lack}")
    with gcs_network(tmp_path_factory.mktemp("gcs")) as (enter, environment):

        def run(*command: str) -> str:
            done = subprocess.run(
                [*enter, *command],
                env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        yield run


def test_a_run_on_gs_comes_to_what_the_local_run_comes_to(
    network: Any, miniature_run: Any, tmp_path: Path
) -> None:
    database = str(tmp_path / "metadata.sqlite")
    said = network(sys.executable, "-c", RUN, URL, database, *miniature_run.overrides)
    local = Path(miniature_run.uris["Evaluator.evaluation"], "report.json")
    assert figures(json.loads(said[said.index("{") :])) == figures(json.loads(local.read_text()))

    command = str(Path(sys.executable).with_name("tfx-distill"))
    assert "files as in the manifest" in network(command, "verify", f"{URL}/pushed")
