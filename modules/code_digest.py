"""A digest of the project's code, as an execution property of the custom components.

TFX's cache knows a custom executor by its class path alone, so without this a changed executor
would be answered from the cache with what the old one made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os

from modules import files
from modules.errors import ConfigError
from modules.settings import DataSettings, TeacherSettings, TextFeature

_PACKAGES = ("modules", "components")
_REMEMBERED = "teachers.json"
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


def teacher_digest(settings: TeacherSettings, key: str = "teacher") -> str:
    """SHA-256 of the files of a teacher that was not trained here, or of its function's package.

    Raises:
      ConfigError: They are not there.
    """
    digest = hashlib.sha256()
    if settings.kind == "function":
        module = settings.name.partition(":")[0]
        package = module.partition(".")[0]
        digest.update(builder_digest(settings.name, f"{key}.function").encode())
        _add_package(digest, package)
        return digest.hexdigest()
    path = settings.name
    names = [""] if not files.is_dir(path) else [f"/{each}" for each in files.file_names(path)]
    for name in names:
        _add_file(digest, f"{key}.{settings.kind}{name}", f"{path}{name}")
    return digest.hexdigest()


def remembered_teacher_digest(settings: TeacherSettings, key: str, root: str) -> str:
    """As `teacher_digest`; of what is not there any more, the digest that it had last.

    So a file that was imported may be deleted: the cache goes on knowing it.

    Args:
      settings: The teacher.
      key: Its place in the configuration, for messages.
      root: Where pipelines keep their artifacts; remembered is what is used below a local one.

    Raises:
      ConfigError: It is not there, and was not used before.
    """
    name, path = f"{settings.kind}: {settings.name}", os.path.join(root, _REMEMBERED)
    known: dict[str, str] = {}
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    try:
        digest = teacher_digest(settings, key)
    except ConfigError:
        if name in known:
            return known[name]
        raise
    if os.path.isdir(root) and known.get(name) != digest:
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(known | {name: digest}, file, indent=2)
        os.replace(f"{path}.part", path)
    return digest


def _add_package(digest: hashlib._Hash, package: str) -> None:
    """All modules of a package; of a single module nothing more."""
    spec = importlib.util.find_spec(package)
    for root in (spec and spec.submodule_search_locations) or ():
        for directory, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(name for name in names if name.endswith(".py")):
                path = os.path.join(directory, name)
                _add(digest, os.path.relpath(path, root), path)


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
