"""Trainers that learn from the labels alone: the teacher, and the student's control."""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.trainer.component import Trainer

import modules
from components.code_digest import builder_digest
from modules.settings import DataSettings, ModelSettings


class TeacherTrainer(Trainer):
    """TFX's Trainer with `modules/teacher_trainer.py` as its module file.

    Args:
      examples: Transformed examples; only the split train is read.
      transform_graph: Carries the class names and the preprocessing.
      statistics: Of the raw examples; says how many there are.
      model: Which model, with which parameters, how trained.
      data: Its input.
      seed: Of the weights and of the order of the examples.
    """

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        statistics: types.BaseChannel,
        model: ModelSettings,
        data: DataSettings,
        seed: int,
    ):
        super().__init__(
            module_file=module_file("teacher_trainer"),
            examples=examples,
            transform_graph=transform_graph,
            statistics=statistics,
            custom_config=training_config(model, data, seed),
        )


def module_file(name: str) -> str:
    """The path of a module file; TFX packs it and its siblings into a wheel."""
    return os.path.join(os.path.dirname(os.path.abspath(modules.__file__)), f"{name}.py")


def training_config(model: ModelSettings, data: DataSettings, seed: int) -> dict[str, Any]:
    """The `custom_config` of a Trainer, as `modules.trainer_task` reads it."""
    return {
        "model": model.model_dump_json(),
        "data": data.model_dump_json(),
        "seed": seed,
        # Part of the cache's key: the wheel knows our builders, but not the user's.
        "builder_digest": builder_digest(model.model),
    }
