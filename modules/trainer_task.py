"""What both Trainer module files do: build, train, export."""

from __future__ import annotations

import logging
from typing import Any

import keras
import tensorflow_transform as tft

from modules import model_zoo, serving, training
from modules.data import ExampleData
from modules.distiller import Distiller
from modules.errors import ModelError
from modules.preprocessing import class_names
from modules.settings import DataSettings, DistillSettings, ModelSettings

_LOG = logging.getLogger("tfx_distill.training")


class TrainerTask:
    """One training run as TFX hands it over.

    Args:
      fn_args: TFX's `FnArgs`. Its `custom_config` carries `model` and `data` as JSON, the
        `seed`, and with a teacher `distill`; `num_examples` comes from the statistics.
    """

    def __init__(self, fn_args: Any):
        config = fn_args.custom_config
        self._fn_args = fn_args
        self._model_settings = ModelSettings.model_validate_json(config["model"])
        self._data_settings = DataSettings.model_validate_json(config["data"])
        self._distill_settings = DistillSettings.model_validate_json(config.get("distill", "{}"))
        self._seed = int(config["seed"])

    def run(self, teacher_dir: str | None) -> None:
        """Train and export one model; with `teacher_dir`, the student of that SavedModel."""
        if keras.version().split(".")[0] != "3" or keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"Keras 3 on TensorFlow is needed, found Keras {keras.version()} on "
                f"{keras.backend.backend()}; unset TF_USE_LEGACY_KERAS and KERAS_BACKEND"
            )
        transform_output = tft.TFTransformOutput(self._fn_args.transform_output)
        classes = len(class_names(transform_output))
        teacher = self._load_teacher(teacher_dir, classes) if teacher_dir else None

        # Seeded last, so that loading a teacher does not change the student's first weights:
        # the control must start from the same ones.
        keras.utils.set_random_seed(self._seed)
        model = model_zoo.build_model(
            self._model_settings, self._data_settings.input_shape, classes
        )
        _LOG.info(
            "%s, %s parameters%s",
            self._model_settings.model,
            f"{model.count_params():,}",
            f", taught by {teacher.name} ({teacher.count_params():,})" if teacher else "",
        )
        self._train(Distiller(model, teacher, self._distill_settings))
        serving.export(
            model, self._model_settings, transform_output, self._fn_args.serving_model_dir
        )

    def _train(self, distiller: Distiller) -> None:
        settings = self._model_settings.train
        data = ExampleData(self._fn_args.train_files, self._data_settings)
        training.fit(
            distiller,
            data.training(settings.batch_size, self._seed, self._fn_args.num_examples["train"]),
            data.validation(settings.batch_size),
            settings,
            log_dir=self._fn_args.model_run_dir,
        )

    def _load_teacher(self, teacher_dir: str, classes: int) -> keras.Model:
        teacher = model_zoo.load_model(serving.keras_directory(teacher_dir))
        if teacher.output_shape[-1] != classes:
            raise ModelError(
                f"the teacher distinguishes {teacher.output_shape[-1]} classes, the data "
                f"{classes}; train the teacher on the same data"
            )
        teacher.trainable = False
        return teacher
