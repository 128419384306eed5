"""What the Trainers' and the Tuner's module files do: build a model and train it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from modules.code_digest import code_digest
from modules.data.augmentation import check_augmentation
from modules.data.examples import ExampleData, View
from modules.data.spec import OutputSpec, read_spec
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.distill.hyperparameters import apply_hyperparameters, describe
from modules.distill.saved_states import state_directory
from modules.distill.strategy import is_chief, make_strategy
from modules.distill.training_config import TrainingConfig
from modules.errors import ModelError
from modules.models import storage, zoo
from modules.settings import DistillSettings, ModelSettings
from modules.tasks.registry import make_task
from modules.teachers.cache import SoftTargetCache

_LOG = logging.getLogger("tfx_distill.training")
# What may change between a killed run and the one that takes it up.
_NOT_THE_MODEL = {"checkpoint_seconds", "strategy"}


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained, and what its export needs to know of the training.

    Attributes:
      model: With the weights of the best epoch, computing in float32.
      settings: How it was built, the search's winner included.
      transform_graph: Directory of the preprocessing in front of it.
      state_dir: Where the states of its training lie.
      chief: Whether this process exports; of several workers one does.
    """

    model: keras.Model
    settings: ModelSettings
    transform_graph: str
    state_dir: str
    chief: bool


