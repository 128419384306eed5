"""A configuration before it is validated: a YAML file, and what `--set` changes in it."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modules.errors import ConfigError

_MOST_VALUES = 100_000
_OF_TAGS = (AttributeError, TypeError, ValueError)
_EXAMPLE = "for example --set distill.temperature=4"


@dataclass(frozen=True)
class Layer:
    """The configuration after one more step.

    Attributes:
      origin: The step, as an error names it: the file, or `--set KEY=VALUE`.
      content: The configuration with this step and those before it.
    """

    origin: str
    content: dict[str, Any]


def read_layers(file: Path, overrides: Sequence[str]) -> tuple[list[Layer], list[str]]:
    """Read a file and apply the overrides one by one.

    Args:
      file: Of YAML.
      overrides: `KEY=VALUE` strings; the key is dotted, the value YAML.

    Returns:
      The layers, the last of which is the whole configuration, and one line for each thing that is
      wrong. Without layers the file could not be read.
    """
    layers, problems = [], []
    content: Any = None
    try:
        content, twice = _parse(file.read_bytes().decode("utf-8"))
        problems += [f"{file}: {each}" for each in twice]
        if isinstance(content, dict):
            layers.append(Layer(str(file), content))
        else:
            kind = "is empty" if content is None else f"is a {type(content).__name__}"
            problems.append(f"{file}: must be a YAML mapping such as `name: digits`, but it {kind}")
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        problems.append(f"{file}: {_unreadable(error)}")
    for override in overrides:
        origin = f"--set {' '.join(override.split())}"
        try:
            content, twice = _override(layers[-1].content if layers else {}, override)
            problems += [f"{origin}: {each}" for each in twice]
            if layers:
                layers.append(Layer(origin, content))
        except ConfigError as error:
            problems.append(f"{origin}: {error}")
    return layers, problems


def _unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"must be UTF-8 text, but byte {error.start} is not; save it as UTF-8"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror}); name a YAML file"
    return str(error)


def _override(content: dict[str, Any], override: str) -> tuple[dict[str, Any], list[str]]:
    """A copy with one dotted key set, and the keys that the value has twice."""
    key, separator, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not separator or not all((*parents, last)):
        raise ConfigError(f"must be KEY=VALUE with a dotted key; {_EXAMPLE}")
    value, twice = _parse(text)
    changed = target = copy.deepcopy(content)
    for depth, part in enumerate(parents, start=1):
        if target.get(part) is None:
            target[part] = {}
        if not isinstance(target[part], dict):
            section = ".".join(parents[:depth])
            kind = "list" if isinstance(target[part], list) else "value"
            raise ConfigError(
                f"{section} is a {kind}, not a section with keys; set {section} as a whole"
            )
        target = target[part]
    target[last] = value
    return changed, twice


def _parse(text: str) -> tuple[Any, list[str]]:
    """The value of a YAML text, and a line for each key that a mapping has twice.

    Raises:
      ConfigError: The text is not YAML.
    """
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
        if _count(value, {}) > _MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {_MOST_VALUES:,} values")
        return _written_out(value), loader.twice
    # PyYAML's constructors of `!!timestamp` and the like raise whatever comes.
    except (yaml.YAMLError, RecursionError, ArithmeticError, LookupError, *_OF_TAGS) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        if isinstance(error, AttributeError | LookupError | TypeError):
            problem = "a value is none of the kind that its !!tag names"
        raise ConfigError(f"{where}not valid YAML: {problem}; fix or quote it") from error


def _count(value: Any, counted: dict[int, float]) -> float:
    """How many values there are with all aliases written out; infinite if one stands for itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = float("inf")
        parts = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(part, counted) for part in parts)
    return counted[id(value)]


def _written_out(value: Any) -> Any:
    """A copy in which an alias has values of its own, so that `--set` changes one place alone."""
    if isinstance(value, dict):
        return {key: _written_out(each) for key, each in value.items()}
    return [_written_out(each) for each in value] if isinstance(value, list) else value


class _Loader(yaml.SafeLoader):
    """Notes the keys that a mapping has twice, of which YAML keeps the last without a word."""

    def __init__(self, text: str):
        super().__init__(text)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: dict[str, yaml.ScalarNode] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                first = keys.setdefault(key.value, key)
                if first is not key:
                    self.twice.append(
                        f"{key.value}: must be set once, but is set in line {_line(first)} and "
                        f"again in line {_line(key)}; remove one"
                    )
        return super().construct_mapping(node, deep)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
