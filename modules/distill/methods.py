"""The distillation methods by name: which loss, on what, with which customary weight.

To add one, write its loss in `losses.py` and its test, and enter it in `METHODS`. The entries
call the losses through an argument, since a configuration is checked before Keras is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from modules.errors import ConfigError, did_you_mean, raise_problems
from modules.settings import DistillSettings, MethodSettings


@dataclass(frozen=True)
class Inputs:
    """What a loss is computed from.

    Attributes:
      student: Its logits `[b, c]`; for a feature method the features of its layer `[b, ...]`.
      teacher: The same of the teacher.
      labels: Class ids `[b]` or probabilities `[b, c]`; None for a feature method.
      temperature: A number or a scalar tensor; None for a feature method.
    """

    student: Any
    teacher: Any
    labels: Any = None
    temperature: Any = None


@dataclass(frozen=True)
class Method:
    """A registry entry.

    Attributes:
      loss: Takes the module `modules.distill.losses`, `Inputs` and, by name, the method's own
        settings; returns `[b]` or a scalar.
      weight: Customary weight, from the method's source.
      features: Whether it compares features (of named layers) rather than logits.
      project: Whether the student's features get a learned projector where shapes differ.
      settings: The loss' own settings and their customary values.
    """

    loss: Callable[..., Any]
    weight: float = 1.0
    features: bool = False
    project: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)


METHODS: dict[str, Method] = {
    "soft_target": Method(
        lambda losses, x: losses.soft_target_loss(x.student, x.teacher, x.temperature)
    ),
    "standardized": Method(
        lambda losses, x: losses.soft_target_loss(
            losses.standardize_logits(x.student),
            losses.standardize_logits(x.teacher),
            x.temperature,
        ),
        weight=9.0,
    ),
    "logit_mse": Method(lambda losses, x: losses.logit_mse_loss(x.student, x.teacher)),
    "decoupled": Method(
        lambda losses, x, **settings: losses.decoupled_loss(
            x.student, x.teacher, x.labels, x.temperature, **settings
        ),
        settings={"target_weight": 1.0, "non_target_weight": 8.0},
    ),
    "dist": Method(
        lambda losses, x, **settings: losses.dist_loss(
            x.student, x.teacher, x.temperature, **settings
        ),
        settings={"inter_weight": 1.0, "intra_weight": 1.0},
    ),
    "hint": Method(
        lambda losses, x: losses.hint_loss(x.student, x.teacher),
        weight=100.0,
        features=True,
        project=True,
    ),
    "attention_transfer": Method(
        lambda losses, x: losses.attention_transfer_loss(x.student, x.teacher),
        weight=1000.0,
        features=True,
    ),
    "similarity_preserving": Method(
        lambda losses, x: losses.similarity_preserving_loss(x.student, x.teacher),
        weight=3000.0,
        features=True,
    ),
    "relational_distance": Method(
        lambda losses, x: losses.relational_distance_loss(x.student, x.teacher),
        weight=25.0,
        features=True,
    ),
    "relational_angle": Method(
        lambda losses, x: losses.relational_angle_loss(x.student, x.teacher),
        weight=50.0,
        features=True,
    ),
}


def parse_methods(
    methods: str | MethodSettings | Mapping[str, Any] | Sequence[Any],
) -> tuple[MethodSettings, ...]:
    """What `Distiller(methods=...)` takes: a method or several, by name, as a mapping or settings.

    Raises:
      ConfigError: What is wrong, and with which method.
    """
    several = isinstance(methods, Sequence) and not isinstance(methods, str)
    parsed = []
    for index, method in enumerate(methods if several else [methods]):
        given = {"name": method} if isinstance(method, str) else method
        try:
            parsed.append(MethodSettings.model_validate(given))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["methods", str(index), *map(str, first["loc"])])
            message = first["msg"].replace("Input should", "must").replace("Field", "field")
            raise ConfigError(f"{key}: {message}, got {first['input']!r}") from error
        raise_problems(_problems_of(parsed[-1], f"methods.{index}"))
    return tuple(parsed)


def check_methods(settings: DistillSettings, argument: str = "distill") -> None:
    """Check the methods' names, settings and fit, without loading Keras.

    Raises:
      ConfigError: One line for each thing that is wrong.
    """
    raise_problems(_problems(settings, argument))


def _problems(settings: DistillSettings, argument: str) -> Iterator[str]:
    if not settings.methods:
        yield (
            f"{argument}.methods must name at least one method, got none; leave it out for "
            "soft_target, or set distill.alpha: 1 to learn from the labels alone"
        )
    for index, method in enumerate(settings.methods):
        yield from _problems_of(method, f"{argument}.methods.{index}")
        entry = METHODS.get(method.name)
        if entry and entry.features and settings.soft_targets == "cached":
            yield (
                f"{argument}.soft_targets must be online for {method.name}, which compares "
                "features: only logits are cached; set distill.soft_targets: online"
            )


def _problems_of(method: MethodSettings, place: str) -> Iterator[str]:
    """Of the name, the settings of its own, and the layers."""
    if method.name not in METHODS:
        yield (
            f"{place}.name must be one of {', '.join(METHODS)}, got {method.name!r}"
            f"{did_you_mean(method.name, METHODS)}"
        )
        return
    entry = METHODS[method.name]
    for name, value in (method.model_extra or {}).items():
        if name not in entry.settings:
            known = [*MethodSettings.model_fields, *entry.settings]
            yield (
                f"{place}.{name}: {method.name} has no such setting"
                f"{did_you_mean(name, known)}; it has {', '.join(known)}"
            )
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            yield f"{place}.{name} must be a number of at least 0, got {value!r}"
    layers = (method.student_layer, method.teacher_layer)
    if entry.features and None in layers:
        yield (
            f"{place}: {method.name} compares features and needs student_layer and "
            "teacher_layer, the names of layers"
        )
    if not entry.features and layers != (None, None):
        yield (
            f"{place}: {method.name} compares logits; student_layer and teacher_layer belong to "
            f"{', '.join(name for name, other in METHODS.items() if other.features)}"
        )


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

    def loss(self, inputs: Inputs) -> Any:
        """The loss, `[b]` or a scalar."""
        from modules.distill import losses

        own = {**self.method.settings, **(self.settings.model_extra or {})}
        return self.method.loss(losses, inputs, **own)


def objective(methods: Sequence[MethodSettings]) -> list[Term]:
    """The terms of checked methods, with unique names for the logs."""
    names = [method.name for method in methods]
    return [
        Term(
            name if names.count(name) == 1 else f"{name}_{names[: index + 1].count(name)}",
            methods[index],
            METHODS[name],
        )
        for index, name in enumerate(names)
    ]
