"""Runs the pipeline on this machine with TFX's LocalDagRunner.

Also a runner file of the `tfx` command line:

    tfx pipeline create --engine=local --pipeline_path=pipeline/local_runner.py
    tfx run create --engine=local --pipeline_name=digits
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import path_utils

from components.pusher.executor import PUSHED_TFLITE_PROPERTY
from modules.data.features.protocol import FeatureStatistics
from modules.data.features.statistics import STATISTICS_FILE, read_statistics
from modules.data.spec import Dataset, DataSpec, read_dataset, read_spec
from modules.distill.saved_states import discard_exported
from modules.input_digest import Memory
from modules.report.files import REPORT_FILES
from modules.settings import RuntimeSettings
from pipeline.beam_arguments import beam_arguments, beam_settings
from pipeline.config import PipelineConfig, load_config
from pipeline.graph import Places, create_pipeline, uncached_nodes
from pipeline.preflight import check_places, check_semaphores, check_spec
from pipeline.run_directory.lock import exclusive
from pipeline.run_directory.refused_student import forget_refused, keep_refused
from pipeline.run_metadata import (
    close_interrupted,
    damage_mended,
    latest_output,
    set_aside_damaged,
)
from pipeline.terminal.console import run_console

_LOG = logging.getLogger("tfx_distill.run")
_PREFLIGHT_FILE = "preflight.json"


class LocalRunner(LocalDagRunner):
    """LocalDagRunner with an order of our own; never caches the nodes of `uncached_nodes`.

    Args:
      config: The experiment.
      after_transform: Called when the data are transformed; whether to go on.
    """

    def __init__(self, config: PipelineConfig, after_transform: Callable[[], bool] | None = None):
        super().__init__()
        self._uncached = uncached_nodes(config)
        self._after_transform = after_transform

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: Any = None) -> None:
        """Runs a compiled pipeline, nodes one after another."""
        # Here rather than in every part, so that all parts are one run.
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline,
            {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()},
        )
        for node in pipeline.nodes:
            if node.pipeline_node.node_info.id in self._uncached:
                node.pipeline_node.execution_options.caching_options.enable_cache = False
        ordered = teacher_first(list(pipeline.nodes))
        if self._after_transform is None:
            self._run_nodes(pipeline, ordered, run_options)
            return
        identities = [node.pipeline_node.node_info.id for node in ordered]
        data = identities.index("Transform") + 1
        self._run_nodes(pipeline, ordered[:data], run_options)
        if self._after_transform():
            self._run_nodes(pipeline, ordered[data:], run_options)

    def _run_nodes(self, pipeline: Any, nodes: Sequence[Any], run_options: Any) -> None:
        del pipeline.nodes[:]
        pipeline.nodes.extend(nodes)
        super().run_with_ir(pipeline, run_options)
        root = pipeline.runtime_spec.pipeline_root.field_value.string_value
        for node in nodes:
            discard_exported(os.path.join(root, node.pipeline_node.node_info.id))


def teacher_first(nodes: Sequence[Any]) -> list[Any]:
    """Compiled nodes with the Control trained last, so that a bad teacher fails first."""
    identities = [node.pipeline_node.node_info.id for node in nodes]
    if "Control" not in identities:
        return list(nodes)
    control = identities.index("Control")
    after = max(identities.index("Distiller"), control)
    return [*nodes[:control], *nodes[control + 1 : after + 1], nodes[control], *nodes[after + 1 :]]


@dataclass(frozen=True)
class ReadData:
    """What the nodes that read and transform the data have found.

    Attributes:
      dataset: All examples.
      spec: What the models take and answer.
      statistics: Of the raw features, in the training split.
    """

    dataset: Dataset
    spec: DataSpec
    statistics: dict[str, FeatureStatistics]


@dataclass(frozen=True)
class Outcome:
    """What a run led to.

    Attributes:
      report_dir: Where its report lies.
      blessed: Whether the student was pushed.
      saved_model: Directory or URL of the pushed version, or None.
      tflite: The same of its TFLite files.
    """

    report_dir: Path
    blessed: bool
    saved_model: str | None
    tflite: str | None


def places(output: Path, runtime: RuntimeSettings | None = None) -> Places:
    """The layout below a run's output directory."""
    root, pipeline_root = output.absolute(), _pipeline_root(output)
    runtime = runtime or RuntimeSettings()
    return Places(
        pipeline_root=pipeline_root,
        push_destination=str(root / "pushed"),
        metadata=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        beam_arguments=beam_arguments(runtime, "local", pipeline_root),
        beam_soft_targets=beam_settings(runtime, "local").soft_targets,
    )


def _pipeline_root(output: Path) -> str:
    return str(output.absolute() / "pipeline_root")


