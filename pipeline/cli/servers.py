"""The commands that talk to Kubeflow Pipelines and to Vertex AI Pipelines.

Their options are named as those of TFX's own `tfx pipeline` and `tfx run`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pipeline.cli import server_actions as actions
from pipeline.cli.paths import LocalPath
from pipeline.terminal.printable import echo

Function = TypeVar("Function", bound=Callable[..., Any])


def _option(name: str, *short: str, **attributes: Any) -> Callable[[Function], Function]:
    """An option that, like TFX's, can be spelled with underscores or with dashes."""
    names = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
    return click.option(*short, *names, name, **attributes)


def _all(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_CONFIG = _option(
    "config",
    metavar="PRESET|FILE",
    envvar="TFX_DISTILL_CONFIG",
    show_envvar=True,
    help="Configuration whose runtime.kubeflow or runtime.vertex fills in what no option gives.",
)
_DEBUG = _option("debug", is_flag=True, help="Show the clients' messages, and tracebacks.")
_ENGINE = _option(
    "engine",
    type=click.Choice(["auto", "kubeflow", "vertex"]),
    default="auto",
    show_default=True,
    help="Orchestrator. auto: the one that the configuration has an endpoint or a project for.",
)
_SERVER = _all(
    _option("endpoint", metavar="URL", help="Kubeflow: address of the KFP API."),
    _option(
        "iap_client_id",
        metavar="ID",
        help="Kubeflow: OAuth client ID, behind an Identity-Aware Proxy.",
    ),
    _option("namespace", "-n", metavar="NAME", help="Kubeflow: namespace.  [default: kubeflow]"),
)
_PLACE = _all(
    _option("project", metavar="ID", help="Vertex: Google Cloud project."),
    _option("region", metavar="NAME", help="Vertex: region, for example europe-west4."),
)
_PATH = _all(
    _option(
        "pipeline_path",
        required=True,
        metavar="PRESET|FILE",
        help="A preset or configuration; a Python runner file, which is executed; or a compiled "
        "pipeline.",
    ),
    _option(
        "set",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the configuration, for example runtime.image=… Repeatable.",
    ),
    _option("force", is_flag=True, help="Accept an image whose tag may change, such as :latest."),
)
_PACKAGE = _option(
    "package_path",
    metavar="FILE",
    type=LocalPath(dir_okay=False),
    help="Where to write the compiled file.",
)
_BUILD = _option(
    "build_image",
    is_flag=True,
    help="First build the image from this checkout, as `make image` does, and push it to the "
    "repository of runtime.image.",
)
_NAME = _option("pipeline_name", required=True, metavar="NAME", help="Name of the pipeline.")
_NAME_OF_RUN = _option(
    "pipeline_name", metavar="NAME", help="Vertex: pipeline whose project and region to use."
)
_RUN_ID = _option("run_id", required=True, metavar="ID", help="Unique ID of the run.")
_PARAMETER = _option(
    "runtime_parameter",
    multiple=True,
    metavar="NAME=VALUE",
    help="Runtime parameter of this run, for example temperature=4. Repeatable.",
)
_SUBMISSION = _all(
    _option("service_account", metavar="EMAIL", help="Vertex: service account of the nodes."),
    _option("network", metavar="NAME", help="Vertex: projects/NUMBER/global/networks/NAME."),
    _option(
        "label", multiple=True, metavar="KEY=VALUE", help="Vertex: label of the run. Repeatable."
    ),
    click.option("--caching/--no-caching", default=None, help="Vertex: whether to use the cache."),
)


@click.group("pipeline")
def pipeline_group() -> None:
    """Create, update, compile, list and delete pipelines on Kubeflow or Vertex AI.

    Vertex AI keeps runs but no pipelines: there, as with TFX, a pipeline is a file below
    ~/tfx/vertex or $VERTEX_HOME, with the settings that `run create` uses.
    """


@pipeline_group.command()
@_all(_ENGINE, _PATH, _PACKAGE, _SERVER, _BUILD, _CONFIG, _DEBUG)
def create(**options: Any) -> None:
    """Create a pipeline."""
    with actions.explained(options["debug"]):
        pipeline = actions.send(options, new=True)
    echo(f"pipeline {pipeline.name} created: {pipeline.place}")


@pipeline_group.command()
@_all(_ENGINE, _PATH, _PACKAGE, _SERVER, _BUILD, _CONFIG, _DEBUG)
def update(**options: Any) -> None:
    """Update an existing pipeline. Kubeflow keeps the old version, too."""
    with actions.explained(options["debug"]):
        pipeline = actions.send(options, new=False)
    echo(f"pipeline {pipeline.name} updated: {pipeline.place}")


@pipeline_group.command("compile")
@_all(_ENGINE, _PATH, _PACKAGE, _CONFIG, _DEBUG)
def compile_pipeline(**options: Any) -> None:
    """Compile a pipeline. Nothing is sent.

    The file is NAME.yaml or NAME.json in the current directory, unless --package_path names
    another. A runner file decides itself where it writes.
    """
    with actions.explained(options["debug"]):
        name, path = actions.compile_only(options)
    echo(f"pipeline {name} compiled: {path}")


@pipeline_group.command("list")
@_all(_ENGINE, _SERVER, _CONFIG, _DEBUG)
def list_pipelines(**options: Any) -> None:
    """List all pipelines."""
    with actions.explained(options["debug"]):
        found = actions.connect(options).pipelines()
    actions.show_pipelines(found)


@pipeline_group.command()
@_all(_ENGINE, _NAME, _SERVER, _CONFIG, _DEBUG)
def delete(**options: Any) -> None:
    """Delete a pipeline with all its versions. Its runs are kept."""
    with actions.explained(options["debug"]):
        actions.connect(options).delete(options["pipeline_name"])
    echo(f"pipeline {options['pipeline_name']} deleted")


@click.command("create")
@_all(_ENGINE, _NAME, _PARAMETER, _SERVER, _PLACE, _SUBMISSION, _CONFIG, _DEBUG)
def create_run(**options: Any) -> None:
    """Start a run of a pipeline on a server."""
    with actions.explained(options["debug"]):
        run = actions.connect(options).submit(
            options["pipeline_name"], options["runtime_parameter"]
        )
    actions.show_runs([run])


@click.command("list")
@_all(_ENGINE, _NAME, _SERVER, _PLACE, _CONFIG, _DEBUG)
def list_runs(**options: Any) -> None:
    """List the runs of a pipeline on a server, newest first."""
    with actions.explained(options["debug"]):
        runs = actions.connect(options).runs(options["pipeline_name"])
    actions.show_runs(runs)


@click.command()
@_all(_ENGINE, _RUN_ID, _NAME_OF_RUN, _SERVER, _PLACE, _CONFIG, _DEBUG)
def status(**options: Any) -> None:
    """Show the state of a run on a server, and of its nodes."""
    with actions.explained(options["debug"]):
        run = actions.connect(options).status(options["run_id"])
    actions.show_run(run)


@click.command()
@_all(_ENGINE, _RUN_ID, _NAME_OF_RUN, _SERVER, _PLACE, _CONFIG, _DEBUG)
def terminate(**options: Any) -> None:
    """Stop a run on a server."""
    with actions.explained(options["debug"]):
        actions.connect(options).terminate(options["run_id"])
    echo(f"run {options['run_id']} asked to stop")


RUN_GROUP = click.Group("run", commands=(create_run, list_runs, status, terminate))


class CommandOrGroup(click.Command):
    """A command whose first argument may name a command of a group instead."""

    def __init__(self, *arguments: Any, group: click.Group, **attributes: Any):
        super().__init__(*arguments, **attributes)
        self.group = group

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The group's context if one of its commands is named first."""
        if args and args[0] in self.group.commands:
            return self.group.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, and then the group's commands."""
        super().format_options(ctx, formatter)
        self.group.format_commands(ctx, formatter)
