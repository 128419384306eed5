"""A digest of the project's code, as an execution property of the custom components.

TFX's cache knows a custom executor by its class path alone, so without this a changed executor
would be answered from the cache with what the old one made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os

from modules import files
from modules.errors import ConfigError
from modules.settings import DataSettings, TextFeature

_PACKAGES = ("modules", "components")
_SUFFIXES = (".py", ".j2", ".css")


def code_digest() -> str:
    """SHA-256 of all code and templates of `modules` and `components`, names included."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        root = next(iter(spec.submodule_search_locations))
        for directory, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(name for name in names if name.endswith(_SUFFIXES)):
                path = os.path.join(directory, name)
                _add(digest, os.path.join(package, os.path.relpath(path, root)), path)
    return digest.hexdigest()


def builder_digest(model: str, what: str = "model") -> str:
    """SHA-256 of the file that defines a user's `package.module:function`; "" for the zoo's.

    Raises:
      ConfigError: There is no such module.
    """
    module_name, separator, _ = model.partition(":")
    if not separator:
        return ""
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise ConfigError(
            f"{what} {model!r} must be package.module:function that Python can import, but there "
            f"is no module {module_name!r}; install it, or run where it lies"
        )
    digest = hashlib.sha256()
    _add(digest, module_name, spec.origin)
    return digest.hexdigest()


def data_digest(settings: DataSettings) -> str:
    """SHA-256 of the user's files that Transform reads: a function, vocabularies; "" for none.

    Raises:
      ConfigError: One is not there.
    """
    digest = hashlib.sha256()
    module, _, function = (settings.preprocessing_fn or "").partition(":")
    if module.endswith(".py"):
        _add_file(digest, "data.preprocessing_fn", module)
    elif module:
        name = f"{module}:{function or 'preprocessing_fn'}"
        digest.update(builder_digest(name, "data.preprocessing_fn").encode())
    named = {
        f"data.features.{name}.vocabulary_file": each.vocabulary_file
        for name, each in settings.features.items()
        if isinstance(each, TextFeature) and each.vocabulary_file
    }
    for key, path in sorted(named.items()):
        _add_file(digest, key, path)
    return digest.hexdigest() if module or named else ""


def _add_file(digest: hashlib._Hash, key: str, path: str) -> None:
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise ConfigError(
            f"{key} must be a file that can be read, got {path!r} "
            f"({error.strerror or error}); correct the path"
        ) from error
    digest.update(f"{key}\0{len(content)}\0".encode())
    digest.update(content)


def _add(digest: hashlib._Hash, name: str, path: str) -> None:
    with open(path, "rb") as file:
        content = file.read()
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)
