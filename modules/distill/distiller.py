"""The training model: a student, its hard-label loss and, if there are any, its teachers.

Without a teacher it is ordinary supervised training, which is how the teacher itself and the
control student are trained: one loop for all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from modules.distill.feature_taps import Taps, find_layer, projector
from modules.distill.losses import Tensor
from modules.distill.methods import Term, objective
from modules.errors import ModelError
from modules.settings import DistillSettings

LABEL, TEACHER_LOGITS = "label", "teacher_logits"


class Distiller(keras.Model):
    r"""Minimises :math:`\alpha L_{hard} + (1-\alpha) \sum_k w_k L_k`.

    A batch is `(pixels, y)` or `(pixels, y, sample_weight)`. `y` is a dictionary: `label`, class
    ids `[b]` or probabilities `[b, c]`; and, where the teachers' answers were computed before,
    `teacher_logits` `[b, teachers, c]`. Without them the teachers run on the very pixels that the
    student sees, in inference mode.

    The student runs once per step, its own regularisation losses are added as they are, and
    sample weights apply to every term that has a value per example. Teachers are not tracked: they
    are neither trained, saved nor counted. Projectors are trained, but belong to this model, not to
    the student.

    Args:
      student: The model to train, pixels in, logits out.
      settings: The objective; None trains on the labels alone.
      teachers: Models of the same interface; needed by feature methods and where `y` does not
        bring their logits.
      teacher_weights: Shares of the teachers in the mean of their softened probabilities, as many
        as there are teachers (cached ones too); default: equal.
      epochs: Of the whole training; schedules end there.

    Raises:
      ConfigError: A method names a layer that the student or teacher does not have.
      ModelError: Student and teachers distinguish different numbers of classes.
    """

    def __init__(
        self,
        student: keras.Model,
        settings: DistillSettings | None = None,
        teachers: Sequence[keras.Model] = (),
        teacher_weights: Sequence[float] = (1.0,),
        epochs: int = 1,
    ):
        super().__init__(name="distiller")
        self.student = student
        self._alpha = settings.alpha if settings else 1.0
        self._default_temperature = settings.temperature if settings else 1.0
        self._objective: list[Term] = objective(settings) if settings else []
        self._epochs = epochs
        self._epoch = keras.Variable(0.0, trainable=False, name="epoch", dtype="float32")
        # Keras tracks every model and layer that becomes an attribute, in lists and dictionaries
        # too; a function's variables it does not see.
        self._teach = _frozen(teachers) if teachers else None
        weights = list(teacher_weights)
        self._teacher_shares = [weight / sum(weights) for weight in weights]
        self._connect_features(teachers)
        names = ["hard_loss", *(f"{term.name}_loss" for term in self._objective)]
        self._terms = {name: keras.metrics.Mean(name=name) for name in names}
        self._accuracy = keras.metrics.Mean(name="accuracy")
        for teacher in teachers:
            if teacher.output_shape[-1] != student.output_shape[-1]:
                raise ModelError(
                    f"the teacher {teacher.name} distinguishes {teacher.output_shape[-1]} classes, "
                    f"the student {student.output_shape[-1]}; train both on the same data"
                )

    def call(self, pixels: Tensor, training: bool | None = None) -> Tensor:
        """The student's logits."""
        return self.student(pixels, training=training)

    def recording_features(self) -> AbstractContextManager[None]:
        """Training must happen within this context, which lets the features be seen."""
        return self._taps().installed()

    def start_epoch(self, epoch: int) -> None:
        """Tell the schedules which epoch, counted from 0, begins."""
        self._epoch.assign(float(epoch))

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool | None = True,
    ) -> Tensor:
        """The objective of one batch: pixels `x`, dictionary `y`, logits `y_pred [b, c]`."""
        labels = y[LABEL]
        loss = self._mean("hard_loss", _cross_entropy(labels, y_pred), sample_weight)
        if self._objective:
            distilled: Any = 0.0
            teacher_logits = self._teacher_logits(x, y)
            for term in self._objective:
                values = term.loss(self._inputs(term, y_pred, teacher_logits, labels, training))
                value = self._mean(f"{term.name}_loss", values, sample_weight)
                distilled = distilled + term.weight(self._epoch.value) * value
            loss = self._alpha * loss + (1 - self._alpha) * distilled
        for penalty in self.losses:
            loss = loss + ops.cast(penalty, loss.dtype)
        # Gradients are summed over replicas; each has a share of the global batch.
        return loss / self.distribute_strategy.num_replicas_in_sync

    def compute_metrics(
        self, x: Tensor, y: Any, y_pred: Tensor, sample_weight: Tensor = None
    ) -> dict[str, Any]:
        """Updates the accuracy; the logs of an epoch are read once, at its end.

        Every metric's result in every step would cost a small model a good part of its time.
        Keras wants one value at least; of several workers' ones it reduces the first axis.
        """
        labels = y[LABEL]
        truth = ops.argmax(labels, axis=-1) if len(labels.shape) == 2 else labels
        hits = ops.cast(ops.equal(ops.argmax(y_pred, axis=-1), ops.cast(truth, "int32")), "float32")
        self._accuracy.update_state(hits, sample_weight)
        examples = ops.cast(ops.shape(y_pred)[0], "float32")
        strategy = self.distribute_strategy
        workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        return {"examples": ops.reshape(examples, [1]) if workers else examples}

    def _get_metrics_result_or_logs(self, logs: Any) -> dict[str, Any]:
        """Keras' hook for the logs of an epoch: the metrics, since the steps return none."""
        return self.get_metrics_result()

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Keras' hook; nothing is left to build, and with several workers it fails (3.15)."""

    def _connect_features(self, teachers: Sequence[keras.Model]) -> None:
        """Finds the layers of feature methods and builds projectors where shapes differ."""
        pairs: dict[str, tuple[keras.Layer, keras.Layer]] = {}
        for index, term in enumerate(self._objective):
            if not term.method.features:
                continue
            if not teachers:
                raise ModelError(f"{term.name} compares features and needs its teacher's model")
            place = f"distill.methods.{index}"
            names = str(term.settings.student_layer), str(term.settings.teacher_layer)
            pairs[term.name] = (
                find_layer(self.student, names[0], f"{place}.student_layer"),
                find_layer(teachers[0], names[1], f"{place}.teacher_layer"),
            )
        taps = Taps([layer for pair in pairs.values() for layer in pair])
        # Behind functions, for the same reason as the teachers.
        self._taps: Callable[[], Taps] = lambda: taps
        self._layers_of: Callable[[str], tuple[keras.Layer, keras.Layer]] = lambda name: pairs[name]
        self.projectors: dict[str, Any] = {}
        if not pairs:
            return
        with taps.installed():
            for model in (self.student, teachers[0]):
                shape = (2, *model.input_shape[1:])
                model(ops.zeros(shape, dtype=model.inputs[0].dtype), training=False)
            for term in self._objective:
                if term.method.project:
                    first, second = (taps.output(layer).shape for layer in pairs[term.name])
                    built = projector([None, *first[1:]], [None, *second[1:]])
                    if built is not None:
                        self.projectors[term.name] = built

    def _inputs(
        self, term: Term, logits: Tensor, teacher_logits: Any, labels: Tensor, training: Any
    ) -> dict[str, Any]:
        if term.method.features:
            student, teacher = (self._taps().output(layer) for layer in self._layers_of(term.name))
            if term.name in self.projectors:
                student = self.projectors[term.name](student, training=training)
            return {"student_features": student, "teacher_features": ops.stop_gradient(teacher)}
        temperature = term.temperature(self._epoch.value, self._epochs, self._default_temperature)
        return {
            "student_logits": logits,
            "teacher_logits": self._combine(teacher_logits, temperature),
            "labels": labels,
            "temperature": temperature,
        }

    def _teacher_logits(self, x: Tensor, y: Any) -> Tensor:
        """Logits of all teachers, `[b, teachers, c]`."""
        if TEACHER_LOGITS in y:
            return ops.cast(y[TEACHER_LOGITS], "float32")
        if self._teach is None:
            raise ModelError("no teacher: give teachers, or teacher_logits with the examples")
        return ops.stop_gradient(self._teach(x))

    def _combine(self, teacher_logits: Tensor, temperature: Any) -> Tensor:
        """Logits whose softened softmax is the weighted mean of the teachers' ones.

        The mean is of probabilities, not of logits (You et al. 2017). `T * log(mean p^T)` gives
        it back under a softmax at the same temperature.
        """
        if len(self._teacher_shares) == 1:
            return teacher_logits[:, 0]
        shares = ops.reshape(ops.log(ops.convert_to_tensor(self._teacher_shares)), [1, -1, 1])
        softened = ops.log_softmax(teacher_logits / temperature, axis=-1)
        return temperature * ops.logsumexp(softened + shares, axis=1)

    def _mean(self, name: str, values: Tensor, sample_weight: Tensor) -> Tensor:
        """Weighted mean over the batch `[b] -> []`, kept for the logs under its name."""
        if len(values.shape) == 0:
            self._terms[name].update_state(values)
            return values
        self._terms[name].update_state(values, sample_weight)
        if sample_weight is None:
            return ops.mean(values)
        weights = ops.cast(sample_weight, values.dtype)
        return ops.sum(values * weights) / ops.maximum(ops.sum(weights), keras.config.epsilon())


def _frozen(teachers: Sequence[keras.Model]) -> Callable[[Tensor], Tensor]:
    """Pixels -> logits `[b, teachers, c]` of models that do not learn."""
    for teacher in teachers:
        teacher.trainable = False

    def teach(pixels: Tensor) -> Tensor:
        return ops.stack([teacher(pixels, training=False) for teacher in teachers], axis=1)

    return teach


def _cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """`[b]` for class ids `[b]` or probabilities `[b, c]`."""
    if len(labels.shape) == 2:
        return keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
