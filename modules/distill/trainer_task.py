"""What the Trainers' and the Tuner's module files do: build a model and train it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from pydantic_core import to_jsonable_python

from modules.code_digest import code_digest
from modules.data.augmentation import check_augmentation
from modules.data.examples import ExampleData, View
from modules.data.spec import DataSpec, read_spec
from modules.distill import training
from modules.distill.distiller import Distiller
from modules.distill.held_out import HeldOutAnswers, held_out_answers
from modules.distill.hyperparameters import apply_hyperparameters, describe
from modules.distill.reusable import ReusableDistiller
from modules.distill.saved_states import state_directory
from modules.distill.strategy import is_chief, make_strategy
from modules.distill.targets import TEACHER_LOGITS
from modules.distill.training_config import TrainingConfig
from modules.errors import ModelError
from modules.models import storage, zoo
from modules.settings import DistillSettings, ModelSettings, TrainSettings
from modules.tasks.registry import make_task
from modules.teachers.cache import SoftTargetCache

_LOG = logging.getLogger("tfx_distill.training")
# What may change between a killed run and the one that takes it up.
_NOT_THE_MODEL: dict[str, Any] = {
    "checkpoint_seconds": True,
    "strategy": True,
    "output_dir": True,
    "search": {"budget"},
}
_VALIDATION_BATCH = 256
# Who learns from the labels alone needs no cached answers, and is not bound to the views that have
# some: 76 digits in one view each taught a control half of what they did in ever new ones.
_ENDLESS = 0
_ASSISTANT = "assistant_"


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
            if self.config.student is not None:
                # Whoever can write that file must not choose which code is called.
                model = self.config.model
                parameters = to_jsonable_python(model.parameters)
                self.config.student.check(model.model, parameters, "best_hyperparameters")
        self._strategy = make_strategy(self.config.strategy)
        self._transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
        self._spec = read_spec(fn_args.transform_graph_path)
        self._task = make_task(self._spec.output.task, self._spec.output.deviation)
        check_augmentation(self.config.augment, self._spec)
        # What a search has compiled for the student that it tried last, by its objectives.
        self._reused: tuple[ModelSettings, dict[str, ReusableDistiller]] | None = None

    def train(self) -> TrainedModel:
        """Train one model on the labels alone; a control in as many steps as its student."""
        with self._strategy.scope():
            model = self._build(self.config.model)
            _LOG.info("%s, %s parameters", self.config.model.model, f"{model.count_params():,}")
            data = self._data(None, labels_only=True)
            plan = dataclasses.replace(self._plan("generation_1"), view=self._view(_ENDLESS))
            if fit_at_once := zoo.AT_ONCE.get(self.config.model.model):
                training.fit_at_once(model, fit_at_once, data, plan, self._spec.output)
            else:
                training.fit(Distiller(None, model, methods=(), task=self._task), data, plan)
        return self._trained(model)

    def held_out(self) -> tf.data.Dataset:
        """The validation part, as `ExampleData.validation` has it."""
        return self._data(None).validation(self.config.model.train.batch_size)

    def distill(self) -> TrainedModel:
        """Train a student behind its assistants; of several generations, the last."""
        settings = self.config.distill
        assert settings is not None
        if settings.alpha == 1:
            _LOG.info("distill.alpha is 1: the student learns from the labels alone")
            return self.train()
        with self._strategy.scope():
            return self._trained(self._distill(settings))

    def try_student(
        self,
        student: ModelSettings,
        objective: DistillSettings,
        epochs: int,
        objectives: Sequence[DistillSettings] = (),
    ) -> HeldOutAnswers:
        """Train a candidate of a search and ask it; nothing of it is kept.

        It learns from the teachers themselves: of one generation, and without assistants.

        Args:
          student: The model and its training.
          objective: With `alpha` 1 it learns from the labels alone, as a control does.
          epochs: Upper bound, in place of the student's own.
          objectives: Those that are tried with this student, one after the other, so that they are
            compiled together; default: this one.

        Raises:
          ModelError: With these values it cannot be trained.
        """
        train = student.train.model_copy(update={"epochs": epochs})
        alone = objective.alpha == 1
        view = self._view(_ENDLESS if alone else self.config.views)
        plan = dataclasses.replace(self._quiet_plan(), settings=train, view=view)
        together = [] if alone else [each for each in objectives or (objective,) if each.alpha < 1]
        with self._strategy.scope():
            data = self._data(None, labels_only=True) if alone else self._taught_data
            distiller = self._reusable(student, together, training.steps_per_epoch(data, train))
            distiller.begin_anew(objective, epochs)
            training.fit(distiller, data, plan)
        return self._held_out_answers(distiller.student)

    def _reusable(
        self, student: ModelSettings, objectives: list[DistillSettings], steps: int
    ) -> ReusableDistiller:
        """One that is compiled; those of another student are forgotten."""
        if self._reused is None or self._reused[0] != student:
            self._reused = student, {}
        key, made = repr(objectives), self._reused[1]
        if key not in made:
            made[key] = ReusableDistiller(
                self._teachers if objectives else None,
                self._build(student),
                objectives,
                self.config.teacher_weights if objectives else None,
                self._task,
            )
            training.compile_distiller(made[key], student.train, steps, made[key].epochs)
        return made[key]

    def teacher_answers(self) -> HeldOutAnswers | None:
        """What the first teacher answers to the validation part; None if it is not known."""
        if self._teachers:
            return self._held_out_answers(self._teachers[0])
        if not self.config.soft_targets_dir:
            return None
        batches = self._taught_data.validation(_VALIDATION_BATCH)
        return held_out_answers(batches, lambda _, y: y[TEACHER_LOGITS][:, 0], self._task)

    def _held_out_answers(self, model: keras.Model) -> HeldOutAnswers:
        batches = self._data(None).validation(_VALIDATION_BATCH)
        return held_out_answers(
            batches, lambda inputs, _: model(inputs, training=False), self._task
        )

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
            state_dir=self.state_dir,
            chief=is_chief(self._strategy),
        )

    @property
    def spec(self) -> DataSpec:
        """What the models take and answer."""
        return self._spec

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
        steps = dict(self._steps(settings))
        for step, built in steps.items():
            model = self._build(built)
            if len(steps) > 1:
                _LOG.info("%s, step %d of %d", step, list(steps).index(step) + 1, len(steps))
            _LOG.info(
                "%s, %s parameters, taught by %s",
                built.model,
                f"{model.count_params():,}",
                ", ".join(teacher.name for teacher in teachers) or "cached soft targets",
            )
            distiller = self._distiller(model, settings, teachers, weights)
            training.fit(distiller, data, self._plan(step, built.train))
            # The next one learns from this one, which no cache can have known.
            teachers, weights, data = [model], (1.0,), self._data(None)
        return model

    def _steps(self, settings: DistillSettings) -> Iterator[tuple[str, ModelSettings]]:
        """The models that are trained one after the other, each taught by the one before.

        Assistants stand between teacher and student (Mirzadeh et al. 2020, arXiv 1902.03393),
        generations are the same student again (Furlanello et al. 2018, arXiv 1805.04770).

        Yields:
          The name of the step's directories, and the model.
        """
        for number, assistant in enumerate(settings.assistants, 1):
            yield f"{_ASSISTANT}{number}", assistant
        for number in range(1, settings.generations + 1):
            yield f"generation_{number}", self.config.model

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

    def _plan(self, step: str, settings: TrainSettings | None = None) -> training.Plan:
        """The plan of one of `_steps`; settings default to those of the configured model."""
        log_dir, state_dir = (
            os.path.join(directory, step)
            for directory in (self._fn_args.model_run_dir, self.state_dir)
        )
        return dataclasses.replace(
            self._quiet_plan(),
            settings=settings or self.config.model.train,
            log_dir=log_dir,
            state_dir=state_dir,
            # An assistant is never converted.
            quantization_aware=self.config.quantization_aware and not step.startswith(_ASSISTANT),
        )

    def _quiet_plan(self) -> training.Plan:
        """The plan of a training that leaves nothing behind."""
        return training.Plan(
            settings=self.config.model.train,
            seed=self.config.seed,
            log_dir=None,
            view=self._view(self.config.views),
            chief=is_chief(self._strategy),
            seconds_between_saves=self.config.checkpoint_seconds,
        )

    def _view(self, count: int) -> View | None:
        """So many views of each image; None where there is but the image as it is."""
        if not self.config.augment.active:
            return None
        return View(self.config.augment, count, self.config.seed)

    @cached_property
    def state_dir(self) -> str:
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
        # A stock Tuner tells nothing but a working directory.
        output_dir = self.config.output_dir or self._fn_args.model_run_dir
        return state_directory(output_dir or f"{self._fn_args.working_dir}/search/0", key)
