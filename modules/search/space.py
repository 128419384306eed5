"""What `tune:` may change; `modules.distill.hyperparameters` names it.

Nothing heavy is imported here: the command line checks a configuration with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from modules.distill.hyperparameters import METHOD_WEIGHTS, names_of
from modules.distill.methods import Term, objective
from modules.errors import ConfigError, did_you_mean, raise_problems
from modules.models.zoo import check_model
from modules.settings import DistillSettings, ModelSettings, TuneSettings

LOGARITHMIC = ("learning_rate", METHOD_WEIGHTS)


def check_tune(tune: TuneSettings, student: ModelSettings, distill: DistillSettings) -> None:
    """Check that what is searched is there to be changed, without loading Keras.

    Raises:
      ConfigError: A method that is not configured, a temperature that no method uses, a
        parameter that the student's builder does not take, or no epoch to train.
    """
    raise_problems(_problems(tune, student, objective(distill.methods)))


def _problems(tune: TuneSettings, student: ModelSettings, terms: list[Term]) -> Iterator[str]:
    try:
        check_model(student.model_copy(update={"parameters": tune.parameters}), "tune")
    except ConfigError as error:
        yield str(error)
    if tune.epochs is None and student.train.epochs == 0:
        yield (
            "tune.epochs must be set where student.train.epochs is 0, or no trial would learn "
            "anything; for example tune.epochs: 10"
        )
    unused = [_why_unused(term) for term in terms]
    if tune.temperature is not None and None not in unused:
        yield (
            "tune.temperature searches distill.temperature, which no method uses "
            f"({', '.join(map(str, unused))}); remove tune.temperature or a method's own "
            "temperature"
        )
    known = list(dict.fromkeys(name for term in terms for name in names_of(term)))
    for name in tune.method_weights:
        if name not in known:
            yield (
                "tune.method_weights: must name methods of distill.methods "
                f"({', '.join(known)}), got {name!r}{did_you_mean(name, known)}"
            )
    for term in terms:
        both = [name for name in names_of(term) if name in tune.method_weights]
        if len(both) > 1:
            yield f"tune.method_weights: {' and '.join(both)} set the same weight; remove one"


def _why_unused(term: Term) -> str | None:
    """Why a method does not go by `distill.temperature`; None if it does."""
    if term.method.features:
        return f"{term.name} has none"
    own = term.settings.temperature
    return None if own is None else f"{term.name} has its own, {own:g}"


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
