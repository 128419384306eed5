"""A teacher's answers become logits of our classes: another order, more classes, probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from modules.data.spec import OutputSpec
from modules.errors import ConfigError, DataError, did_you_mean

# A probability of 0 would be a logit of minus infinity.
SMALLEST = 1e-7
_SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class LabelMap:
    """Which of the teacher's outputs stand for each class.

    Attributes:
      size: Number of the teacher's outputs.
      places: For each class of ours, the teacher's outputs that stand for it; empty: its own
        place alone.
    """

    size: int
    places: tuple[tuple[int, ...], ...] = ()

    def mapped(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Logits `[b, size]` as logits `[b, classes]`.

        What is left out is dropped: the softmax then shares its probability among the rest. The
        probabilities of several outputs for one class are added up.
        """
        if not self.places:
            return logits
        columns = [np.logaddexp.reduce(logits[:, list(each)], axis=1) for each in self.places]
        return np.stack(columns, axis=1)

    def mapped_tensor(self, logits: Any) -> Any:
        """The same for a Keras tensor."""
        from keras import ops

        if not self.places:
            return logits
        if all(len(each) == 1 for each in self.places):
            return ops.take(logits, [each[0] for each in self.places], axis=1)
        columns = [
            ops.logsumexp(ops.take(logits, list(each), axis=1), axis=1, keepdims=True)
            for each in self.places
        ]
        return ops.concatenate(columns, axis=1)


def label_map(labels: Sequence[str], output: OutputSpec, key: str = "teacher") -> LabelMap:
    """What `teacher.labels` says.

    Args:
      labels: What each of the teacher's outputs stands for; empty: our classes in our order.
      output: What the models answer.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: A class of ours is not among them, or labels mean nothing to the task.
    """
    if not labels:
        return LabelMap(output.size)
    if output.task == "regression":
        raise ConfigError(
            f"{key}.labels must not be set for the task regression, whose answers are values; "
            "remove it"
        )
    missing = [name for name in output.classes if name not in labels]
    if missing:
        raise ConfigError(
            f"{key}.labels must name every class of the data, {', '.join(output.classes[:10])}, "
            f"but {missing[0]!r} is not among them{did_you_mean(missing[0], labels)}; correct it"
        )
    places = tuple(
        tuple(at for at, label in enumerate(labels) if label == name) for name in output.classes
    )
    if output.task == "multilabel" and any(len(each) > 1 for each in places):
        raise ConfigError(
            f"{key}.labels must name each label once for the task multilabel, whose labels do not "
            "exclude each other; remove the repetition"
        )
    if places == tuple((at,) for at in range(len(labels))):
        return LabelMap(output.size)
    return LabelMap(len(labels), places)


@dataclass(frozen=True)
class Conversion:
    """How the answers of a teacher that is no Keras model become logits.

    Attributes:
      output: What the models answer.
      labels: Which output of the teacher is which class.
      returns: What it answers.
      key: Place of the teacher in the configuration, for messages.
    """

    output: OutputSpec
    labels: LabelMap
    returns: Literal["logits", "probabilities"]
    key: str = "teacher"

    def logits(self, answers: NDArray[Any]) -> NDArray[np.float32]:
        """Answers `[b]` or `[b, n]` as logits `[b, classes]`, or values `[b, 1]`.

        Raises:
          DataError: They are not finite, of another shape, or no probabilities or logits.
        """
        found = answers.astype(np.float64)
        found = found[:, np.newaxis] if found.ndim == 1 else found
        binary = self.output.task == "binary" and self.labels.size == self.output.size
        # The logit or probability of the positive class alone.
        single = binary and found.shape[1:] == (1,)
        if found.ndim != 2 or not (single or found.shape[1] == self.labels.size):
            raise DataError(
                f"{self.key} must answer {self.labels.size} numbers to each example, got "
                f"{found.shape[1] if found.ndim == 2 else list(found.shape[1:])}; name its outputs "
                f"with {self.key}.labels if it has other classes"
            )
        if not np.isfinite(found).all():
            raise DataError(f"{self.key} answers values that are not finite; correct them")
        if self.output.task != "regression":
            found = self._as_logits(found, single)
        return self.labels.mapped(found).astype(np.float32)

    def _as_logits(self, found: NDArray[Any], single: bool) -> NDArray[Any]:
        exclusive = self.output.task != "multilabel" and not single
        shares = bool((found >= 0).all() and (found <= 1).all())
        if exclusive:
            shares = shares and bool((np.abs(found.sum(1) - 1) < _SUM_TOLERANCE).all())
        if self.returns == "logits":
            if exclusive and shares and len(found) > 1:
                raise DataError(
                    f"{self.key} must answer logits, but all of its answers are probabilities; "
                    f"set {self.key}.returns: probabilities"
                )
            return np.pad(found, [(0, 0), (1, 0)]) if single else found
        if not shares:
            raise DataError(
                f"{self.key} must answer probabilities from 0 to 1"
                + (" that add up to 1" if exclusive else "")
                + f", got {np.round(found[0][:5], 3).tolist()}; set {self.key}.returns: logits if "
                "they are logits"
            )
        likely = np.log(np.clip(found, SMALLEST, 1))
        if exclusive:
            return likely
        against = np.log(np.clip(1 - found, SMALLEST, 1))
        return np.concatenate([against, likely], 1) if single else likely - against
