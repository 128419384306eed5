"""What `tune:` may change, and how a trial's values become settings.

A hyperparameter is named by its place: `temperature`, `alpha`, `learning_rate`,
`method_weights.<method>` and `parameters.<name>`. A parameter's value may be a list, which
KerasTuner cannot choose, so it travels as JSON text.

Nothing heavy is imported here: the command line checks a configuration with it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from modules.errors import ConfigError
from modules.methods import Term, objective
from modules.model_zoo import check_model
from modules.settings import DistillSettings, MethodSettings, ModelSettings, TuneSettings

PARAMETERS, METHOD_WEIGHTS = "parameters.", "method_weights."
LOGARITHMIC = ("learning_rate", METHOD_WEIGHTS)


def check_tune(tune: TuneSettings, student: ModelSettings, distill: DistillSettings) -> None:
    """Check that what is searched is there to be changed, without loading Keras.

    Raises:
      ConfigError: A method that is not configured, a temperature that no method uses, a
        parameter that the student's builder does not take, or no epoch to train.
    """
    check_model(student.model_copy(update={"parameters": tune.parameters}), "tune")
    if tune.epochs is None and student.train.epochs == 0:
        raise ConfigError(
            "tune.epochs must be set where student.train.epochs is 0, or no trial would learn "
            "anything; for example tune.epochs: 10"
        )
    terms = objective(distill)
    if tune.temperature is not None:
        _check_temperature_is_used(terms)
    for name in tune.method_weights:
        if not any(name in _names(term) for term in terms):
            known = list(dict.fromkeys(known for term in terms for known in _names(term)))
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"tune.method_weights: must name methods of distill.methods "
                f"({', '.join(known)}), got {name!r}{hint}"
            )
    for term in terms:
        both = [name for name in _names(term) if name in tune.method_weights]
        if len(both) > 1:
            raise ConfigError(
                f"tune.method_weights: {' and '.join(both)} set the same weight; remove one"
            )


def _check_temperature_is_used(terms: list[Term]) -> None:
    reasons = []
    for term in terms:
        own = term.settings.temperature
        if term.method.features:
            reasons.append(f"{term.name} has none")
        elif own is None:
            return
        else:
            reasons.append(f"{term.name} has its own, {own:g}")
    raise ConfigError(
        "tune.temperature searches distill.temperature, which no method uses ("
        f"{', '.join(reasons)}); remove tune.temperature or a method's own temperature"
    )


def encode_choice(value: Any) -> str:
    """A parameter's value as the tuner chooses it."""
    return json.dumps(value)


def choices(tune: TuneSettings, student: ModelSettings) -> list[ModelSettings]:
    """The student with each of the parameters' choices, one change at a time."""
    return [
        student.model_copy(update={"parameters": student.parameters | {name: choice}})
        for name, listed in tune.parameters.items()
        for choice in listed
    ]


def apply_hyperparameters(
    values: Mapping[str, Any], model: ModelSettings, distill: DistillSettings | None
) -> tuple[ModelSettings, DistillSettings | None]:
    """The settings with a trial's values in their places.

    Args:
      values: By name, as in the module's description.
      model: The student.
      distill: The objective, or None for a control, whom no teacher's method concerns.

    Raises:
      ConfigError: A name that is no hyperparameter of these settings.
    """
    train, parameters, objective_values = {}, dict(model.parameters), {}
    for name, value in values.items():
        if name == "learning_rate":
            train[name] = value
        elif name.startswith(PARAMETERS):
            parameters[name.removeprefix(PARAMETERS)] = json.loads(value)
        elif name in ("alpha", "temperature") or name.startswith(METHOD_WEIGHTS):
            objective_values[name] = value
        else:
            raise ConfigError(f"no such hyperparameter: {name!r}; run the pipeline's Tuner again")
    model = model.model_copy(
        update={"parameters": parameters, "train": model.train.model_copy(update=train)}
    )
    return model, None if distill is None else _change_objective(objective_values, distill)


def describe(values: Mapping[str, Any]) -> str:
    """One line for a person, for example `alpha 0.25  parameters.filters [8, 16]`."""
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def _change_objective(values: dict[str, Any], distill: DistillSettings) -> DistillSettings:
    weights = {
        name.removeprefix(METHOD_WEIGHTS): values.pop(name)
        for name in list(values)
        if name.startswith(METHOD_WEIGHTS)
    }
    terms = objective(distill)
    for name in weights:
        if not any(name in _names(term) for term in terms):
            raise ConfigError(f"no such method: {name!r}; run the pipeline's Tuner again")
    methods = tuple(_reweigh(term, weights) for term in terms)
    return distill.model_copy(update=values | {"methods": methods})


def _reweigh(term: Term, weights: Mapping[str, float]) -> MethodSettings:
    given = (weights[name] for name in _names(term) if name in weights)
    return term.settings.model_copy(update={"weight": next(given, term.settings.weight)})


def _names(term: Term) -> list[str]:
    """How a term may be called: its method's name, and its own where that is another."""
    return list(dict.fromkeys((term.settings.name, term.name)))
