"""What `tfx-distill predict` shows: a table for people, a line of JSON per answer for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from modules.predict.prediction import Answer, check_files, predict
from modules.predict.pushed_models import find_models
from pipeline.terminal.printable import echo
from pipeline.terminal.quiet import native_messages


def show_predictions(
    directory: str,
    paths: Sequence[Path],
    *,
    wanted: str | None,
    variant: str | None,
    top_k: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Print the answers, batch by batch as they come.

    Everything that can be wrong with the arguments is found out before the first model is loaded.

    Raises:
      UserError: What the user can fix.
    """
    models = find_models(directory, wanted, variant)
    with native_messages(shown=debug):
        check_files(models, paths)
        for at, answers in enumerate(predict(models, paths, top_k)):
            if not as_json and at == 0:
                for model in models:
                    echo(f"{model.title}: {model.path}")
            echo(_json_lines(answers) if as_json else f"\n{_table(answers)}")


def _table(answers: Sequence[Answer]) -> str:
    """One batch; what is the same as in the row above is left out."""
    rows: list[tuple[str, ...]] = []
    example = None
    for answer in answers:
        found = [(guess.label, f"{guess.probability:.4f}") for guess in answer.top]
        for rank, values in enumerate(found or [(f"{answer.value:.6g}",)]):
            name = click.format_filename(answer.example) if answer.example != example else ""
            rows.append((name, answer.model.title if rank == 0 else "", *values))
            example = answer.example
    headers = ("example", "format", *(("class", "probability") if answers[0].top else ("value",)))
    align = ("left",) * (len(headers) - 1) + ("right",)
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def _json_lines(answers: Sequence[Answer]) -> str:
    return "\n".join(json.dumps(_json(answer)) for answer in answers)


def _json(answer: Answer) -> dict[str, Any]:
    about = {
        "example": answer.example,
        "format": answer.model.format,
        "variant": answer.model.variant,
        "version": answer.model.version,
    }
    if not answer.top:
        return about | {"value": answer.value}
    top = [
        {"class": guess.label, "index": guess.index, "probability": guess.probability}
        for guess in answer.top
    ]
    return about | {"top": top}
