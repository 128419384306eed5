"""The distillation methods by name: which loss, on what, with which customary weight.

To add one, write its loss in `losses.py` with its test, and enter it in `METHODS`. What a
loss takes is read off its arguments: `student_logits` and `teacher_logits`, or `student_features`
and `teacher_features`, then `labels` and `temperature` if it has them; whatever else it takes is a
setting of the method.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modules.errors import ConfigError
from modules.settings import DistillSettings, MethodSettings


@dataclass(frozen=True)
class Method:
    """A registry entry.

    Attributes:
      loss: Name of a function in `modules.distill.losses`.
      weight: Customary weight, from the method's source.
      features: Whether it compares features (of named layers) rather than logits.
      project: Whether the student's features get a learned projector where shapes differ.
      standardize: Whether the logits are standardised first.
      settings: The loss' own settings and their customary values.
    """

    loss: str
    weight: float = 1.0
    features: bool = False
    project: bool = False
    standardize: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)


METHODS: dict[str, Method] = {
    "soft_target": Method("soft_target_loss"),
    "standardized": Method("soft_target_loss", weight=9.0, standardize=True),
    "logit_mse": Method("logit_mse_loss"),
    "decoupled": Method(
        "decoupled_loss", settings={"target_weight": 1.0, "non_target_weight": 8.0}
    ),
    "dist": Method("dist_loss", settings={"inter_weight": 1.0, "intra_weight": 1.0}),
    "hint": Method("hint_loss", weight=100.0, features=True, project=True),
    "attention_transfer": Method("attention_transfer_loss", weight=1000.0, features=True),
    "similarity_preserving": Method("similarity_preserving_loss", weight=3000.0, features=True),
    "relational_distance": Method("relational_distance_loss", weight=25.0, features=True),
    "relational_angle": Method("relational_angle_loss", weight=50.0, features=True),
}


def check_methods(settings: DistillSettings, argument: str = "distill") -> None:
    """Check the methods' names, settings and fit, without loading Keras.

    Raises:
      ConfigError: What is wrong, and with which method.
    """
    if not settings.methods:
        raise ConfigError(
            f"{argument}.methods must name at least one method, got none; leave it out for "
            "soft_target, or set distill.alpha: 1 to learn from the labels alone"
        )
    for index, method in enumerate(settings.methods):
        place = f"{argument}.methods.{index}"
        if method.name not in METHODS:
            raise ConfigError(
                f"{place}.name must be one of {', '.join(METHODS)}, got {method.name!r}"
                f"{_nearest(method.name, METHODS)}"
            )
        entry = METHODS[method.name]
        for name, value in (method.model_extra or {}).items():
            if name not in entry.settings:
                known = [*MethodSettings.model_fields, *entry.settings]
                raise ConfigError(
                    f"{place}.{name}: {method.name} has no such setting"
                    f"{_nearest(name, known)}; it has {', '.join(known)}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ConfigError(f"{place}.{name} must be a number of at least 0, got {value!r}")
        _check_layers(method, entry, place)
        if entry.features and settings.knowledge == "cached":
            raise ConfigError(
                f"{argument}.knowledge must be online for {method.name}, which compares features: "
                "only logits are cached; set distill.knowledge: online"
            )


def _check_layers(method: MethodSettings, entry: Method, place: str) -> None:
    layers = (method.student_layer, method.teacher_layer)
    if entry.features and None in layers:
        raise ConfigError(
            f"{place}: {method.name} compares features and needs student_layer and "
            "teacher_layer, the names of layers"
        )
    if not entry.features and layers != (None, None):
        raise ConfigError(
            f"{place}: {method.name} compares logits; student_layer and teacher_layer belong to "
            f"{', '.join(name for name, other in METHODS.items() if other.features)}"
        )


def _nearest(name: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True)
class Term:
    """One method of an objective, ready to be computed.

    Attributes:
      name: Of the method; made unique where it occurs more than once.
      settings: As configured.
      method: The registry entry.
    """

    name: str
    settings: MethodSettings
    method: Method

    def weight(self, epoch: Any) -> Any:
        """The weight at an epoch (a number or scalar tensor), after its linear warm-up.

        With `warmup_epochs: n` epoch e (from 0) has the share `min(1, (e + 1) / n)`.
        """
        from keras import ops

        weight = self.method.weight if self.settings.weight is None else self.settings.weight
        if not self.settings.warmup_epochs:
            return weight
        return weight * ops.minimum((epoch + 1) / self.settings.warmup_epochs, 1.0)

    def temperature(self, epoch: Any, epochs: int, default: float) -> Any:
        """The temperature at an epoch: constant, or half a cosine from first to final value."""
        from keras import ops

        first = self.settings.temperature or default
        last = self.settings.final_temperature
        if last is None:
            return first
        progress = epoch / max(epochs - 1, 1)
        return last + (first - last) * 0.5 * (1 + ops.cos(math.pi * progress))

    def loss(self, inputs: Mapping[str, Any]) -> Any:
        """The loss, `[batch]` or a scalar.

        Args:
          inputs: `student_logits`, `teacher_logits`, `labels`, `temperature`; for feature methods
            `student_features` and `teacher_features`.
        """
        import inspect

        from modules.distill import losses

        function: Callable[..., Any] = getattr(losses, self.method.loss)
        values = {**self.method.settings, **(self.settings.model_extra or {}), **inputs}
        if self.method.standardize:
            for name in ("student_logits", "teacher_logits"):
                values[name] = losses.standardize_logits(values[name])
        wanted = inspect.signature(function).parameters
        return function(**{name: values[name] for name in wanted})


def objective(settings: DistillSettings) -> list[Term]:
    """The terms of a checked configuration, with unique names for the logs."""
    names = [method.name for method in settings.methods]
    return [
        Term(
            name if names.count(name) == 1 else f"{name}_{names[: index + 1].count(name)}",
            settings.methods[index],
            METHODS[name],
        )
        for index, name in enumerate(names)
    ]
