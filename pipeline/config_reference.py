"""The reference of the configuration, written from the descriptions of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pipeline.config import PipelineConfig
from pipeline.configuration.errors import Schema, alternatives, inner_schema, kind_of

_INTRODUCTION = """\
# Configuration

One YAML file, or the name of a preset (`tfx-distill presets`). `--set` overrides any key, such as
`--set distill.temperature=2`, or a whole section, such as `--set 'gate={min_accuracy: 0.9}'`.
`tfx-distill validate FILE` checks a configuration in under a second and reports all mistakes at
once, one line each. Unknown keys are rejected with suggestions.

Paths may begin with `~`, the home directory. A relative path is relative to the directory in which
the command is given, not to that of the file.

This page is what `tfx-distill settings` prints. `null` switches a key off.
"""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def reference() -> str:
    """All keys with their types, defaults and meanings, as Markdown."""
    root = PipelineConfig.model_json_schema()
    headings: dict[str, list[str]] = {}
    for key, schema in root["properties"].items():
        for title, path in _sections(schema, root, key):
            headings.setdefault(title, []).append(path)
    lines = [_INTRODUCTION, *_table(root, root, headings)]
    for title, paths in headings.items():
        section = root["$defs"][title]
        summary = " ".join(section["description"].partition("\n\n")[0].split())
        table = _table(section, root, headings)
        lines += ["", f"## {', '.join(paths)}", "", summary, "", *table]
    return "\n".join(lines) + "\n"


def _sections(schema: Schema, root: Schema, path: str) -> Iterator[tuple[str, str]]:
    """The titles of a key's sections and of those in them, each with its place."""
    for member in alternatives(schema, root):
        if "properties" in member:
            kind = kind_of(member)
            yield member["title"], f"{path} (kind: {kind})" if kind else path
            for key, below in member["properties"].items():
                yield from _sections(below, root, f"{path}.{key}")
        elif member.get("type") in ("array", "object"):
            below = path if member["type"] == "array" else f"{path}.*"
            yield from _sections(inner_schema(member) or {}, root, below)


def _table(section: Schema, root: Schema, headings: dict[str, list[str]]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, schema in section["properties"].items():
        required = key in section.get("required", ()) or "const" in schema
        default = "required" if required else _default(schema)
        kind = _type(schema, root, headings)
        yield f"| `{key}` | {kind} | {default} | {schema.get('description', '')} |"


def _type(schema: Schema, root: Schema, headings: dict[str, list[str]]) -> str:
    """A type in words, with its bounds."""
    found = []
    for member in alternatives(schema, root):
        if "properties" in member:
            paths = headings[member["title"]]
            found.append(f"[{kind_of(member) or paths[0]}](#{_anchor(', '.join(paths))})")
        elif "const" in member:
            found.append(f"`{member['const']}`")
        elif "enum" in member:
            found.append(_choices(member["enum"]))
        elif "prefixItems" in member:
            found.append(f"`{member.get('title', '[low, high]')}`")
        elif member.get("type") == "array":
            found.append(f"list of {_type(inner_schema(member) or {}, root, headings)}")
        elif member.get("type") == "object":
            names = member.get("propertyNames", {}).get("enum")
            keys = f" from {_choices(names)}" if names else ""
            found.append(f"mapping{keys} to {_type(inner_schema(member) or {}, root, headings)}")
        elif member.get("type") == "boolean":
            found.append("`true` or `false`")
        else:
            bounds = [f"{sign} {member[key]}" for key, sign in _BOUNDS.items() if key in member]
            found.append(f"{member.get('type', 'any value')} {', '.join(bounds)}".strip())
    return " or ".join(found)


def _choices(values: Sequence[Any]) -> str:
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}" if others else last


def _default(schema: Schema) -> str:
    """As YAML; nothing for a section, whose keys have theirs."""
    if "$ref" in schema:
        return ""
    text = yaml.safe_dump(schema["default"], default_flow_style=True, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
