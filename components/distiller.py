"""The Trainer of the student."""

from __future__ import annotations

from tfx import types
from tfx.components.trainer.component import Trainer

from components.teacher_trainer import module_file, training_config
from modules.settings import DataSettings, DistillSettings, ModelSettings


class Distiller(Trainer):
    """TFX's Trainer with `modules/distill_trainer.py` as its module file.

    Args:
      examples: Transformed examples; only the split train is read.
      transform_graph: Carries the class names and the preprocessing.
      statistics: Of the raw examples; says how many there are.
      teacher: The model to learn from, the output of a TeacherTrainer.
      model: The student.
      distill: The objective.
      data: The input of both models.
      seed: Of the weights and of the order of the examples.
    """

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        statistics: types.BaseChannel,
        teacher: types.BaseChannel,
        model: ModelSettings,
        distill: DistillSettings,
        data: DataSettings,
        seed: int,
    ):
        objective = distill.model_dump_json(exclude={"control"})
        super().__init__(
            module_file=module_file("distill_trainer"),
            examples=examples,
            transform_graph=transform_graph,
            statistics=statistics,
            base_model=teacher,
            custom_config=training_config(model, data, seed) | {"distill": objective},
        )
