"""The commands that look at the user's own data: `init` and `inspect`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from modules.errors import ConfigError
from modules.settings import Task
from pipeline.cli.paths import LocalPath, PathOrUrl, make_output, write_new
from pipeline.config import PRESETS_DIR, PipelineConfig, load_config
from pipeline.proposal import (
    Proposal,
    propose_augmentation,
    propose_data,
    propose_features,
    propose_gate,
    propose_models,
    propose_validation,
)
from pipeline.terminal.exits import errors_explained
from pipeline.terminal.nodes import code_of, run_nodes
from pipeline.terminal.printable import echo
from pipeline.terminal.supervision import supervised

_TASKS = ("classification", "binary", "multilabel", "regression")


@click.command()
@click.argument("path", metavar="PATH", type=LocalPath())
@click.option("--label", metavar="NAME", help="The column or feature to predict.")
@click.option("--task", type=click.Choice(_TASKS), help="[default: what the label suggests]")
@click.option(
    "--config",
    "file",
    type=LocalPath(dir_okay=False),
    help="The file to write.  [default: NAME.yaml where the command is given]",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--debug", is_flag=True, help="Show all log messages.")
def init(
    path: Path, label: str | None, task: Task | None, file: Path | None, force: bool, debug: bool
) -> None:
    """Look at your data and write a configuration that runs.

    PATH is a CSV, Parquet or TFRecord file, a directory of such files, a directory with one
    sub-folder of images per class, or the Examples artifact of another TFX pipeline. The data are
    read as a run would read them, which takes half a minute or more.
    """

    def work() -> int:
        proposal = propose_data(str(path), label)
        target = file or Path(f"{proposal.name}.yaml")
        if target.exists() and not force:
            raise ConfigError(
                f"--config must be a new file, but {target} is there; choose another or add --force"
            )
        found = _look(proposal, task, debug)
        from pipeline.terminal.data_tables import configuration, data_tables

        told = (found.dataset, found.spec, found.statistics)
        text = configuration(
            proposal.name,
            proposal.data | propose_validation(found.dataset),
            propose_features(found.spec, found.statistics),
            propose_models(found.spec, found.dataset),
            propose_augmentation(found.spec, found.dataset),
            propose_gate(found.spec, found.dataset),
            told,
        )
        write_new("--config", target, text)
        load_config(str(target))
        echo(data_tables(*told))
        echo(f"\nwritten: {target}; look at it, then: tfx-distill run {target}")
        return 0

    sys.exit(supervised(lambda: code_of(work)))


@click.command()
@click.argument("path_or_file", metavar="PATH|FILE|PRESET", type=PathOrUrl())
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As with run.")
@click.option("--label", metavar="NAME", help="Of a PATH, the column or feature to predict.")
@click.option(
    "--output",
    type=LocalPath(file_okay=False),
    help="Directory of the runs of a FILE.  [default: runs/<name> where the command is given]",
)
@click.option("--debug", is_flag=True, help="Show all log messages.")
def inspect(
    path_or_file: str,
    overrides: tuple[str, ...],
    label: str | None,
    output: Path | None,
    debug: bool,
) -> None:
    """Show what the pipeline would see: features, classes, splits.

    Of a configuration, the nodes that read and transform the data run for it; a run in the same
    directory afterwards is served what they found. Of a path, as `init` would read it.
    """
    log_file, config = None, None
    if _is_config(path_or_file):
        with errors_explained():
            config = load_config(path_or_file, overrides)
        log_file = make_output(output or Path("runs") / config.name)

    def work() -> int:
        if config and log_file:
            found = run_nodes(lambda: _read(config, log_file.parent), log_file, debug)
        else:
            found = _look(propose_data(path_or_file, label), None, debug)
        from pipeline.terminal.data_tables import data_tables

        echo(data_tables(found.dataset, found.spec, found.statistics))
        return 0

    sys.exit(supervised(lambda: code_of(work), log_file))


COMMANDS = (init, inspect)


def _is_config(path_or_file: str) -> bool:
    presets = {path.stem for path in PRESETS_DIR.glob("*.yaml")}
    return path_or_file in presets or Path(path_or_file).suffix in (".yaml", ".yml")


def _look(proposal: Proposal, task: Task | None, debug: bool) -> Any:
    """Say what is guessed, and read the data in a directory that is removed afterwards."""
    for note in proposal.notes:
        echo(note)
    config = PipelineConfig.model_validate(
        {
            "name": proposal.name,
            "task": task,
            "data": proposal.data,
            # Not built; what the data need is proposed when they are known.
            "teacher": {"model": "mlp"},
            "student": {"model": "mlp"},
            "gate": {"min_speedup": 1.0},
        }
    )
    with tempfile.TemporaryDirectory(prefix="tfx-distill-") as name:
        directory = Path(name)
        log_file = directory / "run.log"
        return run_nodes(lambda: _read(config, directory), log_file, debug, log_is_kept=False)


def _read(config: PipelineConfig, output: Path) -> Any:
    from pipeline import local_runner

    return local_runner.inspect(config, output)
