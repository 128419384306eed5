"""Beam's own options understand what `runtime.beam` becomes."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

from modules.errors import ConfigError
from modules.settings import Place, RuntimeSettings
from pipeline.beam_arguments import IN_MEMORY, beam_arguments

ROOT = "gs://bucket/root"
VERTEX = {"project": "acme", "region": "europe-west4", "service_account": "beam@acme"}


def arguments(beam: dict[str, Any], place: Place = "local", **runtime: Any) -> list[str]:
    settings = RuntimeSettings.model_validate({"beam": {place: beam}, **runtime})
    return beam_arguments(settings, place, ROOT)


def options(given: list[str]) -> dict[str, Any]:
    parsed = PipelineOptions(given)
    parsed.view_as(pipeline_options.GoogleCloudOptions)
    everything = parsed.get_all_options()
    # What no class of options knows is kept as it is, and is lost on the runner.
    known = {name.partition("=")[0].removeprefix("--") for name in given}
    assert known <= {*everything, "beam_plugin"}  # whose values are beam_plugins
    return everything


def test_in_memory_is_the_default_everywhere() -> None:
    for place in ("local", "kubeflow", "vertex"):
        assert beam_arguments(RuntimeSettings(), place, ROOT) == list(IN_MEMORY)
    assert options(list(IN_MEMORY))["direct_running_mode"] == "in_memory"


@pytest.mark.parametrize(("workers", "expected"), [(None, 0), (3, 3)])
def test_several_processes(workers: int | None, expected: int) -> None:
    given = options(arguments({"runner": "multi_processing", "workers": workers}))
    assert given["direct_num_workers"] == expected
    assert given["direct_running_mode"] == "multi_processing"
    assert given["beam_plugins"] == ["tfx"]


def test_dataflow_gets_what_vertex_has() -> None:
    beam = {"runner": "dataflow", "workers": 9, "options": ["--machine_type=n1-standard-4"]}
    given = options(arguments(beam, "vertex", vertex=VERTEX, image="acme/x:1"))
    assert given["runner"] == "DataflowRunner"
    assert (given["project"], given["region"]) == ("acme", "europe-west4")
    assert given["service_account_email"] == "beam@acme"
    assert given["temp_location"] == f"{ROOT}/_beam"
    assert given["sdk_container_image"] == "acme/x:1"
    assert given["max_num_workers"] == 9
    assert given["machine_type"] == "n1-standard-4"


@pytest.mark.parametrize(
    ("runtime", "root", "line"),
    [
        ({"image": "x:1"}, ROOT, "runner is dataflow, which needs runtime.vertex.project"),
        ({"vertex": VERTEX}, ROOT, "which needs runtime.image; set it"),
        ({"vertex": VERTEX, "image": "x:1"}, "/local", "must be gs://BUCKET/PATH, got '/local'"),
    ],
)  # fmt: skip
def test_dataflow_without_is_refused(runtime: dict[str, Any], root: str, line: str) -> None:
    settings = RuntimeSettings.model_validate(
        {"beam": {"vertex": {"runner": "dataflow"}}, **runtime}
    )
    with pytest.raises(ConfigError, match=line):
        beam_arguments(settings, "vertex", root)


@pytest.mark.parametrize(
    ("runner", "expected", "workers"),
    [
        ("flink", "FlinkRunner", {"parallelism": 4}),
        ("spark", "SparkRunner", {"sdk_worker_parallelism": 4}),
        ("portable", "PortableRunner", {"sdk_worker_parallelism": 4}),
    ],
)
def test_clusters_run_the_image(runner: str, expected: str, workers: dict[str, int]) -> None:
    beam = {"runner": runner, "workers": 4, "options": ["--job_endpoint=jobs:8099"]}
    given = options(arguments(beam, "kubeflow", image="acme/x:1"))
    assert (given["runner"], given["job_endpoint"]) == (expected, "jobs:8099")
    assert (given["environment_type"], given["environment_config"]) == ("DOCKER", "acme/x:1")
    assert {name: int(given[name]) for name in workers} == workers


def test_the_users_own_have_the_last_word() -> None:
    beam = {"runner": "portable", "options": ["--job_endpoint=x:1", "--environment_type=LOOPBACK"]}
    given = arguments(beam, image="acme/x:1")
    assert not any(argument.startswith("--environment_config") for argument in given)
    beam = {"runner": "multi_processing", "options": ["--direct_num_workers=5"]}
    assert options(arguments(beam))["direct_num_workers"] == 5
