"""What pydantic has found wrong with a configuration, as sentences for its author."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from modules.errors import did_you_mean

_KEY = "[key]"  # pydantic's last part of a location where a mapping's key itself is wrong
_LONGEST_VALUE = 80


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line for each problem: the key, the rule, the value, the remedy.

    Args:
      error: Of validating `model`.
      model: The whole configuration's.
    """
    for problem in error.errors():
        *parents, last = (part for part in problem["loc"] if part != _KEY)
        wrong_key = problem["type"] in ("extra_forbidden", "invalid_key") or _KEY in problem["loc"]
        parts, found = _follow(model, parents if wrong_key else problem["loc"])
        known = _known_keys(found)
        if not wrong_key:
            yield f"{_dotted(parts)}: {_rule(problem, known)}"
        elif problem["type"] == "invalid_key" or not known:
            yield f"{_dotted(parts, last)}: a key must be a string, got {last}; quote it"
        else:
            hint = f"{did_you_mean(str(last), known)}; keys here: {', '.join(known)}"
            yield f"{_dotted(parts, last)}: no such key{hint}"


def _rule(problem: Any, known: Sequence[str]) -> str:
    value = repr(problem["input"])
    got = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
    if problem["type"] == "missing":
        return "must be set" + (f"; keys here: {', '.join(known)}" if known else "")
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        keys = f" ({', '.join(known)})" if known else ""
        return f"must be a section with keys{keys}, got {got}"
    if problem["type"] == "tuple_type":
        return f"must be a list, got {got}"
    rule = re.sub(r"^\w+ should ", "must ", problem["msg"])
    return f"{rule[0].lower()}{rule[1:]}, got {got}"


def _dotted(parts: Sequence[Any], *last: Any) -> str:
    return ".".join(map(str, (*parts, *last)))


def _follow(model: Any, location: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The parts of a location that its author has written, and the types at its end.

    The others are pydantic's names for the members of a union.
    """
    parts, found = [], list(members(model))
    for part in location:
        inner = [each for member in found for each in _inside(member, part)]
        if inner:
            parts.append(part)
            found = inner
    return parts, found


def members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a type, without annotations and None."""
    if get_origin(annotation) is Annotated:
        yield from members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from members(member)
    elif annotation is not type(None):
        yield annotation


def _inside(annotation: Any, part: Any) -> Iterator[Any]:
    """The types of a field, a mapping's value or a sequence's element."""
    arguments = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if part in annotation.model_fields:
            yield from members(annotation.model_fields[part].annotation)
    elif get_origin(annotation) is dict:
        yield from members(arguments[1])
    elif get_origin(annotation) in (tuple, list) and isinstance(part, int):
        yield from members(arguments[0])


def _known_keys(found: Sequence[Any]) -> list[str]:
    """The keys of sections, and of mappings whose keys are given."""
    keys: dict[str, None] = {}
    for each in found:
        if isinstance(each, type) and issubclass(each, BaseModel):
            keys |= dict.fromkeys(each.model_fields)
        elif get_origin(each) is dict:
            keys |= dict.fromkeys(get_args(get_args(each)[0]))
    return list(keys)
