"""What the models answer to the eval split; files are loaded once, and examples read once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modules import files
from modules.data.eval_split import EvalBatch, EvalSplit, common_order, texts
from modules.errors import ModelError
from modules.export import runtimes
from modules.export.layout import SPEC_FILE, TFLITE_FILE
from modules.export.runtimes import LITERT, SAVED_MODEL, Examples, ModelFile
from modules.measure.answers import Answers
from modules.teachers.answer_store import AnswerStore

REFERENCE = "float32"


@dataclass(frozen=True)
class JudgedModels:
    """What is judged, as paths.

    Attributes:
      teacher: Directory of a SavedModel, as are `student` and `control`; None if it is no model.
      student: The candidate.
      control: The student trained without its teacher, or None.
      tflite: The Exporter's directory, `<role>/<variant>/model.tflite`.
      teacher_answers: Directory of the answers of a teacher that is no model.
    """

    teacher: str | None
    student: str
    control: str | None
    tflite: str
    teacher_answers: str | None = None

    @property
    def saved_models(self) -> dict[str, str]:
        """Directories of SavedModels by role, the teacher first."""
        models = {"teacher": self.teacher, "student": self.student, "control": self.control}
        return {role: path for role, path in models.items() if path}

    @property
    def variants(self) -> dict[str, str]:
        """The student's TFLite files by variant, float32 first."""
        names = os.listdir(os.path.join(self.tflite, "student"))
        ordered = sorted(names, key=lambda name: (name != REFERENCE, name))
        return {name: self.tflite_file("student", name) for name in ordered}

    @property
    def shipped(self) -> list[ModelFile]:
        """What may be pushed, and the teacher, if it is a model, in the same two formats."""
        teacher = {"teacher": self.teacher_tflite} if self.teacher_tflite else {}
        saved_models = self.saved_models
        return [
            *(
                ModelFile(role, SAVED_MODEL, saved_models[role])
                for role in ("teacher", "student")
                if role in saved_models
            ),
            *(ModelFile(name, LITERT, path) for name, path in (teacher | self.variants).items()),
        ]

    @property
    def teacher_tflite(self) -> str | None:
        """The teacher's file, to be timed against the student's; None if there is none."""
        path = self.tflite_file("teacher", REFERENCE)
        return path if self.teacher and os.path.exists(path) else None

    def check_files(self) -> None:
        """Hold the TFLite files to what the Exporter has said of them.

        Raises:
          ModelError: One is another file, or damaged; its runtime might end this process.
        """
        for path in (self.teacher_tflite, *self.variants.values()):
            if path and files.sha256(path) != _recorded_sha256(path):
                raise ModelError(
                    f"{path} is not the file that {SPEC_FILE} beside it describes",
                    damaged=self.tflite,
                )

    def student_files(self) -> dict[str, str]:
        """SHA-256 of every file of the student's SavedModel, by its relative name."""
        names = files.file_names(self.student)
        return {name: files.sha256(os.path.join(self.student, name)) for name in names}

    def tflite_file(self, role: str, variant: str) -> str:
        """Where the Exporter put a file."""
        return os.path.join(self.tflite, role, variant, TFLITE_FILE)


