"""The protocol of a source of labeled images.

A source first lists cheap references (`items`), which can be checked and distributed to Beam
workers, and then reads one image at a time (`read`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from modules.settings import DataSettings


@dataclass(frozen=True)
class Item:
    """A reference to one image.

    Attributes:
      name: Finds and names it.
      label: An index of `Source.labels`.
      features: Values of `Source.features`, in their order.
    """

    name: str
    label: int
    features: tuple[str, ...] = ()


class Source(Protocol):
    """A data set of labeled images, small enough to pickle to a Beam worker.

    Attributes:
      pattern: The files that TFX watches for changes, relative to `data.path`; None if the source
        needs no files.
    """

    pattern: ClassVar[str | None]

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Refuses settings that the source cannot use, without looking at any data.

        Called whenever a configuration is validated, so nothing heavy may be imported.

        Raises:
          ConfigError: Naming the key.
        """

    @classmethod
    def open(cls, settings: DataSettings) -> Self:
        """The source; settings have been checked.

        Raises:
          ConfigError: `data.path` cannot be used.
          DataError: What is there cannot be used.
        """

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """What the examples depend on besides the files that TFX watches itself."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; an item's label is a position among them."""

    @property
    def features(self) -> tuple[str, ...]:
        """Further features of every example, by which the judgment can be sliced."""

    def items(self) -> list[Item]:
        """Every image, in a fixed order."""

    def read(self, name: str) -> bytes:
        """The encoded PNG or JPEG image of one item."""
