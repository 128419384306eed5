"""Image files that a user names: found, and refused before a model is loaded for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from modules.data.sources import IMAGE_SUFFIXES, check_image
from modules.errors import ConfigError, DataError

AS_IN_THE_FILE = 0  # channels


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files among `paths`, and the images below the directories among them, in order.

    A directory stands for its PNG and JPEG files at any depth, sorted; hidden ones are passed
    over. Of a file that is named, the suffix does not matter.

    Raises:
      ConfigError: A path is not there, or a directory has no image; a line for each.
    """
    images: list[Path] = []
    problems = []
    for path in paths:
        found = sorted(_below(path)) if path.is_dir() else [path]
        if not found:
            problems.append(f"IMAGE: {path} must have .png, .jpg or .jpeg files, but has none")
        elif not path.exists():
            problems.append(f"IMAGE: there is no file or directory {path}")
        images += found
    if problems:
        raise ConfigError("\n".join(problems))
    return images


def check_images(images: Sequence[Path], channels: int = AS_IN_THE_FILE) -> None:
    """Decode every file, one at a time.

    Args:
      images: Files.
      channels: What each of them must be decodable to.

    Raises:
      ConfigError: Some cannot be read or decoded; a line for each.
    """
    problems = []
    for path in images:
        try:
            check_image(str(path), path.read_bytes(), 0, ("",), channels)
        except OSError as error:
            problems.append(f"IMAGE: {path} cannot be read ({error.strerror})")
        except DataError as error:
            problems.append(f"IMAGE: {error}; leave it out, or give a PNG or JPEG file")
    if problems:
        raise ConfigError("\n".join(problems))


def _below(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
