"""What may change from run to run of a compiled pipeline, without compiling it again.

Components declare such execution properties; the runner may leave them open until a run begins.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from tfx.types.component_spec import ExecutionParameter

from modules.data.sources.registry import check_source
from modules.errors import ConfigError
from modules.settings import DataSettings, DistillSettings, ModelSettings, PushSettings, Settings

# What TFX calls RuntimeParameter, by the name of the parameter.
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RunParameter:
    """One parameter.

    Attributes:
      key: The dotted key of the configuration that it replaces.
      type: Of its values.
    """

    key: str
    type: type[str] | type[int] | type[float]


RUN_PARAMETERS = {
    "data_path": RunParameter("data.path", str),
    "temperature": RunParameter("distill.temperature", float),
    "alpha": RunParameter("distill.alpha", float),
    "epochs": RunParameter("student.train.epochs", int),
    "push_destination": RunParameter("push.destination", str),
}

_SECTIONS: dict[str, type[Settings]] = {
    "data": DataSettings,
    "distill": DistillSettings,
    "student": ModelSettings,
    "push": PushSettings,
}


def overlay(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the values of a run.

    Args:
      config: Sections of a PipelineConfig by name.
      values: By parameter; None leaves the configuration's. Other names are passed over, and so
        are parameters of sections that `config` does not have.

    Raises:
      ConfigError: A value that the configuration could not have had either.
    """
    result: dict[str, Any] = copy.deepcopy(dict(config))
    for name, parameter in RUN_PARAMETERS.items():
        section, *path = parameter.key.split(".")
        if values.get(name) is None or section not in result:
            continue
        target = result[section]
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = values[name]
        try:
            validated = _SECTIONS[section].model_validate(result[section])
            if isinstance(validated, DataSettings):
                check_source(validated)
        except (ValidationError, ConfigError) as error:
            rule = str(error)
            if isinstance(error, ValidationError):
                rule = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(
                f"the run's parameter {name} is {parameter.key}: {rule}, got {values[name]!r}"
            ) from error
    return result


def overlay_training(custom_config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the `custom_config` of whoever trains the student.

    Args:
      custom_config: `model` and perhaps `distill` as JSON.
      values: See `overlay`.
    """
    names = {"model": "student", "distill": "distill"}
    config = {
        section: json.loads(custom_config[name])
        for name, section in names.items()
        if name in custom_config
    }
    replaced = overlay(config, values)
    return dict(custom_config) | {
        name: json.dumps(replaced[section])
        for name, section in names.items()
        if section in replaced and replaced[section] != config[section]
    }


def declared(*names: str) -> dict[str, ExecutionParameter]:
    """Execution parameters of a specification; what is not given is as configured."""
    return {
        name: ExecutionParameter(type=RUN_PARAMETERS[name].type, optional=True) for name in names
    }


def given(parameters: Parameters, *names: str) -> dict[str, Any]:
    """Those of the runner's parameters that a component declares."""
    return {name: parameters[name] for name in names if name in parameters}
