"""Answers of pushed models to raw examples in files, one batch after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modules.errors import ModelError, UserError
from modules.export import runtimes
from modules.files import LocalCopies
from modules.predict.features import transformations
from modules.predict.pushed_models import PushedModel
from modules.predict.rows import Row, RowReader
from modules.predict.serialized import serialize
from modules.push.manifest import SAVED_MODEL

BATCH_SIZE = 32  # examples in memory at a time
# Raw examples to logits, or values, `[n, outputs]`.
_Ask = Callable[[Sequence[Row]], NDArray[np.float32]]


@dataclass(frozen=True)
class Guess:
    """A class or label, its index among the outputs, and its probability."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Answer:
    """What one model says of one example.

    Attributes:
      example: Its file, and in a file of several its line: `data.csv:2`.
      model: Who answers.
      top: The most probable classes, the first first; of a multilabel task each label has a
        probability of its own. Empty for regression.
      value: Of a regression, else None.
    """

    example: str
    model: PushedModel
    top: tuple[Guess, ...] = ()
    value: float | None = None


def check_files(models: Sequence[PushedModel], paths: Sequence[Path]) -> None:
    """Read all files once, without a model.

    Raises:
      ConfigError: Something in them is wrong; a line for each.
    """
    _reader(models).check(paths)


def predict(
    models: Sequence[PushedModel], paths: Sequence[Path], top_k: int
) -> Iterator[list[Answer]]:
    """The models' answers, example by example, in batches of `BATCH_SIZE` examples.

    Args:
      models: From `pushed_models.find_models`; what is at a URL is copied first.
      paths: CSV, JSON lines, text and image files, and directories of images; `check_files` says
        what is wrong with them.
      top_k: Number of classes; no more are given than there are.

    Raises:
      ModelError: A model cannot be loaded, or answers otherwise than its manifest says.
      UserError: A file can no longer be read.
    """
    problems: list[str] = []
    rows = _reader(models).read(paths, problems)
    with LocalCopies() as copies:
        opened = [(model, _open(model, copies)) for model in models]
        while batch := list(islice(rows, BATCH_SIZE)):
            if problems:
                break
            answers = [_answers(model, batch, ask, top_k) for model, ask in opened]
            yield [one for of_one in zip(*answers, strict=True) for one in of_one]
    if problems:
        raise UserError(f"{problems[0]}; leave the files as they are until all are answered")


def _reader(models: Sequence[PushedModel]) -> RowReader:
    return RowReader.of(models[-1].preprocessing, models[-1].spec)


def _open(model: PushedModel, copies: LocalCopies) -> _Ask:
    runtime = runtimes.SAVED_MODEL if model.format == SAVED_MODEL else runtimes.LITERT
    try:
        loaded = runtimes.load(runtime, copies.to_read(model.path))
    # Each runtime has errors of its own.
    except Exception as error:
        raise ModelError(
            f"{model.path} cannot be loaded ({_reason(error)}); push the model again"
        ) from error
    if model.format == SAVED_MODEL:
        raw = model.preprocessing.raw
        return lambda rows: loaded.answer([serialize(row, raw) for row in rows])
    transform = transformations(model.spec, model.vocabularies())
    return lambda rows: loaded.answer(transform(rows))


def _answers(model: PushedModel, rows: Sequence[Row], ask: _Ask, top_k: int) -> list[Answer]:
    """One for each row."""
    try:
        outputs = ask(rows)
    # TensorFlow, which need not be imported, has errors of its own.
    except Exception as error:
        raise UserError(
            f"one of the examples from {rows[0].source} to {rows[-1].source} cannot be answered "
            f"({_reason(error)}); ask for fewer of them to find it"
        ) from error
    size = model.output.size
    if outputs.shape[1:] != (size,):
        raise ModelError(
            f"{model.path} answers {outputs.shape[1]} numbers, but the manifest of version "
            f"{model.version} says {size}; push the model again"
        )
    if model.output.task == "regression":
        return [
            Answer(row.source, model, value=float(value))
            for row, (value,) in zip(rows, outputs, strict=True)
        ]
    return [
        Answer(row.source, model, top)
        for row, top in zip(rows, _top(model, outputs, top_k), strict=True)
    ]


def _top(model: PushedModel, logits: NDArray[np.float32], top_k: int) -> list[tuple[Guess, ...]]:
    """The most probable classes of each example; ties go to the lower index."""
    from scipy.special import expit, softmax

    wide = logits.astype(np.float64)
    multilabel = model.output.task == "multilabel"
    probabilities = expit(wide) if multilabel else softmax(wide, axis=1)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    names = model.output.classes
    return [
        tuple(Guess(names[index], int(index), float(row[index])) for index in indices)
        for row, indices in zip(probabilities, order, strict=True)
    ]


def _reason(error: Exception) -> str:
    """One line: TensorFlow puts the reason below the stack and above the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "[[" not in line]
    return lines[-1] if lines else repr(error)
