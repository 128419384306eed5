"""Transform graphs of raw rows with features of every kind, with their specification."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transforming import transform

from modules.data.spec import Dataset, DataSpec, OutputSpec
from modules.settings import (
    CategoryFeature,
    DataSettings,
    FeatureSettings,
    ImageFeature,
    NumericFeature,
    TextFeature,
)

Row = Mapping[str, Sequence[Any]]
FEATURES: dict[str, FeatureSettings] = {
    "age": NumericFeature(),
    "petal length (cm)": NumericFeature(),
    "income": NumericFeature(scale="log"),
    "score": NumericFeature(scale="quantile"),
    "city": CategoryFeature(),
    "zip": CategoryFeature(oov_buckets=5),
    "tags": CategoryFeature(max_values=3),
    "review": TextFeature(length=6),
    "code": TextFeature(tokens="characters", length=4),
    "photo": ImageFeature(size=(4, 6), channels=3),
}


def png(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> bytes:
    """An image file."""
    import tensorflow as tf

    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return bytes(tf.io.encode_png(pixels).numpy())


def make_rows(count: int, seed: int = 0) -> list[dict[str, list[Any]]]:
    """Raw rows; what may be missing is missing in some."""
    rng = np.random.default_rng(seed)
    words = ["good", "Bad", "film,", "a", "the", "Größe", "plot!", "(and)", "café"]
    rows = []
    for _ in range(count):
        some = rng.random(5) > 0.2
        row: dict[str, list[Any]] = {
            "age": [int(rng.integers(1, 90))] if some[0] else [],
            "petal length (cm)": [float(np.float32(rng.normal(50, 3)))],
            "income": [float(np.float32(rng.lognormal(8)))] if some[1] else [],
            "score": [float(np.float32(rng.normal()))],
            "city": [[b"Bern", b"Ulm", "Zürich".encode()][rng.integers(3)]] if some[2] else [],
            "zip": [int(rng.integers(1000, 1010))],
            "tags": [[b"red", b"green", b"blue"][at] for at in rng.integers(0, 3, rng.integers(4))],
            "review": [" ".join(rng.choice(words, rng.integers(1, 10))).encode()]
            if some[3]
            else [],
            "code": ["".join(rng.choice(list("abcü"), 5)).encode()],
            "photo": [png(rng, 8, 9)],
        }
        rows.append(row)
    return rows


def write_graph(
    directory: Path, rows: Sequence[Row], output: OutputSpec, names: Sequence[str] = ()
) -> DataSpec:
    """Analyze rows, and write the transform graph with its specification.

    Args:
      directory: Where it goes.
      rows: Of the training examples.
      output: What is predicted; the label itself plays no part.
      names: Of the features, default all.
    """
    features = {name: FEATURES[name] for name in names or FEATURES}
    settings = DataSettings(source="csv", label="label", features=features)
    label: Any = 0.0 if output.task == "regression" else 0
    labels = [label] * output.size if output.task == "multilabel" else [label]
    complete = [
        {name: row[name] for name in features} | {"label": labels, "example_id": [b"%064d" % index]}
        for index, row in enumerate(rows)
    ]
    made = transform(complete, settings, Dataset(output=output), directory.parent / "transform")
    shutil.copytree(made.graph_dir, directory, dirs_exist_ok=True)
    return made.spec
