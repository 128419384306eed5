"""Trainers that learn from the labels alone: the teacher, and the student's control."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tfx import types
from tfx.components.trainer.component import Trainer

import modules
from components.code_digest import builder_digest
from modules.settings import AugmentSettings, DataSettings, ModelSettings, RuntimeSettings


@dataclass(frozen=True)
class Training:
    """What every Trainer of the pipeline is given.

    Attributes:
      examples: Transformed examples; only the split train is read.
      transform_graph: Carries the class names and the preprocessing.
      data: The input of the models.
      augment: The views of training images.
      views: How many views of an example there are; 0: another one in every epoch.
      runtime: Strategy, and where checkpoints are kept.
      seed: Of weights, order and views.
    """

    examples: types.BaseChannel
    transform_graph: types.BaseChannel
    data: DataSettings
    augment: AugmentSettings
    views: int
    runtime: RuntimeSettings
    seed: int


class TeacherTrainer(Trainer):
    """TFX's Trainer with `modules/teacher_trainer.py` as its module file.

    Args:
      training: What all Trainers are given.
      model: Which model, with which parameters, how trained.
      hyperparameters: The Tuner's winner, for the control: it is to be the same student, only
        without a teacher.
    """

    def __init__(
        self,
        *,
        training: Training,
        model: ModelSettings,
        hyperparameters: types.BaseChannel | None = None,
    ):
        super().__init__(
            module_file=module_file("teacher_trainer"),
            examples=training.examples,
            transform_graph=training.transform_graph,
            hyperparameters=hyperparameters,
            custom_config=training_config(model, training),
        )


def module_file(name: str) -> str:
    """The path of a module file; TFX packs it and its siblings into a wheel."""
    return os.path.join(os.path.dirname(os.path.abspath(modules.__file__)), f"{name}.py")


def training_config(model: ModelSettings, training: Training) -> dict[str, Any]:
    """The `custom_config` of a Trainer, as `modules.trainer_task` reads it."""
    return {
        # A teacher's weight is the student's business, not its own training's.
        "model": model.model_dump_json(include=set(ModelSettings.model_fields)),
        "data": training.data.model_dump_json(),
        "augment": training.augment.model_dump_json(),
        "views": training.views,
        "strategy": training.runtime.strategy,
        "checkpoint_seconds": training.runtime.checkpoint_seconds,
        "seed": training.seed,
        # Part of the cache's key: the wheel knows our builders, but not the user's.
        "builder_digest": builder_digest(model.model),
    }
