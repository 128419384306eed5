"""Pipelines through KFP's own driver and launcher, on object stores, with a server of ML Metadata.

`make test-real` runs this where KFP_PROGRAMS names a directory with the two programs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp_backend
import kfp_engine
import pytest
from kfp_components import compiled
from kfp_records import difference, neutral
from kfp_zoo import zoo
from report_figures import figures

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]

# Where an installation of KFP has its pipeline root by default.
ROOT, PUSHED = "minio://mlpipeline/v2/artifacts", "s3://mlpipeline/pushed"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if lack := kfp_engine.lacking():
        pytest.skip(f"KFP's own engine needs {lack}")
    programs = Path(os.environ[kfp_engine.PROGRAMS_VARIABLE])
    with kfp_engine.engine(programs, tmp_path_factory.mktemp("engine")) as this:
        yield this


@pytest.fixture(scope="module")
def job(miniature_run: Any) -> kfp_backend.Job:
    from pipeline.clusters.compilation import compile_pipeline

    # The run puts another destination in the place of the compiled one.
    given = (
        "runtime.image=registry.example/tfx-distill:1.0.0",
        f"runtime.pipeline_root={ROOT}",
        "push.destination=gs://bucket/pushed",
    )
    return kfp_backend.parse(compile_pipeline(miniature_run.config(*given), "kubeflow"))


@pytest.fixture(scope="module")
def tasks(engine: Any, job: kfp_backend.Job) -> dict[str, Any]:
    return engine.run(job, pipeline_root=ROOT, parameters={"push_destination": PUSHED})


def records(tasks: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: neutral(task.arguments) for name, task in tasks.items()}


def test_small_components_are_given_what_was_recorded(engine: Any, tmp_path: Path) -> None:
    """The emulator is held against the same recording."""
    done = engine.run(compiled(zoo, tmp_path), pipeline_root="s3://bucket/root")
    assert not difference("kfp_zoo", records(done), tmp_path)


def test_the_nodes_are_given_what_was_recorded(tasks: dict[str, Any], tmp_path: Path) -> None:
    assert not difference("kfp_digits", records(tasks), tmp_path)


def test_a_run_comes_to_what_the_local_run_comes_to(
    engine: Any, tasks: dict[str, Any], miniature_run: Any
) -> None:
    outputs = tasks["Evaluator"].executor_input["outputs"]["artifacts"]
    (evaluation,) = outputs["evaluation"]["artifacts"]
    place = evaluation["uri"].removeprefix("minio://")
    report = json.loads(engine.files.cat_file(f"{place}/report.json"))
    local = Path(miniature_run.uris["Evaluator.evaluation"], "report.json")
    assert figures(report) == figures(json.loads(local.read_text()))
    assert {Path(path).name for path in engine.files.ls(PUSHED)} >= {"saved_model", "tflite"}


def test_ml_metadata_has_the_outputs_with_their_types(
    engine: Any, tasks: dict[str, Any], job: kfp_backend.Job
) -> None:
    artifacts = {each.uri: each for each in engine.metadata.get_artifacts()}
    types = {each.id: each.name for each in engine.metadata.get_artifact_types()}
    declared, found = {}, {}
    for name, task in tasks.items():
        component = job.spec.components[job.spec.root.dag.tasks[name].component_ref.name]
        for key, listed in task.executor_input["outputs"]["artifacts"].items():
            artifact = artifacts[listed["artifacts"][0]["uri"]]
            found[name, key] = types[artifact.type_id]
            spec = component.output_definitions.artifacts.get(key)
            title = kfp_backend.spec.schema_title(spec.artifact_type) if spec else "system.Artifact"
            declared[name, key] = title
    assert found == declared


def test_the_same_run_again_is_served_from_the_cache(
    engine: Any, tasks: dict[str, Any], job: kfp_backend.Job
) -> None:
    again = engine.run(job, pipeline_root=ROOT, parameters={"push_destination": PUSHED})
    assert {name for name, task in again.items() if not task.cached} == {"Pusher"}
    assert again.keys() == tasks.keys()
