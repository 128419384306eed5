"""Whether the functions that a configuration names exist, found out without running them."""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterator

from modules.errors import did_you_mean
from modules.settings import TeacherSettings
from pipeline.config import PipelineConfig


def missing_functions(config: PipelineConfig) -> Iterator[str]:
    """One line for each `module:function` whose module is there and does not define it."""
    for key, name in _named(config):
        module, _, function = name.partition(":")
        path = _source(module)
        if not path:
            continue  # Another check says so.
        with open(path, "rb") as file:
            text = file.read()
        try:
            names = set(_defined(ast.parse(text)))
        except SyntaxError as error:
            yield f"{key}: {path}, line {error.lineno}: {error.msg}; fix it"
            continue
        if "*" not in names and function not in names:
            hint = did_you_mean(function, names)
            yield f"{key} must name a function of {path}, got {function!r}{hint}; correct the name"


def _named(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    for key, each in config.models.items():
        if isinstance(each, TeacherSettings) and each.kind == "function":
            yield f"{key}.function", each.name
        elif ":" in each.model:
            yield f"{key}.model", each.model
    if function := config.data.preprocessing_fn:
        module, _, name = function.partition(":")
        yield "data.preprocessing_fn", f"{module}:{name or 'preprocessing_fn'}"


def _source(module: str) -> str | None:
    """The file of a module, unless there is none of Python's."""
    if module.endswith(".py"):
        return module if os.path.isfile(module) else None
    try:
        spec = importlib.util.find_spec(module)
    # It imports the package around the module, whose code may do anything.
    except (Exception, SystemExit):  # noqa: BLE001
        return None
    return spec.origin if spec and spec.origin and spec.origin.endswith(".py") else None


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names that any statement of a module may bind; `*` if it could be any name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            if node.name == "__getattr__":
                yield "*"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
