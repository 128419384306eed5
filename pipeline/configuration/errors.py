"""What pydantic has found wrong with a configuration, as sentences for its author."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from modules.errors import did_you_mean

_KEY = "[key]"  # pydantic's last part of a location where a mapping's key itself is wrong
_LONGEST_VALUE = 80

_NUMBERS = {"integer": "a whole number", "number": "a number"}

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
        if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            yield _wrong_kind(parts, found, problem["input"])
        elif not wrong_key:
            yield f"{_dotted(parts)}: {_rule(problem, found)}"
        elif problem["type"] == "invalid_key" or not known:
            yield f"{_dotted(parts, last)}: a key must be a string, got {last}; quote it"
        else:
            hint = f"{did_you_mean(str(last), known)}; keys here: {', '.join(known)}"
            yield f"{_dotted(parts, last)}: no such key{hint}"


def _wrong_kind(parts: Sequence[Any], kinds: Sequence[Schema], value: Any) -> str:
    """Of a section whose key `kind` says which of several it is."""
    names = [str(kind_of(each)) for each in kinds]
    if not isinstance(value, dict):
        return f"{_dotted(parts)}: must be a section with a kind, got {_shortened(value)}"
    key, known = _dotted(parts, "kind"), ", ".join(names)
    if "kind" not in value:
        return f"{key}: must be set to one of {known}"
    given = value["kind"]
    return f"{key}: must be one of {known}, got {given!r}{did_you_mean(str(given), names)}"


def _rule(problem: Any, found: Sequence[Schema]) -> str:
    got, known = _shortened(problem["input"]), _known_keys(found)
    numbers = [
        schema for schema in found if schema.get("type") in _NUMBERS and "enum" not in schema
    ]
    if numbers and problem["type"] != "value_error":
        return f"must be {_NUMBERS[numbers[0]['type']]}{_range(numbers[0])}, got {got}"
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


def _range(number: Schema) -> str:
    """Where it must lie, for example ` from 0 to 1,000` or ` above 0 and at most 1`."""
    low, high = (number.get(key) for key in ("minimum", "maximum"))
    above, below = (number.get(f"exclusive{key}") for key in ("Minimum", "Maximum"))
    if number["type"] == "integer" and below is not None:
        high = below - 1
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    start = f" above {above:,}" if above is not None else f" from {low:,}"
    return start + (f" and below {below:,}" if below is not None else f" and at most {high:,}")


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _dotted(parts: Sequence[Any], *last: Any) -> str:
    return ".".join(map(str, (*parts, *last)))


def _follow(root: Schema, location: Sequence[Any]) -> tuple[list[Any], list[Schema]]:
    """The parts of a location that its author has written, and the schemas at its end.

    The others are pydantic's names for the members of a union.
    """
    parts, found, members = [], [root], False
    for part in location:
        if members:
            found = [each for each in found if kind_of(each) == part] or found
            members = False
            continue
        inner = [
            each
            for schema in found
            if (below := inner_schema(schema, part)) is not None
            for each in alternatives(below, root)
        ]
        if inner:
            parts.append(part)
            found, members = inner, len(inner) > 1
    return parts, found


def kind_of(schema: Schema) -> str | None:
    """What the key `kind` of a section must be; None if it is no member of a union of kinds."""
    return schema.get("properties", {}).get("kind", {}).get("const")


def alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The members of a union, without null, and with references to `root` followed."""
    members = schema.get("anyOf") or schema.get("oneOf")
    if members:
        for member in members:
            yield from alternatives(member, root)
    elif schema.get("type") != "null":
        name = schema.get("$ref", "").rpartition("/")[2]
        yield root["$defs"][name] if name else schema


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
