"""The training model: a student, its hard-label loss and, if there are any, its teachers.

Without a teacher it is ordinary supervised training, which is how the teacher itself and the
control student are trained: one loop for all three.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from modules.distill.arguments import check_models, check_objective
from modules.distill.ensemble import Ensemble
from modules.distill.feature_taps import FeaturePairs, call_with_features
from modules.distill.keras_hooks import HookedModel, safe_gradients
from modules.distill.losses import Tensor
from modules.distill.methods import Inputs, Term, objective, parse_methods
from modules.distill.quantization_aware import StudentInTraining
from modules.distill.targets import (
    TEACHER_LOGITS,
    check_columns,
    checked_labels,
    labeled_weights,
    labels_of,
    weights_of,
)
from modules.errors import ConfigError
from modules.settings import MethodSettings
from modules.tasks.protocol import Task
from modules.tasks.registry import make_task


class Distiller(HookedModel):
    r"""Minimizes :math:`\alpha L_{hard} + (1-\alpha) \sum_k w_k L_k`.

    A Keras model like any other: `compile`, `fit`, `evaluate`, and `predict`, which gives the
    student's logits. What it trained is `distiller.student`.

        distiller = Distiller(teacher, student, methods="soft_target", alpha=0.1, temperature=4)
        distiller.compile("adam", metrics=["accuracy"])
        distiller.fit(images, labels, epochs=10, validation_data=(more_images, more_labels))

    Labels are class ids `[b]` or probabilities `[b, c]`; of the task `multilabel` multi-hot
    `[b, c]`, of `regression` numbers `[b]`. They are given plainly or as `label` in a dictionary.
    There `teacher_logits`, `[b, c]` or `[b, teachers, c]`, may stand beside them: the teachers'
    answers, computed before. Without them the teachers run in every step, in inference
    mode, on the very inputs that the student sees.

    Examples without label are learned from as well: `labeled`, booleans `[b]` beside `label`, says
    which have one, and what stands in place of the others' labels means nothing. Such an example
    has the loss :math:`(1-\alpha) \sum_k w_k L_k`, and no part in the scores. All losses are means
    over all examples: whatever the share of the labeled ones, each weighs
    :math:`\alpha L_{hard}` against its own distillation.

    The student runs once per step, its own regularization losses are added as they are, and
    sample weights apply to every term that has a value per example. Teachers are not tracked: they
    are neither trained, saved nor counted. Projectors are trained, but belong to this model, not to
    the student. Schedules of weights and temperatures end with the last epoch of `fit`.

    Args:
      teacher: A model of the student's inputs that answers with logits, several of them, or None
        where `teacher_logits` come with the labels. Feature methods compare with the first one.
      student: The model to train, inputs in, logits (of a regression: values) out.
      methods: A method of `METHODS` or several, each by name, as a dictionary (`{"name": "hint",
        "student_layer": …}`) or as `MethodSettings`. `()` trains on the labels alone.
      alpha: Weight of the hard-label loss, from 0 to 1.
      temperature: Softens the logits of student and teacher, above 0.
      teacher_weights: Shares of the teachers in the mean of their softened probabilities, or of
        their values, one for each (cached ones too); default: equal.
      task: `classification`, `binary` (a model may then answer with one logit), `multilabel` or
        `regression`; or one that `make_task` made, with the standard deviation of the labels.

    Raises:
      ConfigError: An argument is out of its range, or a method names a layer that the student or
        teacher does not have.
      ModelError: Student and teachers have different numbers of outputs.
    """

    def __init__(
        self,
        teacher: keras.Model | Sequence[keras.Model] | None,
        student: keras.Model,
        methods: str | MethodSettings | Mapping[str, Any] | Sequence[Any] = "soft_target",
        alpha: float = 0.1,
        temperature: float = 4.0,
        teacher_weights: Sequence[float] | None = None,
        task: str | Task = "classification",
    ):
        super().__init__(name="distiller")
        self.task = make_task(task)
        teachers: list[Any] = [] if teacher is None else [teacher]
        if isinstance(teacher, list | tuple):
            teachers = list(teacher)
        check_models(teachers, student, self.task)
        self.student = student
        self._in_training = StudentInTraining(student)
        self._alpha, self._temperature = alpha, temperature
        self._objective: list[Term] = objective(
            parse_methods(methods, self.task.name), self.task.name
        )
        check_objective(self._objective, alpha, temperature, taught=bool(teachers))
        self._epochs = 1
        self._epoch = keras.Variable(0.0, trainable=False, name="epoch", dtype="float32")
        self._teachers = Ensemble(teachers, teacher_weights, self.task)
        self._features = FeaturePairs(self._objective, student, teachers)
        self.projectors = self._features.projectors()
        # By thread, since replicas of a mirrored strategy are traced in threads.
        self._recorded = threading.local()
        names = ["hard_loss", *(f"{term.name}_loss" for term in self._objective)]
        self._terms = {name: keras.metrics.Mean(name=name) for name in names}
        self._score = keras.metrics.Mean(name=self.task.score_name)
        # One more for the logs, given the labels and the outputs; set before `compile`. Those of
        # `compile` cannot be built where there are several workers.
        self.monitored: keras.metrics.Metric | None = None
        self.built = True  # There is nothing of its own to build.

    def compile(
        self, optimizer: Any = "rmsprop", *, jit_compile: bool | None = None, **arguments: Any
    ) -> None:
        """Keras' `compile`, without a loss: the objective is the Distiller's.

        Args:
          optimizer: Of Keras, or its name.
          jit_compile: Whether XLA compiles the steps; default: on a GPU. On a CPU it halves the
            speed of small convolutions.
          **arguments: What else `keras.Model.compile` takes, such as `metrics`, which are given
            the labels and the student's logits.

        Raises:
          ConfigError: A loss is given.
        """
        for name in ("loss", "loss_weights"):
            if arguments.get(name) is not None:
                raise ConfigError(
                    f"compile must not be given {name}: the Distiller has its losses from methods "
                    "and alpha; leave it out"
                )
        if jit_compile is None:
            jit_compile = bool(tf.config.list_physical_devices("GPU"))
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **arguments)
        if self.student.built:
            self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **arguments: Any,
    ) -> keras.callbacks.History:
        """Keras' `fit`; see there."""
        if epochs != self._epochs:
            self._epochs = epochs
            if any(term.settings.final_temperature for term in self._objective):
                # The compiled steps have the old number in them.
                self.train_function = self.test_function = None
        schedule = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._epoch.assign(float(epoch))
        )
        own = [schedule, *keras.tree.flatten(callbacks or [])]
        with checked_labels(x, y, self.student, self.task):
            return super().fit(x, y, batch_size, epochs, verbose, own, **arguments)

    def evaluate(self, x: Any = None, y: Any = None, *arguments: Any, **more: Any) -> Any:
        """Keras' `evaluate`; see there."""
        with checked_labels(x, y, self.student, self.task):
            return super().evaluate(x, y, *arguments, **more)

    def set_quantization_aware(self, aware: bool) -> None:
        """Whether the student computes as int8 would; see `modules.distill.quantization_aware`."""
        if aware != self._in_training.aware:
            self._in_training.aware = aware
            # The compiled steps have the old forward pass in them. A training takes the new ones
            # up with its next step.
            self.test_function = self.predict_function = None
            self.make_train_function(force=True)

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """The student's outputs: logits, or values."""
        layers = self._features.student
        taps = list(layers.values())
        with safe_gradients(self.student):
            logits, features = call_with_features(self._in_training.model, taps, inputs, training)
        self._recorded.features = dict(zip(layers, features, strict=True))
        return logits

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool | None = True,
    ) -> Tensor:
        """The objective of one batch.

        Args:
          x: The inputs.
          y: Labels; see the class.
          y_pred: The student's outputs `[b, c]`. Feature methods also compare what the student's
            layers put out in the last call of this model.
          sample_weight: `[b]`, or None.
          training: Whether projectors are to learn.
        """
        (labels, labeled), sample_weight = labels_of(y, self.task), weights_of(sample_weight)
        y_pred = self.task.widen(y_pred)
        if len(labels.shape) == 2:
            check_columns("y", labels, y_pred)
        hard = self.task.hard_loss(labels, y_pred)
        loss = self._mean("hard_loss", hard, sample_weight, labeled)
        if self._objective:
            distilled: Any = 0.0
            cached = y.get(TEACHER_LOGITS) if isinstance(y, Mapping) else None
            layers = self._features.teacher
            teacher_logits, outputs = self._teachers.answer(x, cached, list(layers.values()))
            check_columns(TEACHER_LOGITS, teacher_logits, y_pred)
            features = dict(zip(layers, outputs, strict=True))
            for term in self._objective:
                if term.method.features:
                    inputs = self._feature_inputs(term, features[term.name], training)
                else:
                    inputs = self._inputs(term, y_pred, teacher_logits, (labels, labeled))
                value = self._mean(f"{term.name}_loss", term.loss(inputs), sample_weight)
                distilled = distilled + self._weight(term) * value
            loss = self._alpha * loss + (1 - self._alpha) * distilled
        for penalty in self.losses:
            loss = loss + ops.cast(penalty, loss.dtype)
        # Gradients are summed over replicas; each has a share of the global batch.
        return loss / self.distribute_strategy.num_replicas_in_sync

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Tensor, sample_weight: Tensor = None
    ) -> dict[str, Any]:
        """Updates the metrics; where a call runs several steps, they are read once per epoch.

        Every metric's result in every step would cost a small model a good part of its time.
        Keras wants one value at least; of several workers' ones it reduces the first axis.
        """
        labels, labeled = labels_of(y, self.task)
        counted = labeled_weights(None, labeled)
        sample_weight = labeled_weights(weights_of(sample_weight), labeled)
        y_pred = self.task.widen(y_pred)
        self._score.update_state(self.task.score(labels, y_pred), sample_weight)
        if self.monitored is not None:
            self.monitored.update_state(labels, y_pred, counted)
        self.update_compiled_metrics(labels, y_pred, sample_weight, counted)
        strategy = self.distribute_strategy
        workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        if self.compiled and self.steps_per_execution == 1 and not workers:
            return self.get_metrics_result()
        examples = ops.cast(ops.shape(y_pred)[0], "float32")
        return {"examples": ops.reshape(examples, [1]) if workers else examples}

    def _weight(self, term: Term) -> Any:
        """The weight of a method at this epoch."""
        return term.weight(self._epoch.value)

    def _inputs(
        self, term: Term, logits: Tensor, teacher_logits: Tensor, truth: tuple[Tensor, Tensor]
    ) -> Inputs:
        """What a logit method is computed from; a missing class is the teacher's first choice."""
        temperature = term.temperature(self._epoch.value, self._epochs, self._temperature)
        combined = self._teachers.combine(teacher_logits, temperature)
        labels, labeled = truth
        if labeled is not None and len(labels.shape) == 1:
            chosen = ops.cast(ops.argmax(combined, axis=-1), labels.dtype)
            labels = ops.where(labeled, labels, chosen)
        return Inputs(logits, combined, labels, temperature, self.task.scale)

    def _feature_inputs(self, term: Term, theirs: Tensor, training: bool | None) -> Inputs:
        """What a feature method is computed from."""
        student = self._recorded.features[term.name]
        if term.name in self.projectors:
            student = self.projectors[term.name](student, training=training)
        return Inputs(student, theirs)

    def _mean(
        self, name: str, values: Tensor, sample_weight: Tensor, labeled: Tensor = None
    ) -> Tensor:
        """Weighted mean over the batch `[b] -> []`, with 0 for what is not labeled.

        Kept for the logs under its name, there as the mean of the labeled.
        """
        if len(values.shape) == 0:
            self._terms[name].update_state(values)
            return values
        self._terms[name].update_state(values, labeled_weights(sample_weight, labeled))
        if labeled is not None:
            values = ops.where(labeled, values, 0)
        if sample_weight is None:
            return ops.mean(values)
        weights = ops.cast(sample_weight, values.dtype)
        return ops.sum(values * weights) / ops.maximum(ops.sum(weights), keras.config.epsilon())
