"""The sources by their names in `data.source`; a new one is a file, an entry here and a test."""

from __future__ import annotations

from modules.data.sources.digits import Digits
from modules.data.sources.image_folder import ImageFolder
from modules.data.sources.protocol import Source
from modules.errors import ConfigError, did_you_mean
from modules.settings import DataSettings

SOURCES: dict[str, type[Source]] = {"digits": Digits, "image_folder": ImageFolder}


def check_source(settings: DataSettings) -> None:
    """Checks that the source exists and that the settings suit it.

    Raises:
      ConfigError: Naming the key.
    """
    if settings.source not in SOURCES:
        raise ConfigError(
            f"data.source must be one of {', '.join(SOURCES)}, got {settings.source!r}"
            f"{did_you_mean(settings.source, SOURCES)}"
        )
    SOURCES[settings.source].check(settings)


def open_source(settings: DataSettings) -> Source:
    """The source that `data.source` names.

    Raises:
      ConfigError: There is no such source, or `data.path` cannot be used.
      DataError: The data there cannot be used.
    """
    check_source(settings)
    return SOURCES[settings.source].open(settings)


def unwatched(settings: DataSettings) -> bytes:
    """What the examples depend on besides the files that TFX watches itself."""
    return SOURCES[settings.source].unwatched(settings)
