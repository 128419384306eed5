"""The runtime parameters of a run, from `NAME=VALUE` to the types of a compiled pipeline."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from modules.errors import ConfigError


def typed_parameters(spec: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Runtime parameters in the types of a pipeline spec's root inputs.

    Args:
      spec: The pipeline spec.
      assignments: `NAME=VALUE` each; of two with one name the last counts.

    Raises:
      ConfigError: There is no such parameter, or the value is of another type.
    """
    known = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    values = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name:
            raise ConfigError(
                f"--runtime_parameter needs NAME=VALUE, got {assignment!r}; for example "
                "--runtime_parameter temperature=4"
            )
        if name not in known:
            raise ConfigError(
                f"--runtime_parameter: {name!r} must be one of the pipeline's parameters, which "
                f"are {', '.join(sorted(known)) or 'none'}"
            )
        kind = known[name].get("parameterType") or known[name].get("type", "STRING")
        values[name] = _typed(name, text, kind)
    return values


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        return _PARSERS[kind](text)
    except ValueError as error:
        raise ConfigError(
            f"--runtime_parameter {name}: must be {_WORDS[kind]}, got {text!r}"
        ) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _structure(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return parse


_PARSERS: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "INT": int,
    "NUMBER_INTEGER": int,
    "DOUBLE": _finite,
    "NUMBER_DOUBLE": _finite,
    "BOOLEAN": _structure(bool),
    "LIST": _structure(list),
    "STRUCT": _structure(dict),
}
_WORDS = {
    "INT": "a whole number",
    "NUMBER_INTEGER": "a whole number",
    "DOUBLE": "a number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a JSON list",
    "STRUCT": "a JSON object",
}
