"""What may change from run to run of a compiled pipeline, without compiling it again.

Components declare such execution properties; the runner may leave them open until a run begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from tfx.types.component_spec import ExecutionParameter

from modules.data.sources.registry import check_source, with_base
from modules.errors import ConfigError, first_rule
from modules.settings import DataSettings, DistillSettings, ModelSettings, PushSettings, Settings

_Section = TypeVar("_Section", bound=Settings)
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
    """A PipelineConfig as a dictionary, with the values of a run.

    Raises:
      ConfigError: See `with_run_values`.
    """
    return dict(config) | {
        section: with_run_values(section, kind.model_validate(config[section]), values).model_dump(
            mode="json"
        )
        for section, kind in _SECTIONS.items()
    }


def with_run_values(section: str, settings: _Section, values: Mapping[str, Any]) -> _Section:
    """A section of the configuration with the values of a run.

    Args:
      section: Its key in PipelineConfig.
      settings: As configured.
      values: By parameter; None leaves what is configured. Other names are ignored.

    Raises:
      ConfigError: A value that the configuration could not have had either.
    """
    for name, parameter in RUN_PARAMETERS.items():
        first, *path = parameter.key.split(".")
        if first != section or values.get(name) is None:
            continue
        try:
            value = values[name]
            if isinstance(settings, DataSettings):
                value = with_base(settings, value).path
            settings = _replaced(settings, path, value)
            if isinstance(settings, DataSettings):
                check_source(settings)
        except ConfigError as error:
            raise ConfigError(f"the run's parameter {name}: {error}") from error
        except ValidationError as error:
            raise ConfigError(
                f"the run's parameter {name} is {parameter.key}: {first_rule(error)}, got "
                f"{values[name]!r}"
            ) from error
    return settings


def _replaced(settings: _Section, path: Sequence[str], value: Any) -> _Section:
    """Validated settings with another value at a path."""
    name, *inner = path
    if inner:
        value = _replaced(getattr(settings, name), inner, value)
    return settings.model_validate({**dict(settings), name: value})


def declared(*names: str) -> dict[str, ExecutionParameter]:
    """Execution parameters of a specification; what is not given is as configured."""
    return {
        name: ExecutionParameter(type=RUN_PARAMETERS[name].type, optional=True) for name in names
    }


def given(parameters: Parameters, *names: str) -> dict[str, Any]:
    """Those of the runner's parameters that a component declares."""
    return {name: parameters[name] for name in names if name in parameters}
