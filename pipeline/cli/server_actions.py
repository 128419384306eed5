"""What the commands for servers do, from their options to a server and back to the screen."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from modules.errors import ConfigError, UserError
from modules.settings import KubeflowSettings, VertexSettings
from pipeline.clusters.definitions import Definition, PipelinePath
from pipeline.clusters.engines import Engine
from pipeline.clusters.image_build import build_image
from pipeline.clusters.remote import RemotePipeline, RemoteRun, Server, sentence
from pipeline.config import PipelineConfig, load_config
from pipeline.terminal.exits import EXIT_FAILED, EXIT_USAGE, fail
from pipeline.terminal.printable import echo

Options = Mapping[str, Any]


@contextmanager
def explained(debug: bool) -> Iterator[None]:
    """Ends with 2 for a wrong option or configuration, with 1 for other errors: one line each."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted; what was sent before stays", EXIT_FAILED)
    except Exception as error:  # noqa: BLE001  a user's runner file may raise anything
        if debug:
            traceback.print_exc()
        if isinstance(error, UserError):
            fail(error, EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
        reason = f"{type(error).__name__}: {sentence(error)}"
        fail(f"{reason}; --debug shows where it comes from", EXIT_FAILED)


def connect(options: Options) -> Server:
    """The server that the options, and the configuration of --config, name.

    Raises:
      UserError: They name none, or it does not answer.
    """
    config = _config(options)
    return _server(_engine(options, config), options, config)


def send(options: Options, *, new: bool) -> RemotePipeline:
    """Compiles, and creates or updates a pipeline."""
    pipeline_path = _pipeline_path(options)
    config = pipeline_path.config()
    engine = _engine(options, config or _config(options))
    pipeline_path.check(engine, image_follows=options["build_image"])
    # Whether the server answers, and has the name, is soon known; compiling takes long.
    server = _server(engine, options, config or _config(options))
    if config:
        server.check_name(config.name, new=new)
    if options["build_image"]:
        image = build_image(config)
        pipeline_path = replace(
            pipeline_path, overrides=(*pipeline_path.overrides, f"runtime.image={image}")
        )
    definition = pipeline_path.definition(engine)
    definition.check_sendable()
    if options["package_path"]:
        _write(definition, options["package_path"])
    return server.create(definition) if new else server.update(definition)


def compile_only(options: Options) -> tuple[str, Path]:
    """Compiles into a file; returns the pipeline's name and the file."""
    pipeline_path = _pipeline_path(options)
    engine = _engine(options, pipeline_path.config() or _config(options))
    pipeline_path.check(engine)
    definition = pipeline_path.definition(engine)
    path = options["package_path"] or definition.written or definition.default_path(engine)
    if path != definition.written:
        _write(definition, path)
    return definition.name, path


def show_pipelines(pipelines: Sequence[RemotePipeline]) -> None:
    """One line for each."""
    rows = [(each.name, each.place, _time(each.created)) for each in pipelines]
    _table(("pipeline_name", "pipeline_id", "created_at"), rows, "no pipelines")


def show_runs(runs: Sequence[RemoteRun]) -> None:
    """One line for each."""
    rows = [(run.run_id, run.state, _time(run.created), run.name, run.link) for run in runs]
    _table(("run_id", "status", "created_at", "name", "link"), rows, "no runs")


def show_run(run: RemoteRun) -> None:
    """A run, why it failed, and its nodes."""
    show_runs([run])
    if run.error:
        echo(f"\n{run.error}")
    if run.tasks:
        echo()
        rows = [(task.name, task.state, task.error) for task in run.tasks]
        _table(("node", "status", "error"), rows, "no nodes")


def _config(options: Options) -> PipelineConfig | None:
    return load_config(options["config"]) if options["config"] else None


def _pipeline_path(options: Options) -> PipelinePath:
    return PipelinePath(
        options["pipeline_path"], options["set"], options["force"], runner_config=options["config"]
    )


def _engine(options: Options, config: PipelineConfig | None) -> Engine:
    if options["engine"] != "auto":
        engine: Engine = options["engine"]
        return engine
    named: list[Engine] = []
    if options.get("endpoint") or (config and config.runtime.kubeflow.endpoint):
        named.append("kubeflow")
    if options.get("project") or (config and config.runtime.vertex.project):
        named.append("vertex")
    if len(named) != 1:
        found = "both" if named else "neither"
        raise ConfigError(
            "--engine must be kubeflow or vertex where the configuration does not tell, and of "
            f"runtime.kubeflow.endpoint and runtime.vertex.project it has {found}"
        )
    return named[0]


def _server(engine: Engine, options: Options, config: PipelineConfig | None) -> Server:
    debug = options["debug"]
    if engine == "kubeflow":
        given = config.runtime.kubeflow.model_dump(exclude_unset=True) if config else {}
        settings = KubeflowSettings.model_validate(given | _given(options, KubeflowSettings))
        from pipeline.clusters.kubeflow_client import Kubeflow

        return Kubeflow(settings, debug)
    from pipeline.clusters.vertex_client import Vertex
    from pipeline.clusters.vertex_store import stored_settings

    layers = [stored_settings(options.get("pipeline_name")).model_dump(exclude_unset=True)]
    if config:
        layers.append(config.runtime.vertex.model_dump(exclude_unset=True))
    layers.append(_given(options, VertexSettings))
    merged = {key: value for layer in layers for key, value in layer.items()}
    if options.get("label"):
        merged["labels"] = merged.get("labels", {}) | _labels(options["label"])
    return Vertex(VertexSettings.model_validate(merged), debug)


def _given(
    options: Options, settings: type[KubeflowSettings] | type[VertexSettings]
) -> dict[str, Any]:
    """The options that stand for a key; empty ones, which TFX's users pass on, say nothing."""
    given = {name: options.get(name) for name in settings.model_fields}
    return {name: value for name, value in given.items() if value not in (None, "")}


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"--label needs KEY=VALUE, got {text!r}; for example team=vision")
        labels[key] = value
    return labels


def _write(definition: Definition, path: Path) -> None:
    try:
        path.write_text(definition.text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--package_path must be a file that can be written, got {path} ({error})"
        ) from error


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Columns for people; of no rows the word for it."""
    if not rows:
        echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        echo("  ".join(cells).rstrip())
