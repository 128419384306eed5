"""Object stores as directories, and what a container sees of them on its own disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from kfp_backend.spec import SpecError

# The directories below which the backends keep the artifacts of a store in a container.
_FOLDERS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}


class Storage:
    """All buckets there are; a URI that is an absolute path lies on this machine's disk.

    Args:
      directory: Bucket `b` of `gs://` is `gcs/b` in it.
      mounted: Whether containers see the buckets themselves (Vertex AI mounts them), or copies
        that are made before and after (Kubeflow).
    """

    def __init__(self, directory: Path, mounted: bool):
        self._directory, self._mounted = directory, mounted

    def path(self, uri: str) -> Path:
        """Where an object or a directory of objects lies.

        Raises:
          SpecError: Of no known kind.
        """
        return Path(self.local_path(uri, self._directory))

    def local_path(self, uri: str, disk: Path) -> str:
        """Where a container with this disk has it: `/gcs/…`, `/s3/…` or `/minio/…` below it."""
        for scheme, folder in _FOLDERS.items():
            if uri.startswith(scheme):
                return str(disk / folder / uri.removeprefix(scheme))
        if not uri.startswith("/"):
            raise SpecError(f"{uri!r} must begin with {', '.join(_FOLDERS)} or be a local path")
        return uri

    def attach(self, disk: Path) -> None:
        """Put the buckets, or room for copies, on the disk of a container."""
        for folder in _FOLDERS.values():
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
            if self._mounted:
                (disk / folder).symlink_to(self._directory / folder)
            else:
                (disk / folder).mkdir()

    def download(self, uri: str, disk: Path) -> None:
        """Copy an input to a container, if it does not see the buckets themselves."""
        self._copy(self.path(uri), Path(self.local_path(uri, disk)))

    def upload(self, uri: str, disk: Path) -> None:
        """Copy an output from a container; one that was not made is left out."""
        self._copy(Path(self.local_path(uri, disk)), self.path(uri))

    def _copy(self, source: Path, target: Path) -> None:
        if self._mounted or source == target or not source.exists():
            return
        # A store has objects and no directories, so that empty ones are lost.
        for file in (source, *source.rglob("*")):
            if file.is_file():
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
