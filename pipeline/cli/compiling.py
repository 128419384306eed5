"""The command that compiles the pipeline for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from pipeline.cli.paths import LocalPath, PathOrUrl, write_new
from pipeline.clusters.engines import Engine, cautions, check_engine
from pipeline.config import load_config
from pipeline.terminal.exits import errors_explained
from pipeline.terminal.printable import echo
from pipeline.terminal.quiet import native_messages


@click.command(
    "compile",
    epilog="\b\nExamples:\n"
    "  tfx-distill compile --engine kubeflow digits -o digits.yaml \\\n"
    "      --set runtime.image=registry/tfx-distill:0.1.0 \\\n"
    "      --set runtime.pipeline_root=gs://bucket/pipelines\n"
    "  tfx-distill compile --engine vertex flowers.yaml -o flowers.json",
)
@click.option("--engine", type=click.Choice(get_args(Engine)), required=True, help="Orchestrator.")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write: YAML (pipeline spec 2.1) for Kubeflow, JSON (PipelineJob) for Vertex.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the configuration, for example distill.temperature=4. Repeatable.",
)
@click.option(
    "--force", is_flag=True, help="Accept an image whose tag may change, such as :latest."
)
@click.argument("preset_or_file", default="digits", metavar="[PRESET|FILE]", type=PathOrUrl())
def compile_command(
    engine: Engine, output: Path, overrides: tuple[str, ...], force: bool, preset_or_file: str
) -> None:
    """Compile the pipeline for Kubeflow Pipelines or Vertex AI Pipelines.

    Nothing is sent. The same configuration always gives the same bytes.
    """
    with errors_explained():
        config = load_config(preset_or_file, overrides)
        # Mistakes are reported at once, not after the seconds that TFX takes to load.
        check_engine(config, engine, allow_mutable_image=force)
        for sentence in cautions(config, engine):
            echo(f"warning: {sentence}", err=True)
        with native_messages():
            from pipeline.clusters.compilation import compile_pipeline

            text = compile_pipeline(config, engine, allow_mutable_image=force)
        write_new("--output", output, text)
    echo(f"{output}: pipeline {config.name} for {engine}")
