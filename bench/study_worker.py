"""What one process of the study does: data, teacher, and all arms of the students, cell by cell."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench import study_arms
from bench.study_arms import Arrays, Cell, joined, logits_of
from bench.study_auto import auto
from bench.study_cells import AUTO, CONTROL, FEW, KERAS, PLAIN, Group
from bench.study_data import write_table
from modules.data.examples import ExampleData, Order
from modules.data.spec import read_spec
from modules.distill.training_config import TrainingConfig
from modules.settings import AugmentSettings, ModelSettings
from modules.teachers import soft_targets
from pipeline.config import PipelineConfig
from pipeline.local_runner import inspect

Result = dict[str, Any]


def begin() -> None:
    """Prepare a process: a student is so small that a second thread does not make it faster."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")


def run_group(group: Group, digest: str, send: Callable[[Result], None]) -> None:
    """Train a teacher and its students; hand over each cell's result when it is there.

    Args:
      group: What is trained.
      digest: Of the study's code.
      send: Given a result, or a reason why there is none.
    """
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        try:
            bench = _Bench(group, Path(name))
        except Exception as error:  # noqa: BLE001 A failure is a result, and stays in the table.
            for size in group.students:
                send(group.failure(size, digest, _reason(error)))
            return
        shared = (time.monotonic() - started) / len(group.students)
        for size in group.students:
            begun = time.monotonic()
            try:
                found = bench.result(size)
            except Exception as error:  # noqa: BLE001
                send(group.failure(size, digest, _reason(error)))
                continue
            seconds = shared + time.monotonic() - begun
            send(group.result(size, digest, **found, seconds=round(seconds, 1)))
            keras.utils.clear_session(free_memory=True)


class _Bench:
    """Data and teacher of a group, in a directory of its own."""

    def __init__(self, group: Group, directory: Path):
        self._group, self._directory = group, directory
        self._config = self._configured()
        inspect(self._config, directory / "data")
        root = directory / "data" / "pipeline_root"
        (examples,) = (root / "Transform" / "transformed_examples").iterdir()
        (graph,) = (root / "Transform" / "transform_graph").iterdir()
        self._graph, self._spec = str(graph), read_spec(str(graph))
        self._train = [f"{examples}/Split-train/*"]
        self._unlabeled = [f"{examples}/Split-unlabeled/*"] if group.labels == FEW else []
        self._evaluation = self._read([f"{examples}/Split-eval/*"])
        data = ExampleData(self._train, self._spec, self._config.data)
        # In a fixed order: the first epoch's.
        order = Order(256, group.seed)
        self._parts = {
            "labeled": self._joined(data.training(order)),
            "validation": self._joined(data.validation(256)),
            "unlabeled": self._read(self._unlabeled),
        }
        self._teacher = self._taught()

    def _configured(self) -> PipelineConfig:
        data = self._group.data
        if "path" in data and ":" not in data["path"]:
            write_table(self._group.name, self._directory)
            data = data | {"path": str(self._directory / data["path"])}
        student = next(iter(self._group.students))
        return PipelineConfig(
            name="study",
            seed=self._group.seed,
            task="classification",
            data=data,
            teacher=self._group.teacher.model_dump(),
            student=self._group.student(student),
            gate={"min_accuracy": 0.1},
        )

    def _read(self, files: list[str]) -> Arrays:
        data = ExampleData(files, self._spec, self._config.data)
        batches = data.everything(512) if files else ()
        return joined([(inputs, labels) for inputs, labels, _ in batches], self._spec)

    def _joined(self, batches: tf.data.Dataset) -> Arrays:
        return joined([(inputs, y["label"]) for inputs, y in batches], self._spec)

    def _taught(self) -> keras.Model:
        """The teacher, which has answered everything."""
        teacher = self._cell(self._group.teacher, None, unlabeled=False).task().train().model
        data = ExampleData(
            self._train, self._spec, self._config.data, unlabeled_patterns=self._unlabeled
        )
        request = soft_targets.Request(0, AugmentSettings(), self._group.seed)
        soft_targets.compute([teacher], data, request, self._answers)
        return teacher

    @property
    def _answers(self) -> str:
        return str(self._directory / "soft_targets")

    def _cell(self, model: ModelSettings, teacher: keras.Model | None, unlabeled: bool) -> Cell:
        config = TrainingConfig(
            model=model,
            data=self._config.data,
            seed=self._group.seed,
            unlabeled=unlabeled,
            unlabeled_files=tuple(self._unlabeled) if unlabeled else (),
            teacher_weights=(1.0,),
            soft_targets_dir=self._answers if teacher is not None else None,
            code_digest="",
        )
        place = Path(tempfile.mkdtemp(dir=self._directory))
        return Cell(
            *(config, self._train, self._graph, self._spec, place), teacher=teacher, **self._parts
        )

    def result(self, size: str) -> Result:
        """Every arm of a student, or why it has failed."""
        cell = self._cell(self._group.student(size), self._teacher, unlabeled=True)
        right: dict[str, np.ndarray] = {}
        arms: dict[str, Result] = {}
        for name in (CONTROL, PLAIN, AUTO, KERAS):
            started = time.process_time()
            try:
                if name == KERAS:
                    if "error" in arms[AUTO]:
                        raise RuntimeError("auto has failed, so nobody knows for how many seconds")
                    model = study_arms.keras_distillation(cell, arms[AUTO]["seconds"])
                else:
                    model = _ARMS[name](cell)
                seconds = time.process_time() - started
                right[name] = self._right(model)
            except Exception as error:  # noqa: BLE001 A failure stays in the table.
                arms[name] = {"error": _reason(error)}
                continue
            arms[name] = {"accuracy": float(right[name].mean()), "seconds": round(seconds, 2)}
            if CONTROL in right:
                arms[name] |= _against(right[name], right[CONTROL])
        return {
            "teacher": float(self._right(self._teacher).mean()),
            "parameters": [self._teacher.count_params(), cell.build().count_params()],
            "examples": {name: len(part) for name, part in self._parts.items()}
            | {"eval": len(self._evaluation)},
            "arms": arms,
        }

    def _right(self, model: keras.Model) -> np.ndarray:
        """Which eval examples are classified rightly `[n]`."""
        return logits_of(model, self._evaluation).argmax(-1) == self._evaluation.labels


_ARMS: dict[str, Callable[[Cell], keras.Model]] = {
    CONTROL: study_arms.control,
    PLAIN: study_arms.plain,
    AUTO: auto,
}


def _against(right: np.ndarray, control: np.ndarray) -> dict[str, int]:
    """On how many examples alone the one, or the control, is right."""
    return {"better": int((right & ~control).sum()), "worse": int((~right & control).sum())}


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
