"""What `tune:` may change; `modules.distill.hyperparameters` names it.

Nothing heavy is imported here: the command line checks a configuration with it.
"""

from __future__ import annotations

import difflib
import json
from typing import Any

from modules.distill.hyperparameters import METHOD_WEIGHTS, names_of
from modules.distill.methods import Term, objective
from modules.errors import ConfigError
from modules.models.zoo import check_model
from modules.settings import DistillSettings, ModelSettings, TuneSettings

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
    terms = objective(distill.methods)
    if tune.temperature is not None:
        _check_temperature_is_used(terms)
    for name in tune.method_weights:
        if not any(name in names_of(term) for term in terms):
            known = list(dict.fromkeys(known for term in terms for known in names_of(term)))
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"tune.method_weights: must name methods of distill.methods "
                f"({', '.join(known)}), got {name!r}{hint}"
            )
    for term in terms:
        both = [name for name in names_of(term) if name in tune.method_weights]
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
