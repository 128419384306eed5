"""scikit-learn's handwritten digits, which need no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from modules.data.sources.protocol import Files, Part, Prepared, Row, Summarize
from modules.data.spec import Kind
from modules.errors import ConfigError
from modules.settings import DataSettings

if TYPE_CHECKING:
    import apache_beam as beam


class Digits:
    """1,797 handwritten digits, 8x8 gray levels 0 to 16, as PNG with 0 to 255."""

    content: ClassVar[str | None] = "image"
    kinds: ClassVar[dict[str, Kind]] = {"image": "image"}

    @staticmethod
    def check(settings: DataSettings) -> None:
        """Refuses a path, and what would need other features."""
        for name in ("path", "splits", "unlabeled", "rename", "label", "id", "group", "weight"):
            if value := getattr(settings, name):
                raise ConfigError(
                    f"data.{name} must not be set when data.source is digits, got {value!r}; "
                    f"set another data.source or remove data.{name}"
                )

    @staticmethod
    def look(settings: DataSettings) -> tuple[str, ...]:
        """The image alone."""
        return ("image",)

    @staticmethod
    def files(settings: DataSettings) -> Files | None:
        """None."""
        return None

    @staticmethod
    def unwatched(settings: DataSettings) -> bytes:
        """Nothing: the digits come with a package."""
        return b""

    @staticmethod
    def prepare(settings: DataSettings, parts: Sequence[Part], summarize: Summarize) -> Prepared:
        """Nothing."""
        return Prepared(parts)

    @staticmethod
    def rows(settings: DataSettings, part: Part, state: Any) -> beam.PTransform:
        """One row per digit; the name is its index in the data set."""
        import apache_beam as beam

        return (
            beam.Create(range(len(_load().target)))
            | "Spread" >> beam.Reshuffle()
            | "ReadDigits" >> beam.Map(_row)
        )


def digits() -> Iterator[tuple[bytes, int]]:
    """PNG and label of every digit, in scikit-learn's order."""
    for index, label in enumerate(_load().target):
        yield png(index), int(label)


def png(index: int) -> bytes:
    """PNG of the digit with that index."""
    import numpy as np
    import tensorflow as tf

    image = _load().images[index]
    gray = np.rint(image * (255 / 16)).astype(np.uint8)
    return tf.io.encode_png(gray[..., None]).numpy()


def _row(index: int) -> list[Row]:
    from modules.data.values import features_of

    label = str(_load().target[index])
    return [Row(f"digits/{index}", features_of({"image": png(index), "label": label}))]


@cache
def _load() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()