def _recorded_sha256(path: str) -> str:
    """What the file beside a TFLite file says; "" if it does not."""
    try:
        with open(os.path.join(os.path.dirname(path), SPEC_FILE), "rb") as file:
            return str(json.load(file)["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@dataclass(frozen=True, eq=False)
class SplitAnswers:
    """The answers, in the common order of the examples.

    Attributes:
      saved_models: By role, the teacher first; one that is no model was asked before.
      variants: Of the student's TFLite files.
      canaries: Outputs of each shipped file for the first examples, in the order of their files.
      ids: Of the examples.
      features: Values of the features that make the slices, as texts `[n]`.
    """

    saved_models: dict[str, Answers]
    variants: dict[str, Answers]
    canaries: dict[ModelFile, NDArray[Any]]
    ids: list[str]
    features: dict[str, NDArray[Any]]


def ask(
    models: JudgedModels,
    split: EvalSplit,
    features: Sequence[str],
    canaries: Examples,
    kind: type[Answers],
) -> SplitAnswers:
    """Asks the SavedModels the raw examples, and the TFLite files the transformed ones.

    Args:
      models: What is asked.
      split: The examples.
      features: Names of raw features whose values are wanted.
      canaries: The first examples of the split.
      kind: What becomes of the task's outputs.

    Raises:
      ConfigError: An example lacks one of the features.
    """
    count = canaries.count
    answering = {
        runtime: {
            role: _Answering(ModelFile(role, runtime, path), count, kind)
            for role, path in paths.items()
        }
        for runtime, paths in ((SAVED_MODEL, models.saved_models), (LITERT, models.variants))
    }
    seen, texts_seen = _Identities(), _Texts(features)
    stored = {}
    if models.teacher_answers:
        stored["teacher"] = _Stored(AnswerStore(models.teacher_answers), kind)
    by_role = stored | answering[SAVED_MODEL]
    _show(split.serialized(), [seen, texts_seen, *by_role.values()])
    order, transformed = seen.order(), _Identities()
    _show(split.tensors(), [transformed, *answering[LITERT].values()])
    first = {each.file: each.canaries() for asked in answering.values() for each in asked.values()}
    if models.teacher_tflite:
        teacher = ModelFile("teacher", LITERT, models.teacher_tflite)
        first[teacher] = runtimes.load(LITERT, teacher.path).answer(canaries.tensors)
    return SplitAnswers(
        _in_order(by_role, order),
        _in_order(answering[LITERT], transformed.order()),
        first,
        [seen.ids()[at].decode() for at in order],
        {name: np.array(values, object)[order] for name, values in texts_seen.values.items()},
    )


class _Observer(Protocol):
    def see(self, batch: EvalBatch) -> None:
        """Take from a batch what is wanted."""


class _Answering:
    """A loaded model, and what it has answered so far."""

    def __init__(self, file: ModelFile, canaries: int, kind: type[Answers]):
        self.file = file
        self._kind = kind
        self._model = runtimes.load(file.runtime, file.path)
        self._answers: list[Answers] = []
        self._first: list[NDArray[Any]] = []
        self._missing = canaries

    def see(self, batch: EvalBatch) -> None:
        logits = self._model.answer(batch.examples)
        self._answers.append(self._kind.from_outputs(batch.labels, logits, batch.weights))
        if self._missing > 0:
            self._first.append(logits[: self._missing])
            self._missing -= len(logits)

    def answers(self) -> Answers:
        """In the order of the files."""
        return self._kind.concatenate(self._answers)

    def canaries(self) -> NDArray[Any]:
        """Outputs for the first examples."""
        return np.concatenate(self._first)


class _Stored:
    """What a teacher was asked before."""

    def __init__(self, store: AnswerStore, kind: type[Answers]):
        self._store, self._kind = store, kind
        self._answers: list[Answers] = []

    def see(self, batch: EvalBatch) -> None:
        logits = self._store.logits(bytes(each) for each in batch.ids)
        self._answers.append(self._kind.from_outputs(batch.labels, logits, batch.weights))

    def answers(self) -> Answers:
        """In the order of the files."""
        return self._kind.concatenate(self._answers)


class _Identities:
    """Which examples were seen, in which order."""

    def __init__(self) -> None:
        self._ids: list[NDArray[Any]] = []
        self._labels: list[NDArray[Any]] = []

    def see(self, batch: EvalBatch) -> None:
        self._ids.append(batch.ids)
        self._labels.append(batch.labels)

    def ids(self) -> NDArray[Any]:
        return np.concatenate(self._ids)

    def order(self) -> NDArray[np.int64]:
        """Where the examples are, in the common order."""
        return common_order(self.ids(), np.concatenate(self._labels))


class _Texts:
    """Values of raw features."""

    def __init__(self, features: Sequence[str]):
        self.values: dict[str, list[str]] = {name: [] for name in features}

    def see(self, batch: EvalBatch) -> None:
        for name, found in texts(batch.examples, list(self.values)).items():
            self.values[name] += found


def _show(batches: Iterable[EvalBatch], observers: Sequence[_Observer]) -> None:
    for batch in batches:
        for observer in observers:
            observer.see(batch)


def _in_order(
    answering: Mapping[str, _Answering | _Stored], order: NDArray[np.int64]
) -> dict[str, Answers]:
    return {role: each.answers().select(order) for role, each in answering.items()}
