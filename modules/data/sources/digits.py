"""scikit-learn's handwritten digits, which need no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from modules.data.sources.protocol import Item
from modules.errors import ConfigError
from modules.settings import DataSettings


@dataclass(frozen=True)
class Digits:
    """1,797 handwritten digits, 8x8 gray levels 0 to 16, as PNG with 0 to 255."""

    pattern: ClassVar[str | None] = None
    labels: tuple[str, ...] = tuple(str(digit) for digit in range(10))
    features: tuple[str, ...] = ()

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Refuses a path."""
        if settings.path:
            raise ConfigError(
                f"data.path must not be set when data.source is digits, got {settings.path!r}; "
                "set data.source: image_folder or remove data.path"
            )

    @classmethod
    def open(cls, settings: DataSettings) -> Digits:
        """Needs nothing of the settings."""
        return cls()

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """Nothing: the digits come with a package."""
        return b""

    def items(self) -> list[Item]:
        """One item per digit; the name is its index in the data set."""
        return [Item(f"digits/{index}", int(label)) for index, label in enumerate(_load().target)]

    def read(self, name: str) -> bytes:
        """PNG of the digit with that index."""
        import numpy as np
        import tensorflow as tf

        image = _load().images[int(name.rsplit("/", 1)[1])]
        gray = np.rint(image * (255 / 16)).astype(np.uint8)
        return tf.io.encode_png(gray[..., None]).numpy()


@cache
def _load() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()