def run(config: PipelineConfig, output: str | Path) -> Outcome:
    """Run the whole pipeline; an identical earlier run in `output` is served from the cache.

    Args:
      config: From `load_config`.
      output: Directory of this pipeline's runs; made if it is not there.

    Raises:
      UserError: What the user can fix.
    """
    output = Path(output)
    _LOG.info("checking data and models")
    checked = with_what_is_there(config, Memory(_pipeline_root(output)))
    check_places(checked)
    # TFX makes the directory of the metadata.
    where = places(output, config.runtime)

    def check_data() -> bool:
        data = read_data(config.name, where)
        memory = Path(where.pipeline_root) / _PREFLIGHT_FILE
        check_spec(checked, data.spec, data.statistics, memory)
        return True

    with _prepared(output, where), damage_mended(config.name, where):
        LocalRunner(config, check_data).run(create_pipeline(config, where))
        return collect_outcome(config.name, output)


def with_what_is_there(config: PipelineConfig, memory: Memory) -> PipelineConfig:
    """Models without the files that they were once trained from and that are gone.

    What was trained from them is in the cache; a training that begins anew asks for them itself.
    """
    return config.model_copy(
        update={
            "teacher": memory.without_lost(config.teacher),
            "more_teachers": tuple(map(memory.without_lost, config.more_teachers)),
            "student": memory.without_lost(config.student),
            "distill": config.distill.model_copy(
                update={"assistants": tuple(map(memory.without_lost, config.distill.assistants))}
            ),
        }
    )


def inspect(config: PipelineConfig, output: str | Path) -> ReadData:
    """Run the nodes that read and transform the data; a later `run` is served their results.

    Args:
      config: From `load_config`.
      output: Directory of this pipeline's runs; made if it is not there.

    Raises:
      UserError: What the user can fix.
    """
    output = Path(output)
    where = places(output, config.runtime)
    with _prepared(output, where), damage_mended(config.name, where):
        LocalRunner(config, after_transform=lambda: False).run(create_pipeline(config, where))
        return read_data(config.name, where)


@contextmanager
def _prepared(output: Path, where: Places) -> Iterator[None]:
    """Hold the lock of an output directory in which nodes can be run."""
    check_semaphores()
    os.makedirs(where.pipeline_root, exist_ok=True)
    with exclusive(output):
        set_aside_damaged(where)
        close_interrupted(where)
        yield


def read_data(pipeline_name: str, where: Places) -> ReadData:
    """Of the newest finished executions."""
    with metadata.Metadata(where.metadata) as handle:
        examples = latest_output(handle.store, pipeline_name, "ExampleGen", "examples")
        statistics = latest_output(handle.store, pipeline_name, "StatisticsGen", "statistics")
        graph = latest_output(handle.store, pipeline_name, "Transform", "transform_graph")
    return ReadData(
        read_dataset(examples.uri),
        read_spec(graph.uri),
        read_statistics(os.path.join(statistics.uri, "Split-train", STATISTICS_FILE)),
    )


def collect_outcome(pipeline_name: str, output: Path) -> Outcome:
    """Read a finished run's results from the metadata; copies its report to `output/report`.

    A student that was not pushed is kept in `output/refused`.
    """
    with metadata.Metadata(places(output).metadata) as handle:
        evaluation = latest_output(handle.store, pipeline_name, "Evaluator", "evaluation")
        blessing = latest_output(handle.store, pipeline_name, "Evaluator", "blessing")
        pushed = latest_output(handle.store, pipeline_name, "Pusher", "pushed_model")
        model = latest_output(handle.store, pipeline_name, "Distiller", "model")
        export = latest_output(handle.store, pipeline_name, "Exporter", "tflite")
    report_dir = output / "report"
    report_dir.mkdir(parents=True, exist_ok=True)
    for name in REPORT_FILES:
        aside = report_dir / f".{name}"
        shutil.copyfile(Path(evaluation.uri) / name, aside)
        os.replace(aside, report_dir / name)
    blessed = blessing.custom_properties["blessed"].int_value == 1
    if blessed:
        forget_refused(output)
    else:
        saved_model = path_utils.serving_model_dir(model.uri)
        keep_refused(output, pipeline_name, saved_model, export.uri)
    properties = pushed.custom_properties
    return Outcome(
        report_dir=report_dir,
        blessed=blessed,
        saved_model=properties["pushed_destination"].string_value if blessed else None,
        tflite=properties[PUSHED_TFLITE_PROPERTY].string_value if blessed else None,
    )


if __name__ == "__main__":
    CONFIG = load_config("digits")
    OUTPUT = Path("runs") / CONFIG.name
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with run_console(OUTPUT / "run.log", debug=False), _prepared(OUTPUT, places(OUTPUT)):
        LocalRunner(CONFIG).run(create_pipeline(CONFIG, places(OUTPUT, CONFIG.runtime)))
