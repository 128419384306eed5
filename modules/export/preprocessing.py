"""How a raw example becomes the inputs of a TFLite file, as files that travel with it.

`preprocessing.json` holds the specification, the raw features, and the names of the vocabularies
beside it. It goes into the manifest of a push as it is.
"""

from __future__ import annotations

import json
import os
import re

import tensorflow_transform as tft

from modules import files
from modules.data.features.vocabularies import vocabulary
from modules.data.spec import DataSpec
from modules.export.layout import PREPROCESSING_FILE
from modules.export.raw_features import RawFeature, described
from modules.settings import CategoryFeature, TextFeature


def write_preprocessing(
    transform_output: tft.TFTransformOutput,
    spec: DataSpec,
    features: list[RawFeature],
    directory: str,
) -> None:
    """Write `preprocessing.json` and a `vocabulary_<feature>.txt` per category and text.

    Args:
      transform_output: Whose vocabularies they are.
      spec: What the models take.
      features: The raw features.
      directory: A local one.
    """
    os.makedirs(directory, exist_ok=True)
    vocabularies: dict[str, dict[str, str]] = {}
    for name, settings in spec.features.items():
        if isinstance(settings, CategoryFeature | TextFeature):
            taken = {each["file"] for each in vocabularies.values()}
            path = f"{directory}/{(file := _file_name(name, taken))}"
            lines = vocabulary(settings, name, transform_output)
            files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
            vocabularies[name] = {"file": file, "sha256": files.sha256(path)}
    preprocessing = {
        "spec": spec.model_dump(mode="json"),
        "raw": described(features),
        "vocabularies": vocabularies,
    }
    text = json.dumps(preprocessing, indent=2, ensure_ascii=False)
    files.write_bytes(f"{directory}/{PREPROCESSING_FILE}", text.encode())


def _file_name(feature: str, taken: set[str]) -> str:
    """A name that every file system takes, and no other feature has."""
    name = "vocabulary_" + re.sub(r"[^\w-]", "_", feature)
    while f"{name}.txt" in taken:
        name += "_"
    return f"{name}.txt"
