"""What `tfx-distill predict` shows: a table for people, a line of JSON per answer for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click
from tabulate import tabulate

from modules.predict.prediction import (
    AS_IN_THE_FILE,
    Answer,
    check_images,
    find_images,
    predict,
)
from modules.predict.pushed_models import find_models
from pipeline.terminal.printable import echo
from pipeline.terminal.quiet import native_messages

_HEADERS = ("image", "format", "class", "probability")


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
    images = find_images(paths)
    with native_messages(shown=debug):
        shape = models[-1].input_shape
        check_images(images, shape[-1] if shape else AS_IN_THE_FILE)
        for at, answers in enumerate(predict(models, images, top_k)):
            if not as_json and at == 0:
                for model in models:
                    echo(f"{model.title}: {model.path}")
            echo(_json_lines(answers) if as_json else f"\n{_table(answers)}")


def _table(answers: Sequence[Answer]) -> str:
    """One batch; what is the same as in the row above is left out."""
    rows = []
    image = None
    for answer in answers:
        for rank, guess in enumerate(answer.top):
            name = click.format_filename(answer.image) if answer.image != image else ""
            title = answer.model.title if rank == 0 else ""
            rows.append((name, title, guess.label, f"{guess.probability:.4f}"))
            image = answer.image
    return tabulate(rows, _HEADERS, disable_numparse=True, colalign=("left",) * 3 + ("right",))


def _json_lines(answers: Sequence[Answer]) -> str:
    return "\n".join(
        json.dumps(
            {
                "image": os.fspath(answer.image),
                "format": answer.model.format,
                "variant": answer.model.file.variant if answer.model.file else None,
                "version": answer.model.version,
                "top": [
                    {"class": guess.label, "index": guess.index, "probability": guess.probability}
                    for guess in answer.top
                ],
            }
        )
        for answer in answers
    )
