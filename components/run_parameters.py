"""Execution properties that a runner may leave open until a run begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx.types.component_spec import ExecutionParameter

from modules.run_parameters import RUN_PARAMETERS

# What TFX calls RuntimeParameter, by the name of the parameter.
Parameters = Mapping[str, Any]


def declared(*names: str) -> dict[str, ExecutionParameter]:
    """Execution parameters of a specification; what is not given is as configured."""
    return {
        name: ExecutionParameter(type=RUN_PARAMETERS[name].type, optional=True) for name in names
    }


def given(parameters: Parameters, *names: str) -> dict[str, Any]:
    """Those of the runner's parameters that a component declares."""
    return {name: parameters[name] for name in names if name in parameters}
