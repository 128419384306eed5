"""By what the best epoch is chosen: the labels' loss, or a metric that suits the task."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from modules.tasks.protocol import Task

# Bins of the probabilities that an area under the curve is computed from.
_THRESHOLDS = 1000


class BalancedAccuracy(keras.metrics.Metric):
    """Mean over the classes of the share of each class' examples that are classified rightly.

    A rare class counts as much as a frequent one; classes without an example are left out.

    Args:
      classes: Their number.
      name: In the logs.
    """

    def __init__(self, classes: int, name: str = "balanced_accuracy"):
        super().__init__(name=name)
        self._classes = classes
        shape, zeros = (classes,), keras.initializers.Zeros()
        self._right = self.add_variable(shape, zeros, name="right")
        self._count = self.add_variable(shape, zeros, name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count labels, `[b]` or as probabilities `[b, c]`, and logits `[b, c]`."""
        truth = ops.argmax(y_true, axis=-1) if len(y_true.shape) == 2 else y_true
        truth = ops.cast(truth, "int32")
        right = ops.cast(ops.equal(ops.argmax(y_pred, axis=-1), truth), "float32")
        one_hot = ops.one_hot(truth, self._classes, dtype="float32")
        if sample_weight is not None:
            one_hot = one_hot * ops.reshape(ops.cast(sample_weight, "float32"), [-1, 1])
        self._count.assign_add(ops.sum(one_hot, axis=0))
        self._right.assign_add(ops.sum(one_hot * right[:, None], axis=0))

    def result(self) -> Any:
        """From 0 to 1."""
        present = ops.cast(self._count > 0, "float32")
        shares = self._right / ops.maximum(self._count, 1e-9)
        return ops.sum(shares * present) / ops.maximum(ops.sum(present), 1.0)


class RocAuc(keras.metrics.AUC):
    """Area under the ROC curve; of several labels, the mean of theirs.

    Args:
      task: `binary`, with logits `[b, 2]`, or `multilabel`.
      outputs: Number of labels; of a binary task 2.
      name: In the logs.
    """

    def __init__(self, task: Task, outputs: int, name: str = "roc_auc"):
        several = {"multi_label": True, "num_labels": outputs} if task.name == "multilabel" else {}
        super().__init__(_THRESHOLDS, name=name, **several)
        self._task = task

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count labels, `[b]` or `[b, c]`, and logits `[b, c]`."""
        probabilities = self._task.probabilities(y_pred)
        if self._task.name == "binary":
            probabilities = probabilities[:, 1]
            y_true = y_true[:, 1] if len(y_true.shape) == 2 else y_true
        super().update_state(y_true, probabilities, sample_weight)


def make_metric(task: Task, outputs: int) -> keras.metrics.Metric | None:
    """What a larger value of is better; None for a regression, whose loss is the squared RMSE.

    Args:
      task: Of the model.
      outputs: Their number.
    """
    if task.name == "regression":
        return None
    if task.name == "classification":
        return BalancedAccuracy(outputs)
    return RocAuc(task, outputs)
