"""Vocabularies of categories and texts: their sizes, and the files that travel with the model."""

from __future__ import annotations

from typing import Any

from modules.data.features.category import vocabulary_name
from modules.data.features.text import read_vocabulary
from modules.data.spec import DataSpec
from modules.settings import CategoryFeature, FeatureSettings, TextFeature


def vocabulary(settings: FeatureSettings, feature: str, transform_output: Any) -> list[str]:
    """The known values of a category, or tokens of a text, in the order of their ids."""
    if isinstance(settings, TextFeature) and settings.vocabulary_file:
        return read_vocabulary(settings.vocabulary_file)
    name = vocabulary_name(feature)
    return [each.decode() for each in transform_output.vocabulary_by_name(name)]


def vocabulary_size(settings: FeatureSettings, feature: str, transform_output: Any) -> int:
    """Number of ids: padding, unknown ones and the vocabulary."""
    unknown = settings.oov_buckets if isinstance(settings, CategoryFeature) else 1
    return 1 + unknown + len(vocabulary(settings, feature, transform_output))


def vocabularies(spec: DataSpec, transform_output: Any) -> dict[str, list[str]]:
    """All vocabularies by raw feature."""
    return {
        name: vocabulary(settings, name, transform_output)
        for name, settings in spec.features.items()
        if settings.kind in ("category", "text")
    }
