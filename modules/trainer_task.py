"""What both Trainer module files do: build, train, export."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow_transform as tft

from modules import model_zoo, serving, training
from modules.data import ExampleData, View
from modules.distiller import Distiller
from modules.errors import ModelError
from modules.knowledge import SoftTargets
from modules.preprocessing import class_names
from modules.settings import AugmentSettings, DataSettings, DistillSettings, ModelSettings
from modules.strategy import is_chief, make_strategy

_LOG = logging.getLogger("tfx_distill.training")
_STATE_DIRECTORY = "resume"
# What may change between a killed run and the one that takes it up.
_NOT_THE_MODEL = {"checkpoint_seconds", "strategy"}


class TrainerTask:
    """One training run as TFX hands it over.

    Args:
      fn_args: TFX's `FnArgs`. Its `custom_config` carries `model`, `data` and `augment` as JSON,
        `views` and `seed`; for a student also `distill`, `teacher_weights`, `teacher_dirs` and
        `soft_targets_dir`.
    """

    def __init__(self, fn_args: Any):
        if keras.version().split(".")[0] != "3" or keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"Keras 3 on TensorFlow is needed, found Keras {keras.version()} on "
                f"{keras.backend.backend()}; unset TF_USE_LEGACY_KERAS and KERAS_BACKEND"
            )
        self._fn_args = fn_args
        self._config = config = fn_args.custom_config
        self._model_settings = ModelSettings.model_validate_json(config["model"])
        self._data_settings = DataSettings.model_validate_json(config["data"])
        self._augment = AugmentSettings.model_validate_json(config["augment"])
        self._seed = int(config["seed"])
        self._strategy = make_strategy(config["strategy"])
        self._transform_output = tft.TFTransformOutput(fn_args.transform_output)
        self._classes = len(class_names(self._transform_output))

    def train(self) -> None:
        """Train and export one model on the labels alone."""
        with self._strategy.scope():
            model = self._build()
            _LOG.info("%s, %s parameters", self._model_settings.model, f"{model.count_params():,}")
            self._fit(Distiller(model), knowledge=None, generation=1)
        self._export(model)

    def distill(self) -> None:
        """Train and export a student; of several generations, the last."""
        settings = DistillSettings.model_validate_json(self._config["distill"])
        knowledge = None
        if self._config["soft_targets_dir"]:
            knowledge = SoftTargets(self._config["soft_targets_dir"])
            knowledge.check_classes(self._classes)
        with self._strategy.scope():
            self._export(self._distill(settings, knowledge))

    def _distill(self, settings: DistillSettings, knowledge: SoftTargets | None) -> keras.Model:
        teachers: list[keras.Model] = []
        if knowledge is None:
            teachers = [_load(path) for path in self._config["teacher_dirs"]]
        weights: Sequence[float] = self._config["teacher_weights"]
        for generation in range(1, settings.generations + 1):
            model = self._build()
            if settings.generations > 1:
                _LOG.info("generation %d of %d", generation, settings.generations)
            _LOG.info(
                "%s, %s parameters, taught by %s",
                self._model_settings.model,
                f"{model.count_params():,}",
                ", ".join(teacher.name for teacher in teachers) or "cached soft targets",
            )
            epochs = self._model_settings.train.epochs
            self._fit(Distiller(model, settings, teachers, weights, epochs), knowledge, generation)
            # The next generation learns from this one (Furlanello et al. 2018), which no cache
            # can have known.
            teachers, weights, knowledge = [model], [1.0], None
        return model

    def _build(self) -> keras.Model:
        # Seeded here, so that nothing that was loaded before changes the first weights: the
        # control must start from the same ones as the student.
        keras.utils.set_random_seed(self._seed)
        before = keras.config.dtype_policy()
        if self._model_settings.train.mixed_precision:
            keras.config.set_dtype_policy("mixed_float16")
        try:
            return model_zoo.build_model(
                self._model_settings, self._data_settings.input_shape, self._classes
            )
        finally:
            keras.config.set_dtype_policy(before)

    def _fit(self, distiller: Distiller, knowledge: SoftTargets | None, generation: int) -> None:
        data = ExampleData(self._fn_args.train_files, self._data_settings, knowledge)
        view = None
        if self._augment.active:
            view = View(self._augment, int(self._config["views"]), self._seed, self._classes)
        plan = training.Plan(
            settings=self._model_settings.train,
            seed=self._seed,
            log_dir=os.path.join(self._fn_args.model_run_dir, f"generation_{generation}"),
            state_dir=self._state_dir(generation),
            view=view,
            chief=is_chief(self._strategy),
            seconds_between_saves=float(self._config["checkpoint_seconds"]),
        )
        training.fit(distiller, data, plan)

    def _state_dir(self, generation: int) -> str:
        """Where an interrupted run of the same inputs, configuration and code is found again.

        TFX gives every execution another working directory; beside `model_run/<execution>` is a
        place that all executions of the node share.
        """
        described = json.dumps(
            [
                {name: self._config[name] for name in sorted(self._config.keys() - _NOT_THE_MODEL)},
                sorted(self._fn_args.train_files),
                self._fn_args.transform_output,
                _code_digest(),
                generation,
            ],
            sort_keys=True,
        )
        key = hashlib.sha256(described.encode()).hexdigest()[:32]
        node_dir = os.path.dirname(os.path.dirname(self._fn_args.model_run_dir.rstrip("/")))
        return os.path.join(node_dir, _STATE_DIRECTORY, key)

    def _export(self, model: keras.Model) -> None:
        if not is_chief(self._strategy):
            return  # TFX takes the chief's; the others must not write to the same place.
        if self._model_settings.train.mixed_precision:
            # float16 was for the training; what is served computes in float32.
            trained, model = (
                model,
                model_zoo.build_model(
                    self._model_settings, self._data_settings.input_shape, self._classes
                ),
            )
            model.set_weights(trained.get_weights())
        serving.export(
            model, self._model_settings, self._transform_output, self._fn_args.serving_model_dir
        )


def _load(teacher_dir: str) -> keras.Model:
    return model_zoo.load_model(serving.keras_directory(teacher_dir))


def _code_digest() -> str:
    """Of the code that trains: this directory."""
    digest = hashlib.sha256()
    directory = os.path.dirname(os.path.abspath(__file__))
    for name in sorted(name for name in os.listdir(directory) if name.endswith(".py")):
        with open(os.path.join(directory, name), "rb") as file:
            digest.update(name.encode() + file.read())
    return digest.hexdigest()
