"""The command `tfx-distill`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from modules.code_digest import builder_digest
from modules.distill.wording import objective_in_words
from modules.errors import UserError, reason_of
from modules.files import check_scheme
from modules.input_digest import data_digest, teacher_digest
from pipeline.cli import data, results, servers
from pipeline.cli.compiling import compile_command
from pipeline.cli.named_code import missing_functions
from pipeline.cli.paths import LocalPath, PathOrUrl, make_output
from pipeline.config import PRESETS_DIR, PipelineConfig, check_local_paths, load_config
from pipeline.run_directory.lock import exclusive
from pipeline.terminal.exits import EXIT_REFUSED, errors_explained, explain
from pipeline.terminal.nodes import code_of
from pipeline.terminal.printable import echo
from pipeline.terminal.supervision import ending, exit_code, handle_signals, supervised

_REPORT_FILES = {
    "Report": "report.json",
    "Report page": "index.html",
    "Model card": "model_card.md",
}
_PRESET = click.argument(
    "preset_or_file", default="digits", metavar="[PRESET|FILE]", type=PathOrUrl()
)
_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the configuration, for example distill.temperature=4. Repeatable.",
)


class _Commands(click.Group):
    """Ends at errors, Ctrl-C and SIGTERM with one line and the exit code for it."""

    def invoke(self, ctx: click.Context) -> Any:
        before = handle_signals()
        try:
            with errors_explained():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            sys.exit(explain(ending(interrupt), exit_code(interrupt)))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@click.group(
    cls=_Commands,
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
    type=LocalPath(file_okay=False),
    help="Where the run writes.  [default: runs/<name> where the command is given]",
)
@click.option("--debug", is_flag=True, help="Show all log messages, and tracebacks.")
def run(preset_or_file: str, overrides: tuple[str, ...], output: Path | None, debug: bool) -> None:
    """Train, distill, export, judge and push on this machine.

    With one of the commands below instead of PRESET: start and watch runs on Kubeflow Pipelines
    or Vertex AI.

    Exit code: 0 if the student was pushed, 3 if it was refused or the evidence was inconclusive
    (nothing is pushed), 2 for wrong usage or configuration, 1 for any other failure.
    """
    config = _load(preset_or_file, overrides, local=True)
    sys.exit(_run(config, output or Path("runs") / config.name, debug))


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
@click.argument("preset_or_file", metavar="FILE", type=PathOrUrl())
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
    trained = (config.student, *config.distill.assistants)
    checks += [functools.partial(builder_digest, each.model) for each in trained]
    checks += [
        functools.partial(builder_digest, each.model)
        if each.kind == "model"
        else functools.partial(teacher_digest, each, key)
        for key, each in teachers
    ]
    checks.append(lambda: data_digest(config.data))
    if destination := config.push.destination:
        checks.append(lambda: check_scheme(destination))
    sys.path.append(os.getcwd())
    for check in checks:
        try:
            check()
        except UserError as error:
            yield str(error)
        # To find a module, Python imports the package around it.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            yield reason_of(error)
    yield from missing_functions(config)


def _load(preset_or_file: str, overrides: tuple[str, ...], local: bool) -> PipelineConfig:
    with errors_explained():
        config = load_config(preset_or_file, overrides)
        if local:
            check_local_paths(config)
    return config


def _run(config: PipelineConfig, output: Path, debug: bool) -> int:
    """Run a pipeline and print what came of it; returns the exit code."""
    log_file = make_output(output)
    echo(f"pipeline {config.name} in {output}, all messages in {log_file}", err=True)
    with errors_explained(), exclusive(output):
        pass  # found out before anything heavy is loaded; the run takes the lock again

    def run_pipeline() -> Any:
        from pipeline import local_runner

        return local_runner.run(config, output)

    def work() -> int:
        from pipeline.terminal.nodes import run_nodes

        return _show(run_nodes(run_pipeline, log_file, debug))

    return supervised(lambda: code_of(work), log_file)


def _show(outcome: Any) -> int:
    """Print the table and where the files are."""
    from modules.report.files import markdown_table, read_report
    from pipeline.run_directory.refused_student import REFUSED_DIR

    echo()
    echo(markdown_table(read_report(outcome.report_dir / "report.json")).rstrip())
    echo()
    if outcome.blessed:
        echo(f"SavedModel  {outcome.saved_model}")
        # model.tflite, which devices fetch, comes first; then model_<variant>.tflite. A URL is
        # not listed.
        for file in sorted(Path(outcome.tflite).glob("*.tflite")) or [outcome.tflite]:
            echo(f"TFLite      {file}")
    elif (refused := outcome.report_dir.parent / REFUSED_DIR).is_dir():
        echo(f"To ask it   tfx-distill predict --model {refused} FILE")
    for label, name in _REPORT_FILES.items():
        if (outcome.report_dir / name).is_file():
            echo(f"{label:12}{outcome.report_dir / name}")
    return 0 if outcome.blessed else EXIT_REFUSED
