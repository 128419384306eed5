"""The commands that look at what runs have left: reports, and what was pushed."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from modules.errors import ConfigError, UserError
from modules.files import is_url
from pipeline.cli.paths import LocalPath, PathOrUrl
from pipeline.terminal.exits import EXIT_FAILED, EXIT_USAGE, errors_explained, explain, fail
from pipeline.terminal.printable import echo

REPORT_DIR, REPORT_PAGE = "report", "index.html"
_PUSHED = "pushed"


def _examples(*arguments: str) -> str:
    r"""The end of a command's help; \b keeps click from filling the lines."""
    return "\b\nExamples:\n" + "\n".join(f"  tfx-distill {each}" for each in arguments)


@click.command(
    epilog=_examples(
        "predict --model runs/digits three.png",
        "predict --model /srv/models customers.csv",
        "predict --model /srv/models --format tflite --json photos/ > answers.jsonl",
        "predict --model runs/digits/pushed/tflite/1790000000 --variant float32 *.jpg",
        "predict --model runs/digits/refused three.png",
    )
)
@click.option(
    "--model",
    "directory",
    required=True,
    metavar="DIR",
    type=PathOrUrl(),
    help="A run's output directory, a push destination, or one version below it. A student that "
    "was refused is in `refused` of the output directory.",
)
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["saved_model", "tflite"]),
    help="Ask this format alone.  [default: all that are there]",
)
@click.option("--variant", metavar="NAME", help="TFLite variant.  [default: that of model.tflite]")
@click.option("--top-k", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object per line, example and model."
)
@click.option("--debug", is_flag=True, help="Show all log messages.")
@click.argument("paths", nargs=-1, required=True, type=LocalPath(), metavar="FILE…")
def predict(directory: str, paths: tuple[Path, ...], debug: bool, **options: Any) -> None:
    """Ask a pushed model.

    FILE is a table (.csv with a header), JSON lines (.jsonl, .json), lines of text (.txt), an image
    of any size, or a directory of images. The newest version at a destination answers, as
    SavedModel and as TFLite.
    """
    from pipeline.terminal.predictions import show_predictions

    with errors_explained():
        show_predictions(directory, paths, debug=debug, **options)


@click.command(
    epilog=_examples(
        "compare runs/digits runs/digits-hotter",
        "compare --json runs/* > comparison.json",
    )
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN…", type=PathOrUrl())
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Set the results of two or more runs side by side.

    RUN is a run's output directory or a report.json. A value is marked as the best of its row only
    where its interval overlaps with no other run's.
    """
    if len(runs) < 2:
        raise click.UsageError(
            f"compare needs two or more runs, got only {runs[0]}; "
            f"`tfx-distill report {runs[0]}` shows one"
        )
    from modules.report.comparison import compare_runs
    from modules.report.files import read_report
    from pipeline.terminal.comparisons import comparison_text

    try:
        comparison = compare_runs(runs, [read_report(run) for run in runs])
    except UserError as error:
        fail(error, EXIT_USAGE)
    echo(comparison.to_json() if as_json else comparison_text(comparison))


@click.command(
    epilog=_examples(
        "report runs/digits",
        "report runs/digits --open",
    )
)
@click.option("--open", "in_browser", is_flag=True, help="Also open the report page in a browser.")
@click.argument("directory", type=LocalPath(), metavar="DIR")
def report(directory: Path, in_browser: bool) -> None:
    """Print the result of a finished run again.

    DIR is its output directory.
    """
    from modules.report.files import markdown_table, read_report

    folder = directory / REPORT_DIR
    try:
        echo(markdown_table(read_report(directory)).rstrip())
    except UserError as error:
        fail(error, EXIT_USAGE)
    page = folder / REPORT_PAGE
    if page.is_file():
        echo(f"\nReport page  {page}")
    elif in_browser:
        fail(f"--open: {page} does not exist; run the pipeline again to write it", EXIT_FAILED)
    if in_browser and not webbrowser.open(page.absolute().as_uri()):
        fail(f"--open: no browser could be started; open {page} in one yourself", EXIT_FAILED)


@click.command(
    epilog=_examples(
        "verify runs/digits",
        "verify /srv/models/tflite/1790000000",
        "verify gs://bucket/models",
    )
)
@click.argument("directory", metavar="DIR", type=PathOrUrl())
def verify(directory: str) -> None:
    """Check the files of a pushed version.

    The SHA-256 of every file must be the one in the manifest. DIR is a version's directory, or a
    push destination or a run's output directory, whose newest version is checked.
    """
    with errors_explained():
        destination = _destination(directory)
        from modules.push.verify import verify as verify_files

        result = verify_files(destination)
    if result.problems:
        sys.exit(explain("\n".join(result.problems)))
    echo(f"version {result.version}: {result.files} files as in the manifest")


@click.command(
    epilog=_examples(
        "push --rollback runs/digits",
        "push --rollback gs://bucket/models",
    )
)
@click.option("--rollback", is_flag=True, help="Go back to the version before the newest one.")
@click.argument("directory", default="runs/digits", metavar="[DIR]", type=PathOrUrl())
def push(directory: str, rollback: bool) -> None:
    """Go back to the student that was pushed before.

    DIR is a run's output directory or a push destination, by default runs/digits. The earlier
    student is pushed again under a new number, since servers take the highest one. New students are
    pushed by `tfx-distill run`, once they are judged.
    """
    if not rollback:
        raise click.UsageError(
            "push needs --rollback: a new student is pushed by `tfx-distill run`, once it is judged"
        )
    with errors_explained():
        destination = _destination(directory)
        from modules.push.publish import rollback as roll_back

        back = roll_back(destination)
    echo(
        f"{destination}: version {back.version} has the content of version {back.to}, "
        f"back from {back.from_version}"
    )


def _destination(directory: str) -> str:
    """A URL, or a local directory; for a run's output directory, where it pushes to."""
    if is_url(directory):
        return directory
    if not Path(directory).is_dir():
        raise ConfigError(
            f"DIR must be a run's output directory or a push destination, but {directory} is no "
            "directory; correct the path"
        )
    pushed = Path(directory, _PUSHED)
    return str(pushed.absolute() if pushed.is_dir() else Path(directory).absolute())


COMMANDS: Sequence[click.Command] = (predict, compare, report, verify, push)
