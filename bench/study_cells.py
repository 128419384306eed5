"""What the study compares: data sets, students and arms; what a cell's result depends on.

A cell is a data set, a number of labels and a student. Nothing heavy is imported here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.settings import ModelSettings, TrainSettings

ROOT = Path(__file__).parent
CONTROL, AUTO, PLAIN, KERAS = ARMS = ("control", "auto", "plain", "keras")
ALL, FEW = LABELS = ("all", "few")
SIZES = ("small", "medium", "large")
# Code that a result depends on: a change there makes it out of date. The settings of data and
# models are in the key of a result. What reads data and keeps answers must not change them.
_CODE = [
    *(
        f"modules/{name}"
        for name in ("distill", "models", "search", "tasks", "settings/distillation.py")
    ),
    *(f"bench/study_{name}.py" for name in ("arms", "auto", "cells", "data", "worker")),
]


def _model(name: str, parameters: dict[str, Any], epochs: int, **train: Any) -> ModelSettings:
    # Every model takes all its epochs, and the best one on the validation part is kept.
    settings = TrainSettings(epochs=epochs, patience=epochs, **train)
    return ModelSettings(model=name, parameters=parameters, train=settings)


@dataclass(frozen=True)
class DataSet:
    """Data, a teacher and three students.

    Attributes:
      data: The section `data` of the configuration, without the split.
      few: How many labels a tenth is.
      teacher: It learns from the labels alone; with few labels in `longer` times as many epochs.
      students: By size.
      longer: See `teacher`.
      few_teacher: With few labels in the place of `teacher`, as it is.
    """

    data: dict[str, Any]
    few: int
    teacher: ModelSettings
    students: dict[str, ModelSettings]
    longer: int = 4
    few_teacher: ModelSettings | None = None


def _students(
    name: str, options: Sequence[dict[str, Any]], epochs: int, **train: Any
) -> dict[str, ModelSettings]:
    models = (_model(name, parameters, epochs, **train) for parameters in options)
    return dict(zip(SIZES, models, strict=True))


def _filters(*sizes: list[int]) -> list[dict[str, Any]]:
    return [{"filters": filters} for filters in sizes]


_UNITS = [{"units": [4]}, {"units": [8, 8]}, {"units": [32, 16]}]
_TEXT = [{"width": width, "filters": count} for width, count in ((2, 4), (4, 8), (4, 16))]

# The rates are those of the presets or near them. Epochs make 1,900 to 4,000 steps: fewer left the
# smallest students far from what they can learn. Those of diamonds learned on behind 4,000 and have
# 12,000; its teachers were chosen among some on the validation parts of seeds 100 and 101. Nothing
# was chosen here by what distillation brings.
DATA_SETS = {
    "digits": DataSet(
        {"source": "digits", "features": {"image": {"kind": "image", "size": 8, "channels": 1}}},
        144,
        _model(
            "resnet_small",
            {"widths": [32, 64], "blocks": 1, "dropout": 0.5},
            25,
            batch_size=32,
            learning_rate=0.003,
            weight_decay=0.3,
        ),
        _students(
            "separable_cnn",
            _filters([4, 8], [8, 16], [16, 32]),
            110,
            batch_size=32,
            learning_rate=0.01,
        ),
    ),
    "mnist": DataSet(
        {
            "source": "parquet",
            "path": "embedded:mnist.parquet",
            "label": "digit",
            "features": {"image": {"kind": "image", "size": 28, "channels": 1}},
        },
        400,
        _model(
            "resnet_small",
            {"widths": [16, 32, 64], "blocks": 1, "dropout": 0.3},
            8,
            batch_size=64,
            learning_rate=0.003,
        ),
        _students(
            "separable_cnn",
            _filters([4, 8, 16], [8, 16, 32], [16, 32, 64]),
            60,
            batch_size=64,
            learning_rate=0.01,
        ),
    ),
    "segments": DataSet(
        {"source": "parquet", "path": "embedded:segments.parquet", "label": "category"},
        167,
        _model(
            "resnet_tabular",
            {"width": 256, "blocks": 3, "dropout": 0.4},
            30,
            batch_size=64,
            learning_rate=0.001,
        ),
        _students("mlp", _UNITS, 95, batch_size=32, learning_rate=0.01),
    ),
    "cancer": DataSet(
        {"source": "parquet", "path": "cancer.parquet", "label": "diagnosis"},
        45,
        _model(
            "resnet_tabular",
            {"width": 128, "blocks": 2, "dropout": 0.4},
            40,
            batch_size=32,
            learning_rate=0.001,
        ),
        _students("mlp", _UNITS, 250, batch_size=32, learning_rate=0.01),
    ),
    "diamonds": DataSet(
        {"source": "parquet", "path": "diamonds.parquet", "label": "price_class"},
        1600,
        _model(
            "resnet_tabular",
            {"width": 128, "blocks": 2, "dropout": 0.1},
            36,
            batch_size=128,
            learning_rate=0.001,
            schedule="cosine",
        ),
        _students("mlp", _UNITS, 60, batch_size=64, learning_rate=0.01),
        few_teacher=_model(
            "resnet_tabular",
            {"width": 128, "blocks": 2, "dropout": 0.4},
            48,
            batch_size=128,
            learning_rate=0.001,
            weight_decay=0.1,
        ),
    ),
    "sentiment": DataSet(
        {
            "source": "parquet",
            "path": "embedded:sentiment.parquet",
            "label": "sentiment",
            "features": {
                "text": {"kind": "text", "length": 40, "vocabulary": 8000, "min_count": 2}
            },
        },
        930,
        _model(
            "text_cnn",
            {"width": 64, "filters": 128, "kernels": [1, 2, 3], "dropout": 0.5},
            5,
            batch_size=64,
            learning_rate=0.001,
            weight_decay=0.01,
        ),
        _students(
            "text_cnn",
            _TEXT,
            16,
            batch_size=64,
            learning_rate=0.003,
            weight_decay=0.01,
        ),
        longer=3,
    ),
}


@dataclass(frozen=True)
class Group:
    """What shares a teacher: a data set, a number of labels, and a seed.

    Attributes:
      name: Of the data set.
      labels: `all` or `few`.
      seed: Of the split, of which labels are kept, of first weights and order.
      students: Sizes that are still to be trained.
      quick: Whether every model takes few epochs, to see that it works.
    """

    name: str
    labels: str
    seed: int
    students: tuple[str, ...] = SIZES
    quick: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """The section `data`, with the split of this seed."""
        few = {"max_labels": DATA_SETS[self.name].few} if self.labels == FEW else {}
        shares = {"eval_fraction": 0.2, "validation_fraction": 0.2, "split_seed": self.seed}
        return DATA_SETS[self.name].data | few | shares

    @property
    def teacher(self) -> ModelSettings:
        """The teacher, in quick studies one that has learned little."""
        data_set = DATA_SETS[self.name]
        few = self.labels == FEW
        if few and data_set.few_teacher is not None:
            return self._epochs(data_set.few_teacher, data_set.few_teacher.train.epochs)
        longer = data_set.longer if few else 1
        return self._epochs(data_set.teacher, data_set.teacher.train.epochs * longer)

    def student(self, size: str) -> ModelSettings:
        """A student."""
        student = DATA_SETS[self.name].students[size]
        return self._epochs(student, student.train.epochs)

    def _epochs(self, model: ModelSettings, epochs: int) -> ModelSettings:
        epochs = 2 if self.quick else epochs
        train = model.train.model_copy(update={"epochs": epochs, "patience": epochs})
        return model.model_copy(update={"train": train})

    def key(self, size: str, digest: str) -> str:
        """What the result of a cell and seed depends on."""
        models = [each.model_dump(mode="json") for each in (self.teacher, self.student(size))]
        described = [self.data, *models, self.seed, digest]
        text = json.dumps(described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def result(self, size: str, digest: str, **found: Any) -> dict[str, Any]:
        """What is known of a student, with what it belongs to."""
        cell = f"{self.name}/{self.labels}/{size}"
        return {"cell": cell, "seed": self.seed, "key": self.key(size, digest), **found}

    def failure(self, size: str, digest: str, reason: str) -> dict[str, Any]:
        """Why there is nothing to know."""
        return self.result(size, digest, error=reason, seconds=0.0)


def study_digest() -> str:
    """SHA-256 of the code that results depend on."""
    digest = hashlib.sha256()
    for name in _CODE:
        place = ROOT.parent / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(ROOT.parent)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def cell_names() -> Iterator[str]:
    """`<data set>/<labels>/<student>`, in the order of the table."""
    for name in DATA_SETS:
        for labels in LABELS:
            for size in SIZES:
                yield f"{name}/{labels}/{size}"
