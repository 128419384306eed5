"""The reference of the configuration, written from the descriptions of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import PipelineConfig
from pipeline.config_errors import members

_INTRODUCTION = """\
# Configuration

One YAML file, or the name of a preset (`tfx-distill presets`). `--set` overrides any key, such as
`--set distill.temperature=2`, or a whole section, such as `--set 'gate={min_accuracy: 0.9}'`.
`tfx-distill validate FILE` checks a configuration in under a second and reports all mistakes at
once, one line each. Unknown keys are rejected with suggestions.

This page is what `tfx-distill settings` prints. `null` switches a key off.
"""
_PLAIN = {int: "integer", float: "number", str: "string", bool: "`true` or `false`"}
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))

Places = dict[type[BaseModel], list[str]]


def reference() -> str:
    """All keys with their types, defaults and meanings, as Markdown."""
    places: Places = {}
    _find_sections(PipelineConfig, "", places)
    lines = [_INTRODUCTION, *_table(PipelineConfig, places)]
    for model, paths in places.items():
        summary = " ".join((model.__doc__ or "").partition("\n\n")[0].split())
        lines += ["", f"## {_heading(paths)}", "", summary, "", *_table(model, places)]
    return "\n".join(lines) + "\n"


def _find_sections(model: type[BaseModel], path: str, places: Places) -> None:
    """The sections of a model, each with all places in the configuration where it is used."""
    for key, field in model.model_fields.items():
        for section, below in _sections(field.annotation, f"{path}{key}"):
            places.setdefault(section, []).append(below)
            _find_sections(section, f"{below}.", places)


def _sections(annotation: Any, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    for member in members(annotation):
        arguments = get_args(member)
        if isinstance(member, type) and issubclass(member, BaseModel):
            yield member, path
        elif get_origin(member) is tuple:
            yield from _sections(arguments[0], path)
        elif get_origin(member) is dict:
            yield from _sections(arguments[1], f"{path}.*")


def _table(model: type[BaseModel], places: Places) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, field in model.model_fields.items():
        kind = _type(field.annotation, field.metadata, places)
        yield f"| `{key}` | {kind} | {_default(field)} | {field.description or ''} |"


def _type(annotation: Any, metadata: Sequence[Any], places: Places) -> str:
    """A type in words, with the bounds that its metadata set."""
    found = []
    for member in members(annotation):
        arguments = get_args(member)
        if member in places:
            found.append(f"[{places[member][0]}](#{_anchor(_heading(places[member]))})")
        elif get_origin(member) is Literal:
            found.append(_choices(arguments))
        elif get_origin(member) is tuple and arguments[-1] is not Ellipsis:
            found.append("`[low, high]`")
        elif get_origin(member) is tuple:
            found.append(f"list of {_type(arguments[0], (), places)}")
        elif get_origin(member) is dict:
            keys = f" from {_type(arguments[0], (), places)}" if arguments[0] is not str else ""
            found.append(f"mapping{keys} to {_type(arguments[1], (), places)}")
        else:
            found.append(_PLAIN.get(member, "any value") + _bounds(annotation, metadata))
    return " or ".join(found)


def _choices(values: Sequence[Any]) -> str:
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}" if others else last


def _bounds(annotation: Any, metadata: Sequence[Any]) -> str:
    if get_origin(annotation) is Annotated:
        for each in get_args(annotation)[1:]:
            metadata = (*metadata, *getattr(each, "metadata", ()))
    parts = [
        f"{sign} {getattr(each, name)}"
        for kind, name, sign in _BOUNDS
        for each in metadata
        if isinstance(each, kind)
    ]
    return f" {', '.join(parts)}" if parts else ""


def _default(field: FieldInfo) -> str:
    """As YAML; nothing for a section, whose keys have theirs."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return ""
    plain = (
        [
            each.model_dump(exclude_unset=True) if isinstance(each, BaseModel) else each
            for each in value
        ]
        if isinstance(value, tuple)
        else value
    )
    text = yaml.safe_dump(_lists(plain), default_flow_style=True, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _lists(value: Any) -> Any:
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _heading(paths: Sequence[str]) -> str:
    return ", ".join(paths)


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
