"""What pydantic has found wrong with a configuration, as sentences for its author."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from modules.errors import did_you_mean, shortened

_KEY = "[key]"  # pydantic's last part of a location where a mapping's key itself is wrong

_NUMBERS = {"integer": "a whole number", "number": "a number"}

Schema = dict[str, Any]  # of JSON Schema


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line for each problem: the key, the rule, the value, the remedy.

    Args:
      error: Of validating `model`.
      model: The whole configuration's.
    """
    root = _schema(model)
    # What none of the forms takes that a value may have is one problem at one place.
    rules: dict[str, list[_Rule]] = {}
    for problem in error.errors():
        *parents, last = (part for part in problem["loc"] if part != _KEY)
        wrong_key = problem["type"] in ("extra_forbidden", "invalid_key") or _KEY in problem["loc"]
        parts, found = _follow(root, parents if wrong_key else problem["loc"])
        known = _known_keys(found)
        if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            key, rule = _wrong_kind(parts, found, problem["input"])
        elif not wrong_key:
            key, rule = _dotted(parts), _rule(problem, found)
        elif problem["type"] == "invalid_key" or not known:
            key, rule = _dotted(parts, last), _Rule(f"a key must be a string, got {last}; quote it")
        else:
            hint = f"{did_you_mean(str(last), known)}; keys here: {', '.join(known)}"
            key, rule = _dotted(parts, last), _Rule(f"no such key{hint}")
        rules.setdefault(key, []).append(rule)
    for key, told in rules.items():
        # A form that was meant says what is wrong within it.
        if not any(other.startswith(f"{key}.") for other in rules) or len(told) > 1:
            yield f"{key}: {_together(told)}"


@functools.cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


@dataclass(frozen=True)
class _Rule:
    """What is said of a value: `must be a number from 0 to 1`, `, got 2`, `; remove it`."""

    rule: str
    got: str = ""
    remedy: str = ""


def _together(rules: Sequence[_Rule]) -> str:
    first, *more = rules
    others = [re.sub(r"^must (be )?", "", each.rule) for each in more if each.rule != first.rule]
    return " or ".join([first.rule, *others]) + first.got + first.remedy


def _wrong_kind(parts: Sequence[Any], kinds: Sequence[Schema], value: Any) -> tuple[str, _Rule]:
    """Of a section whose key `kind` says which of several it is."""
    names = [str(kind_of(each)) for each in kinds]
    known = ", ".join(names)
    if not isinstance(value, dict):
        rule = f"must be a section with a kind, one of {known}"
        return _dotted(parts), _Rule(rule, f", got {shortened(value)}")
    key = _dotted(parts, "kind")
    if "kind" not in value:
        return key, _Rule(f"must be set to one of {known}")
    given = value["kind"]
    hint = did_you_mean(str(given), names)
    return key, _Rule(f"must be one of {known}", f", got {shortened(given)}", hint)


def _rule(problem: Any, found: Sequence[Schema]) -> _Rule:
    got, known = f", got {shortened(problem['input'])}", _known_keys(found)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return _Rule(problem["msg"].removeprefix("Value error, "))
    number = next((_number(each) for each in found if _is_number(each)), "")
    if kind == "missing":
        keys = f"; keys here: {', '.join(known)}" if known else ""
        return _Rule(f"must be set to {number}" if number else f"must be set{keys}")
    if kind in ("too_long", "too_short"):
        bound = "at most" if kind == "too_long" else "at least"
        least = context.get("max_length", context.get("min_length"))
        given = f", got {context['actual_length']}"
        remedy = "remove some" if kind == "too_long" else "add some"
        return _Rule(f"must have {bound} {least} entries", given, f"; {remedy}")
    if number:
        return _Rule(f"must be {number}", got)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return _Rule(
            "must be a section with keys" + (f" ({', '.join(known)})" if known else ""), got
        )
    if kind == "tuple_type":
        one = isinstance(problem["input"], str | int | float)
        return _Rule("must be a list", got, f"; write [{shortened(problem['input'])}]" * one)
    if kind == "string_type":
        return _Rule("must be a text", got, _quoted(problem["input"]))
    if kind == "string_too_short":
        return _Rule("must not be empty", got, "; write one or remove the key")
    if kind == "string_pattern_mismatch":
        words = [each["rule"] for each in found if "rule" in each]
        return _Rule(words[0] if words else f"must match {context['pattern']}", got)
    if kind in ("bool_type", "bool_parsing"):
        return _Rule("must be true or false", got)
    rule = re.sub(r"^\w+ should ", "must ", problem["msg"])
    return _Rule(f"{rule[0].lower()}{rule[1:]}", got)


def _quoted(value: Any) -> str:
    """What to do about a value that YAML does not read as a text."""
    if value is None:
        return "; write one or remove the key"
    return (
        "; quote it"
        if isinstance(value, bool | int | float | datetime.date)
        else "; write one text"
    )


def _is_number(schema: Schema) -> bool:
    return schema.get("type") in _NUMBERS and "enum" not in schema


def _number(schema: Schema) -> str:
    return f"{_NUMBERS[schema['type']]}{_range(schema)}"


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


def _dotted(parts: Sequence[Any], *last: Any) -> str:
    text = ".".join(map(str, (*parts, *last)))
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


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
