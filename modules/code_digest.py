"""Digests of code for the cache's keys: the project's own, and the modules that a user brings.

TFX's cache knows a custom executor by its class path and a function by its dotted path, so without
this a changed one would be answered from the cache with what the old one made.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec

from modules.errors import ConfigError

_PACKAGES = ("modules", "components")
_SUFFIXES = (".py", ".j2", ".css")
# Another release of these may compute something else.
_RELEASES = (
    *("ai-edge-litert", "keras", "scikit-learn", "tensorflow", "tensorflow-model-analysis"),
    *("tensorflow-transform", "tfx"),
)
_INSTALLED = {
    os.path.realpath(sysconfig.get_path(name))
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
}


def code_digest() -> str:
    """SHA-256 of all code and templates of `modules` and `components`, and of what they run on."""
    digest = hashlib.sha256()
    for name in _RELEASES:
        digest.update(f"{name} {_release(name)}\n".encode())
    for package in _PACKAGES:
        for name, path in _files_of(package, _SUFFIXES):
            _add(digest, name, path)
    return digest.hexdigest()


def _release(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def builder_digest(model: str, what: str = "model") -> str:
    """SHA-256 of the code behind a user's `package.module:function`; "" for the zoo's.

    That is the module's whole package, and of what it imports whatever is neither installed nor
    part of Python.

    Raises:
      ConfigError: There is no such module.
    """
    module_name, separator, _ = model.partition(":")
    if not separator:
        return ""
    spec = _find(module_name)
    if spec is None or not spec.origin:
        raise ConfigError(
            f"{what} {model!r} must be package.module:function that Python can import, but there "
            f"is no module {module_name!r}; install it, or run where it lies"
        )
    digest = hashlib.sha256()
    _add(digest, module_name, spec.origin)
    package = module_name.partition(".")[0]
    _add_modules(digest, _files_of(package, (".py",)), {package})
    return digest.hexdigest()


def file_digest(path: str) -> str:
    """SHA-256 of a Python file and of what it imports, as `builder_digest` has it."""
    digest = hashlib.sha256()
    _add_modules(digest, [(os.path.basename(path), path)], set())
    return digest.hexdigest()


def _add_modules(digest: hashlib._Hash, found: Iterable[tuple[str, str]], seen: set[str]) -> None:
    """Files, and after them those of the user's modules that they import."""
    imported: set[str] = set()
    for name, path in found:
        _add(digest, name, path)
        imported |= _imports(path)
    for package in sorted(imported - seen):
        if package not in seen and _is_users(package):
            seen.add(package)
            _add_modules(digest, _files_of(package, (".py",)), seen)


def _imports(path: str) -> set[str]:
    """The first parts of the names of what a file imports from outside its package."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return set()  # Whoever imports the file says what is wrong with it.
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _is_users(package: str) -> bool:
    """Whether it is neither installed, part of Python nor ours."""
    spec = _find(package)
    if spec is None or package in _PACKAGES:
        return False
    places = [*(spec.submodule_search_locations or ()), spec.has_location and spec.origin]
    real = [os.path.realpath(place) for place in places if place]
    return bool(real) and not any(
        place.startswith(f"{root}{os.sep}") or "-packages" in place
        for place in real
        for root in _INSTALLED
    )


def _files_of(package: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Relative name and path of each file of a package, or of a single module's one."""
    spec = _find(package)
    if spec is None:
        return
    if not spec.submodule_search_locations and spec.has_location and spec.origin:
        yield package, spec.origin
    for root in spec.submodule_search_locations or ():
        for directory, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(name for name in names if name.endswith(suffixes)):
                path = os.path.join(directory, name)
                yield os.path.join(package, os.path.relpath(path, root)), path


def _find(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _add(digest: hashlib._Hash, name: str, path: str) -> None:
    with open(path, "rb") as file:
        content = file.read()
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)
