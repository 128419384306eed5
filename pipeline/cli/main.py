"""The command `tfx-distill`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from modules.code_digest import builder_digest
from modules.distill.wording import objective_in_words
from modules.errors import ConfigError, UserError
from modules.input_digest import data_digest, teacher_digest
from pipeline.cli import data, results, servers
from pipeline.cli.compiling import compile_command
from pipeline.config import PRESETS_DIR, PipelineConfig, check_local_paths, load_config
from pipeline.output_lock import LOCK_FILE, exclusive
from pipeline.terminal.exits import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_USAGE,
    errors_explained,
    explain,
    fail,
)
from pipeline.terminal.printable import echo
from pipeline.terminal.supervision import Terminated, exit_code, supervised

_REPORT_FILES = {
    "Report": "report.json",
    "Report page": "index.html",
    "Model card": "model_card.md",
}
_PRESET = click.argument("preset_or_file", default="digits", metavar="[PRESET|FILE]")
_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the configuration, for example distill.temperature=4. Repeatable.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nTab completion in bash (similarly in zsh and fish):\n"
    '  eval "$(_TFX_DISTILL_COMPLETE=bash_source tfx-distill)"',
)
@click.version_option(package_name="tfx-distill")
def main() -> None:
    """Distill a large teacher into a small student, and judge it before it ships."""


@main.command(cls=servers.CommandOrGroup, group=servers.RUN_GROUP)
@_PRESET
@_SET
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    help="Where the run writes.  [default: runs/<name>]",
)
@click.option("--debug", is_flag=True, help="Show all log messages, and tracebacks.")
def run(preset_or_file: str, overrides: tuple[str, ...], output: str | None, debug: bool) -> None:
    """Train, distill, export, judge and push on this machine.

    With one of the commands below instead of PRESET: start and watch runs on Kubeflow Pipelines
    or Vertex AI.

    Exit code: 0 if the student was pushed, 3 if it was refused or the evidence was inconclusive
    (nothing is pushed), 2 for wrong usage or configuration, 1 for any other failure.
    """
    config = _load(preset_or_file, overrides, local=True)
    if output == "":
        fail("--output must name a directory, got ''; leave it out for runs/<name>", EXIT_USAGE)
    directory = Path(output).expanduser() if output else Path("runs") / config.name
    sys.exit(_run(config, directory, debug))


@main.command()
def presets() -> None:
    """List the presets.

    Each comes with its command, running time and expected result.
    """
    for path in sorted(PRESETS_DIR.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        header = itertools.takewhile(lambda line: line.startswith("#"), lines)
        echo("\n".join(line.removeprefix("#").removeprefix(" ") for line in header))


@main.command()
@click.argument("preset_or_file", metavar="FILE")
@_SET
def validate(preset_or_file: str, overrides: tuple[str, ...]) -> None:
    """Check a configuration without running it. All mistakes are reported at once."""
    config = _load(preset_or_file, overrides, local=False)
    echo(f"{preset_or_file}: valid (pipeline {config.name!r})")
    echo(f"objective: {objective_in_words(config.distill, config.task)}")
    for absent in _not_here(config):
        echo(f"note: a run on this machine would end at once: {absent}", err=True)


@main.command()
def settings() -> None:
    """Print the reference of the configuration.

    All keys with their types, defaults and meanings, as Markdown: docs/configuration.md.
    """
    from pipeline.config_reference import reference

    echo(reference(), nl=False)


for command in (*data.COMMANDS, *results.COMMANDS, compile_command, servers.pipeline_group):
    main.add_command(command)


def _not_here(config: PipelineConfig) -> Iterator[str]:
    """What a valid configuration names that this machine does not have; another one may."""
    checks: list[Callable[[], object]] = [lambda: check_local_paths(config)]
    teachers = [("teacher", config.teacher)]
    teachers += [(f"more_teachers.{at}", each) for at, each in enumerate(config.more_teachers)]
    checks += [functools.partial(builder_digest, config.student.model)]
    checks += [
        functools.partial(builder_digest, each.model)
        if each.kind == "model"
        else functools.partial(teacher_digest, each, key)
        for key, each in teachers
    ]
    checks.append(lambda: data_digest(config.data))
    sys.path.append(os.getcwd())
    for check in checks:
        try:
            check()
        except UserError as error:
            yield str(error)


def _load(preset_or_file: str, overrides: tuple[str, ...], local: bool) -> PipelineConfig:
    with errors_explained():
        config = load_config(preset_or_file, overrides)
        if local:
            check_local_paths(config)
    return config


def _run(config: PipelineConfig, output: Path, debug: bool) -> int:
    """Run a pipeline and print what came of it; returns the exit code."""
    _make_directory(output)
    log_file = output / "run.log"
    echo(f"pipeline {config.name} in {output}, all messages in {log_file}", err=True)
    with errors_explained(), exclusive(output):
        pass  # found out before anything heavy is loaded; the run takes the lock again
    return supervised(lambda: _run_logged(config, output, log_file, debug), log_file)


def _run_logged(config: PipelineConfig, output: Path, log_file: Path, debug: bool) -> int:
    from pipeline.terminal.console import run_console

    where = ""
    # A user's own `package.module:function` is looked for where the command is given, too.
    sys.path.append(os.getcwd())
    try:
        with run_console(log_file, debug) as console:
            try:
                from pipeline import local_runner

                outcome = local_runner.run(config, output)
            except BaseException:
                where = f"{console.node}: " if console.node else ""
                logging.getLogger("pipeline").exception("the run ends with an error")
                raise
    except UserError as error:
        code = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
        return explain(f"{where}{error}", code)
    except KeyboardInterrupt as interrupt:
        word = "terminated" if isinstance(interrupt, Terminated) else "interrupted"
        return explain(
            f"{where}{word}; the same command goes on from what is done", exit_code(interrupt)
        )
    # Any failure is one line and exit code 1; a user's builder may even call sys.exit.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        return explain(
            f"{where}{type(error).__name__}: {reason}; the traceback is in {log_file}, or run "
            "again with --debug"
        )
    return _show(outcome)


def _show(outcome: Any) -> int:
    """Print the table and where the files are."""
    from modules.report.files import markdown_table, read_report

    echo()
    echo(markdown_table(read_report(outcome.report_dir / "report.json")).rstrip())
    echo()
    if outcome.blessed:
        echo(f"SavedModel  {outcome.saved_model}")
        # model.tflite, which devices fetch, comes first; then model_<variant>.tflite. A URL is
        # not listed.
        for file in sorted(Path(outcome.tflite).glob("*.tflite")) or [outcome.tflite]:
            echo(f"TFLite      {file}")
    for label, name in _REPORT_FILES.items():
        if (outcome.report_dir / name).is_file():
            echo(f"{label:12}{outcome.report_dir / name}")
    return 0 if outcome.blessed else EXIT_REFUSED


def _make_directory(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in (LOCK_FILE, "run.log"):
            (output / name).open("a").close()
    except OSError as error:
        message = f"--output must be a directory that can be written to, got {output} ({error})"
        fail(f"{message}; choose another", EXIT_USAGE)
