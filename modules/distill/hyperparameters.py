"""How the values that a search found become settings.

A hyperparameter is named by its place: `temperature`, `alpha`, `learning_rate`,
`method_weights.<method>` and `parameters.<name>`. A parameter's value may be a list, which
KerasTuner cannot choose, so it travels as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modules.distill.methods import Term, objective
from modules.distill.training_config import TrainingConfig
from modules.errors import ConfigError
from modules.settings import DistillSettings, MethodSettings

PARAMETERS, METHOD_WEIGHTS = "parameters.", "method_weights."


def apply_hyperparameters(values: Mapping[str, Any], config: TrainingConfig) -> TrainingConfig:
    """The configuration with a trial's values in their places.

    Args:
      values: By name, as in the module's description.
      config: A student's, or a control's, which no teacher's method concerns.

    Raises:
      ConfigError: A name that is no hyperparameter of these settings.
    """
    model, distill = config.model, config.distill
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
    if distill is not None:
        distill = _change_objective(objective_values, distill)
    return config.model_copy(update={"model": model, "distill": distill})


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
    terms = objective(distill.methods)
    for name in weights:
        if not any(name in names_of(term) for term in terms):
            raise ConfigError(f"no such method: {name!r}; run the pipeline's Tuner again")
    methods = tuple(_reweigh(term, weights) for term in terms)
    return distill.model_copy(update=values | {"methods": methods})


def _reweigh(term: Term, weights: Mapping[str, float]) -> MethodSettings:
    given = (weights[name] for name in names_of(term) if name in weights)
    return term.settings.model_copy(update={"weight": next(given, term.settings.weight)})


def names_of(term: Term) -> list[str]:
    """How a term may be called: its method's name, and its own where that is another."""
    return list(dict.fromkeys((term.settings.name, term.name)))
