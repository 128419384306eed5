"""An object store in memory: no rename, no locks, no directories, objects appear as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


class ObjectStore(MemoryFileSystem):
    """`bucket://`, and whatever other scheme a test registers it for."""

    protocol = ("bucket", "gs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    # Called before an object appears or goes.
    before_change: ClassVar[Callable[[], None]]
    # What arrives of the bytes that are uploaded to a path.
    transmitted: ClassVar[Callable[[str, bytes], bytes]]

    @classmethod
    def reset(cls) -> None:
        cls.store.clear()
        cls.calm()
        cls.transmitted = staticmethod(lambda path, content: content)

    @classmethod
    def calm(cls) -> None:
        cls.before_change = staticmethod(lambda: None)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return f"/{path.partition('://')[2] or path}".replace("//", "/").rstrip("/")

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        assert mode == "rb", f"half of {path} could be seen"
        return super()._open(path, mode, **options)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        content = self.transmitted(rpath, Path(lpath).read_bytes())
        self.before_change()
        self.store[rpath] = MemoryFile(self, rpath, content)

    def rm_file(self, path: str) -> None:
        self.before_change()
        super().rm_file(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise AssertionError(f"{path}: there are no directories, and no bucket is to be made")

    mkdir = makedirs


fsspec.register_implementation("bucket", ObjectStore)


def downloaded(url: str, directory: Path) -> Path:
    """A local copy of all objects below a URL, in place of what is in the directory."""
    shutil.rmtree(directory, ignore_errors=True)
    store, root = fsspec.url_to_fs(url, use_listings_cache=False)
    for path in store.find(root):
        file = directory / path.removeprefix(root).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(store.cat_file(path))
    return directory