class TrainerTask:
    """One training run as TFX hands it over.

    Args:
      fn_args: TFX's `FnArgs`. Its `custom_config` is a TrainingConfig, or one dumped to a
        dictionary. Its `hyperparameters`, if there are any, go before it: the Tuner's winner.
    """

    def __init__(self, fn_args: Any):
        if keras.version().split(".")[0] != "3" or keras.backend.backend() != "tensorflow":
            raise ModelError(
                f"Keras 3 on TensorFlow is needed, found Keras {keras.version()} on "
                f"{keras.backend.backend()}; unset TF_USE_LEGACY_KERAS and KERAS_BACKEND"
            )
        self._fn_args = fn_args
        self.config = TrainingConfig.model_validate(fn_args.custom_config)
        tuned: dict[str, Any] = (fn_args.hyperparameters or {}).get("values", {})
        if tuned:
            _LOG.info("tuned: %s", describe(tuned))
            self.config = apply_hyperparameters(tuned, self.config)
        self._strategy = make_strategy(self.config.strategy)
        self._transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
        self._spec = read_spec(fn_args.transform_graph_path)
        self._task = make_task(self._spec.output.task, self._spec.output.deviation)
        check_augmentation(self.config.augment, self._spec)

    def train(self) -> TrainedModel:
        """Train one model on the labels alone; a control in as many steps as its student."""
        with self._strategy.scope():
            model = self._build(self.config.model)
            _LOG.info("%s, %s parameters", self.config.model.model, f"{model.count_params():,}")
            distiller = Distiller(None, model, methods=(), task=self._task)
            training.fit(distiller, self._data(None, labels_only=True), self._plan(1))
        return self._trained(model)

    def held_out(self) -> tf.data.Dataset:
        """The validation part, as `ExampleData.validation` has it."""
        return self._data(None).validation(self.config.model.train.batch_size)

    def distill(self) -> TrainedModel:
        """Train a student; of several generations, the last."""
        settings = self.config.distill
        assert settings is not None
        with self._strategy.scope():
            return self._trained(self._distill(settings))

    def try_student(self, values: Mapping[str, Any], epochs: int | None) -> float:
        """Train a student with other hyperparameters, of one generation, and keep nothing of it.

        Args:
          values: See `apply_hyperparameters`.
          epochs: Upper bound, or None for the student's own.

        Returns:
          The lowest cross-entropy with the labels of the validation part, of all epochs.
        """
        config = apply_hyperparameters(values, self.config)
        train = config.model.train
        train = train.model_copy(update={"epochs": epochs or train.epochs})
        plan = dataclasses.replace(self._quiet_plan(), settings=train)
        with self._strategy.scope():
            model = self._build(config.model)
            assert config.distill is not None
            distiller = self._distiller(
                model, config.distill, self._teachers, self.config.teacher_weights
            )
            training.fit(distiller, self._taught_data, plan)
        return float(min(distiller.history.history["val_hard_loss"]))

    def _trained(self, model: keras.Model) -> TrainedModel:
        if self.config.model.train.mixed_precision:
            # float16 was for the training; what is served computes in float32.
            trained, model = (
                model,
                self._built(self.config.model),
            )
            model.set_weights(trained.get_weights())
        return TrainedModel(
            model=model,
            settings=self.config.model,
            transform_graph=self._fn_args.transform_graph_path,
            state_dir=self._state_dir,
            chief=is_chief(self._strategy),
        )

    @property
    def output(self) -> OutputSpec:
        """What the models answer."""
        return self._spec.output

    @cached_property
    def _teachers(self) -> list[keras.Model]:
        """The models that teach in every step; none where their answers are cached."""
        if self.config.soft_targets_dir:
            return []
        return [
            storage.load_model(storage.keras_directory(path), known)
            for path, known in zip(
                self.config.teacher_dirs, self.config.teacher_models, strict=True
            )
        ]

    @cached_property
    def _taught_data(self) -> ExampleData:
        """The examples with their cached soft targets, if there are any."""
        if not self.config.soft_targets_dir:
            return self._data(None)
        soft_targets = SoftTargetCache(self.config.soft_targets_dir)
        soft_targets.check_classes(self._spec.output.size)
        return self._data(soft_targets)

    def _distill(self, settings: DistillSettings) -> keras.Model:
        teachers, data = self._teachers, self._taught_data
        weights: Sequence[float] = self.config.teacher_weights
        for generation in range(1, settings.generations + 1):
            model = self._build(self.config.model)
            if settings.generations > 1:
                _LOG.info("generation %d of %d", generation, settings.generations)
            _LOG.info(
                "%s, %s parameters, taught by %s",
                self.config.model.model,
                f"{model.count_params():,}",
                ", ".join(teacher.name for teacher in teachers) or "cached soft targets",
            )
            distiller = self._distiller(model, settings, teachers, weights)
            training.fit(distiller, data, self._plan(generation))
            # The next generation learns from this one (Furlanello et al. 2018), which no cache
            # can have known.
            teachers, weights, data = [model], (1.0,), self._data(None)
        return model

    def _build(self, settings: ModelSettings) -> keras.Model:
        # Seeded here, so that nothing that was loaded before changes the first weights: the
        # control must start from the same ones as the student.
        keras.utils.set_random_seed(self.config.seed)
        before = keras.config.dtype_policy()
        if settings.train.mixed_precision:
            keras.config.set_dtype_policy("mixed_float16")
        try:
            return self._built(settings)
        finally:
            keras.config.set_dtype_policy(before)

    def _built(self, settings: ModelSettings) -> keras.Model:
        return zoo.build_model(settings, self._spec.by_name, self._spec.output)

    def _distiller(
        self,
        student: keras.Model,
        settings: DistillSettings,
        teachers: Sequence[keras.Model],
        weights: Sequence[float],
    ) -> Distiller:
        return Distiller(
            teachers,
            student,
            settings.methods,
            settings.alpha,
            settings.temperature,
            weights,
            task=self._task,
        )

    def _data(self, soft_targets: SoftTargetCache | None, labels_only: bool = False) -> ExampleData:
        return ExampleData(
            self._fn_args.train_files,
            self._spec,
            self.config.data,
            soft_targets,
            self.config.unlabeled_files,
            labels_only,
        )

    def _plan(self, generation: int) -> training.Plan:
        log_dir, state_dir = (
            os.path.join(directory, f"generation_{generation}")
            for directory in (self._fn_args.model_run_dir, self._state_dir)
        )
        return dataclasses.replace(
            self._quiet_plan(),
            log_dir=log_dir,
            state_dir=state_dir,
            quantization_aware=self.config.quantization_aware,
        )

    def _quiet_plan(self) -> training.Plan:
        """The plan of a training that leaves nothing behind."""
        view = None
        if self.config.augment.active:
            view = View(self.config.augment, self.config.views, self.config.seed)
        return training.Plan(
            settings=self.config.model.train,
            seed=self.config.seed,
            log_dir=None,
            view=view,
            chief=is_chief(self._strategy),
            seconds_between_saves=self.config.checkpoint_seconds,
        )

    @cached_property
    def _state_dir(self) -> str:
        """Where an interrupted run of the same inputs, configuration and code is found again."""
        described = json.dumps(
            [
                self.config.model_dump(mode="json", exclude=_NOT_THE_MODEL),
                sorted(self._fn_args.train_files),
                self._fn_args.transform_graph_path,
                code_digest(),
            ],
            sort_keys=True,
        )
        key = hashlib.sha256(described.encode()).hexdigest()[:32]
        return state_directory(self._fn_args.model_run_dir, key)
