"""The specification of plain images, as Transform writes it for a classification."""

from __future__ import annotations

from modules.data.spec import DataSpec, InputSpec, OutputSpec
from modules.settings import ImageFeature


def image_spec(size: int = 8, channels: int = 1, classes: int = 10) -> DataSpec:
    """One input `image`, `uint8 [size, size, channels]`, and so many classes "0", "1", ..."""
    return DataSpec(
        inputs=(
            InputSpec(
                name="image",
                kind="image",
                feature="image",
                shape=(size, size, channels),
                dtype="uint8",
            ),
        ),
        output=OutputSpec(
            task="classification" if classes != 2 else "binary",
            size=classes,
            classes=tuple(map(str, range(classes))),
        ),
        features={"image": ImageFeature(size=size, channels=channels)},
    )
