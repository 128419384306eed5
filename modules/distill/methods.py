"""The distillation methods by name: which loss, on what, with which customary weight.

To add one, write its loss in `losses.py` and its test, and enter it in `METHODS`. The entries
call the losses through an argument, since a configuration is checked before Keras is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from modules.errors import ConfigError, did_you_mean, raise_problems
from modules.settings import DistillSettings, MethodSettings, Task

_TASKS: tuple[str, ...] = get_args(Task)
_MOST = 1_000_000  # of a setting, as of a weight


@dataclass(frozen=True)
class Inputs:
    """What a loss is computed from.

    Attributes:
      student: Its outputs `[b, c]`; for a feature method the features of its layer `[b, ...]`.
      teacher: The same of the teacher.
      labels: As the task has them; None for a feature method.
      temperature: A number or a scalar tensor; None for a feature method.
      scale: Unit of the values of a regression.
    """

    student: Any
    teacher: Any
    labels: Any = None
    temperature: Any = None
    scale: float = 1.0


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
      tasks: For which it means something.
      other_losses: In place of `loss`, by task, where outputs mean something else than classes.
    """

    loss: Callable[..., Any]
    weight: float = 1.0
    features: bool = False
    project: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("classification", "binary")
    other_losses: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def loss_of(self, task: str) -> Callable[..., Any]:
        """The loss for a task."""
        return self.other_losses.get(task, self.loss)


def _value_loss(losses: Any, x: Inputs) -> Any:
    return losses.value_loss(x.student, x.teacher, x.scale)


METHODS: dict[str, Method] = {
    "soft_target": Method(
        lambda losses, x: losses.soft_target_loss(x.student, x.teacher, x.temperature),
        tasks=_TASKS,
        other_losses={
            "multilabel": lambda losses, x: losses.label_target_loss(
                x.student, x.teacher, x.temperature
            ),
            "regression": _value_loss,
        },
    ),
    "standardized": Method(
        lambda losses, x: losses.soft_target_loss(
            losses.standardize_logits(x.student),
            losses.standardize_logits(x.teacher),
            x.temperature,
        ),
        weight=9.0,
        tasks=("classification",),  # Of two logits it leaves nothing but their order.
    ),
    "logit_mse": Method(
        lambda losses, x: losses.logit_mse_loss(x.student, x.teacher),
        tasks=_TASKS,
        other_losses={"regression": _value_loss},
    ),
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
        tasks=_TASKS,
    ),
    "attention_transfer": Method(
        lambda losses, x: losses.attention_transfer_loss(x.student, x.teacher),
        weight=1000.0,
        features=True,
        tasks=_TASKS,
    ),
    "similarity_preserving": Method(
        lambda losses, x: losses.similarity_preserving_loss(x.student, x.teacher),
        weight=3000.0,
        features=True,
        tasks=_TASKS,
    ),
    "relational_distance": Method(
        lambda losses, x: losses.relational_distance_loss(x.student, x.teacher),
        weight=25.0,
        features=True,
        tasks=_TASKS,
    ),
    "relational_angle": Method(
        lambda losses, x: losses.relational_angle_loss(x.student, x.teacher),
        weight=50.0,
        features=True,
        tasks=_TASKS,
    ),
}


def parse_methods(
    methods: str | MethodSettings | Mapping[str, Any] | Sequence[Any], task: str | None = None
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
        raise_problems(_problems_of(parsed[-1], f"methods.{index}", task))
    return tuple(parsed)


def check_methods(
    settings: DistillSettings, argument: str = "distill", task: str | None = None
) -> None:
    """Check the methods' names, settings and fit, without loading Keras.

    Args:
      settings: Of the distillation.
      argument: What messages call them.
      task: What the methods must be meant for; None where it is not known yet.

    Raises:
      ConfigError: One line for each thing that is wrong.
    """
    raise_problems(_problems(settings, argument, task))


def _problems(settings: DistillSettings, argument: str, task: str | None) -> Iterator[str]:
    if not settings.methods:
        yield (
            f"{argument}.methods must name at least one method, got none; leave it out for "
            "soft_target, or set distill.alpha: 1 to learn from the labels alone"
        )
    for index, method in enumerate(settings.methods):
        yield from _problems_of(method, f"{argument}.methods.{index}", task)
        entry = METHODS.get(method.name)
        if entry and entry.features and settings.soft_targets == "cached":
            yield (
                f"{argument}.soft_targets must be online for {method.name}, which compares "
                "features: only logits are cached; set distill.soft_targets: online"
            )


def _problems_of(method: MethodSettings, place: str, task: str | None) -> Iterator[str]:
    """Of the name, the task, the settings of its own, and the layers."""
    if method.name not in METHODS:
        yield (
            f"{place}.name must be one of {', '.join(METHODS)}, got {method.name!r}"
            f"{did_you_mean(method.name, METHODS)}"
        )
        return
    entry = METHODS[method.name]
    if task is not None and task not in entry.tasks:
        fitting = ", ".join(name for name, other in METHODS.items() if task in other.tasks)
        yield (
            f"{place}.name must be a method for the task {task}, got {method.name}, which is for "
            f"{' and '.join(entry.tasks)}; use one of {fitting}"
        )
    for name, value in (method.model_extra or {}).items():
        if name not in entry.settings:
            known = [*MethodSettings.model_fields, *entry.settings]
            yield (
                f"{place}.{name}: {method.name} has no such setting"
                f"{did_you_mean(name, known)}; it has {', '.join(known)}"
            )
        elif (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST
        ):
            yield f"{place}.{name} must be a number from 0 to {_MOST:,}, got {value!r}"
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
      task: Name of the task that it is computed for.
    """

    name: str
    settings: MethodSettings
    method: Method
    task: str = "classification"

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
        return self.method.loss_of(self.task)(losses, inputs, **own)


def objective(methods: Sequence[MethodSettings], task: str = "classification") -> list[Term]:
    """The terms of checked methods, with unique names for the logs."""
    names = [method.name for method in methods]
    return [
        Term(
            name if names.count(name) == 1 else f"{name}_{names[: index + 1].count(name)}",
            methods[index],
            METHODS[name],
            task,
        )
        for index, name in enumerate(names)
    ]
