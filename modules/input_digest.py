"""Digests of the user's files for the cache's keys, which know their paths alone.

What was read once need not be there any more: a run is served what it made of a file that is gone,
as long as nothing asks for the file again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from modules import files
from modules.code_digest import builder_digest, file_digest
from modules.errors import ConfigError
from modules.settings import DataSettings, ModelSettings, TeacherSettings, TextFeature

_REMEMBERED = "inputs.json"


def data_digest(settings: DataSettings) -> str:
    """SHA-256 of the user's files that Transform reads: a function, vocabularies; "" for none.

    Raises:
      ConfigError: One is not there.
    """
    digest = hashlib.sha256()
    module, _, function = (settings.preprocessing_fn or "").partition(":")
    if module.endswith(".py"):
        _add_file(digest, "data.preprocessing_fn", module)
        digest.update(file_digest(module).encode())
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
    """SHA-256 of the files of a teacher that was not trained here, or of its function's code.

    Raises:
      ConfigError: They are not there.
    """
    if settings.kind == "function":
        return builder_digest(settings.name, f"{key}.function")
    digest = hashlib.sha256()
    _add_path(digest, f"{key}.{settings.kind}", settings.name)
    return digest.hexdigest()


def model_digest(settings: ModelSettings, memory: Memory | None = None) -> str:
    """SHA-256 of a user's builder, and of the local files that parameters name; "" for neither.

    Args:
      settings: The model.
      memory: What is known of files that are gone.

    Raises:
      ConfigError: There is no such builder.
    """
    builder = builder_digest(settings.model)
    named = []
    for path in sorted(set(_texts(settings.parameters))):
        if os.path.exists(path):
            digest = hashlib.sha256()
            _add_path(digest, "parameters", path)
            named.append(digest.hexdigest())
            if memory is not None:
                memory.keep(path, named[-1])
        elif memory is not None and path in memory:
            named.append(memory[path])
    return " ".join([builder, *named]) if named else builder


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


class Memory:
    """The digests that files had when they were last read, in a file below a pipeline root.

    Args:
      root: Where pipelines keep their artifacts; nothing is kept at one that is not local.
    """

    def __init__(self, root: str):
        self._root = root
        self._path = os.path.join(root, _REMEMBERED)
        self._known: dict[str, str] = {}
        if os.path.isfile(self._path):
            with open(self._path, encoding="utf-8") as file:
                self._known = json.load(file)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> str:
        return self._known[name]

    def keep(self, name: str, digest: str) -> None:
        """Remember a digest."""
        if not os.path.isdir(self._root) or self._known.get(name) == digest:
            return
        self._known[name] = digest
        with open(f"{self._path}.part", "w", encoding="utf-8") as file:
            json.dump(self._known, file, indent=2)
        os.replace(f"{self._path}.part", self._path)

    def teacher_digest(self, settings: TeacherSettings, key: str) -> str:
        """As the function; of what is not there any more, the digest that it had last.

        Raises:
          ConfigError: It is not there, and was not used before.
        """
        name = f"{settings.kind}: {settings.name}"
        try:
            digest = teacher_digest(settings, key)
        except ConfigError:
            if name in self:
                return self[name]
            raise
        self.keep(name, digest)
        return digest

    def without_lost(self, settings: ModelSettings) -> ModelSettings:
        """Without the parameter `weights`, if it names a file that is gone but was read before."""
        weights = settings.parameters.get("weights")
        if not isinstance(weights, str) or weights not in self or os.path.exists(weights):
            return settings
        kept = {name: value for name, value in settings.parameters.items() if name != "weights"}
        return settings.model_copy(update={"parameters": kept})


def _add_path(digest: hashlib._Hash, key: str, path: str) -> None:
    """A file, or all files of a directory."""
    names = [""] if not files.is_dir(path) else [f"/{each}" for each in files.file_names(path)]
    for name in names:
        _add_file(digest, f"{key}{name}", f"{path}{name}")


def _add_file(digest: hashlib._Hash, key: str, path: str) -> None:
    try:
        content = files.sha256(path)
    except OSError as error:
        raise ConfigError(
            f"{key} must be a file that can be read, got {path!r} "
            f"({error.strerror or error}); correct the path"
        ) from error
    digest.update(f"{key}\0{content}\0".encode())
