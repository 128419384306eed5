"""How the values that a search has found become settings.

Their names, in the artifact `HyperParameters` as in TFX's `fn_args`: `student` (ModelSettings as
JSON), `alpha`, `temperature` and `methods` (a list of MethodSettings as JSON). A module file of
your own may give some of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modules.distill.methods import parse_methods
from modules.distill.training_config import TrainingConfig
from modules.errors import ConfigError
from modules.settings import ModelSettings

_NAMES = ("student", "alpha", "temperature", "methods")


def apply_hyperparameters(values: Mapping[str, Any], config: TrainingConfig) -> TrainingConfig:
    """The configuration with the values of a search in their places.

    Args:
      values: By name, as in the module's description.
      config: A student's, or a control's, which no teacher's objective concerns.

    Raises:
      ConfigError: A name that is no hyperparameter.
    """
    for name in values:
        if name not in _NAMES:
            raise ConfigError(
                f"hyperparameters: must be among {', '.join(_NAMES)}, got {name!r}; let the "
                "module file of the search give no others"
            )
    model, distill = config.model, config.distill
    if "student" in values:
        model = ModelSettings.model_validate_json(values["student"])
    if distill is not None:
        changed = {name: values[name] for name in ("alpha", "temperature") if name in values}
        if "methods" in values:
            changed["methods"] = parse_methods(json.loads(values["methods"]))
        distill = distill.model_copy(update={**changed, "auto": ()})
    return config.model_copy(update={"model": model, "distill": distill})


def describe(values: Mapping[str, Any]) -> str:
    """One line for a person, such as `separable_cnn filters [8, 16], alpha 0.1, dist`."""
    words = []
    if "student" in values:
        student = ModelSettings.model_validate_json(values["student"])
        parameters = (f"{name} {value}" for name, value in student.parameters.items())
        words.append(" ".join([student.model, *parameters]))
    if values.get("alpha") == 1:
        return ", ".join([*words, "the labels alone"])
    words += [f"{name} {values[name]:.4g}" for name in ("alpha", "temperature") if name in values]
    if "methods" in values:
        words.append(" + ".join(each["name"] for each in json.loads(values["methods"])))
    return ", ".join(words)


def as_configured(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by their keys in the configuration, such as `distill.alpha`."""
    found: dict[str, Any] = {}
    if "student" in values:
        student = ModelSettings.model_validate_json(values["student"])
        found["student.model"] = student.model
        for name, value in student.parameters.items():
            found[f"student.parameters.{name}"] = value
        found["student.train.learning_rate"] = student.train.learning_rate
    for name in ("alpha", "temperature"):
        if name in values:
            found[f"distill.{name}"] = values[name]
    if "methods" in values:
        found["distill.methods"] = [each["name"] for each in json.loads(values["methods"])]
    return found
