"""What pydantic has found wrong with a configuration, as sentences for its author."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from modules.errors import did_you_mean

_KEY = "[key]"  # pydantic's last part of a location where a mapping's key itself is wrong
_LONGEST_VALUE = 80

Schema = dict[str, Any]  # of JSON Schema


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line for each problem: the key, the rule, the value, the remedy.

    Args:
      error: Of validating `model`.
      model: The whole configuration's.
    """
    root = model.model_json_schema()
    for problem in error.errors():
        *parents, last = (part for part in problem["loc"] if part != _KEY)
        wrong_key = problem["type"] in ("extra_forbidden", "invalid_key") or _KEY in problem["loc"]
        parts, found = _follow(root, parents if wrong_key else problem["loc"])
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


def _follow(root: Schema, location: Sequence[Any]) -> tuple[list[Any], list[Schema]]:
    """The parts of a location that its author has written, and the schemas at its end.

    The others are pydantic's names for the members of a union.
    """
    parts, found = [], [root]
    for part in location:
        inner = [
            each
            for schema in found
            if (below := inner_schema(schema, part)) is not None
            for each in alternatives(below, root)
        ]
        if inner:
            parts.append(part)
            found = inner
    return parts, found


def alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The members of a union, without null, and with references to `root` followed."""
    for member in schema.get("anyOf", [schema]):
        if member.get("type") != "null":
            name = member.get("$ref", "").rpartition("/")[2]
            yield root["$defs"][name] if name else member


def inner_schema(schema: Schema, part: Any = 0) -> Schema | None:
    """The schema of a section's key, of a mapping's value or of a list's element."""
    if part in schema.get("properties", {}):
        return schema["properties"][part]
    if schema.get("type") == "array" and isinstance(part, int):
        return schema["items"] if "items" in schema else schema["prefixItems"][0]
    below = schema.get("additionalProperties", False)
    return {} if below is True else below or None


def _known_keys(found: Sequence[Schema]) -> list[str]:
    """The keys of sections, and of mappings whose keys are given."""
    return [
        key
        for schema in found
        for key in schema.get("properties") or schema.get("propertyNames", {}).get("enum", ())
    ]
