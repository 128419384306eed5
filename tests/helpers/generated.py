"""Runs ExampleGen's executor on the component's own properties, and reads what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.example_gen.component import example_gen
from modules.data.spec import Dataset, read_dataset
from modules.data.values import values
from modules.settings import DataSettings


@dataclass(frozen=True)
class Generated:
    """An Examples artifact.

    Attributes:
      artifact: TFX's.
      splits: The examples by split, each a dictionary of lists of values.
    """

    artifact: Any
    splits: dict[str, list[dict[str, list[Any]]]]

    @property
    def dataset(self) -> Dataset:
        """What is in `dataset.json`."""
        return read_dataset(self.artifact.uri)

    def values(self, split: str, name: str) -> list[Any]:
        """The first value of a feature in every example of a split; None where it is missing."""
        return [example.get(name, [None])[0] for example in self.splits[split]]

    def all(self, name: str) -> list[Any]:
        """The first value of a feature in every example."""
        return [value for split in self.splits for value in self.values(split, name)]


def generate(
    settings: DataSettings, directory: Path, executor: Any, task: Any = None, **properties: Any
) -> Generated:
    """Run ExampleGen.

    Args:
      settings: What to read.
      directory: Of the artifact.
      executor: Of the component.
      task: As configured.
      **properties: Execution properties instead of the component's, as a driver sets them.
    """
    import json

    from tfx.types import standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = str(directory)
    directory.mkdir(parents=True, exist_ok=True)
    own = dict(example_gen(settings, "digest", task=task).exec_properties)
    executor.Do({}, {"examples": [artifact]}, own | properties)
    splits = {
        name: read_split(directory / f"Split-{name}") for name in json.loads(artifact.split_names)
    }
    return Generated(artifact, splits)


def read_split(directory: Path) -> list[dict[str, list[Any]]]:
    """The examples of a split; bytes that are text are read as such."""
    import tensorflow as tf

    files = sorted(str(path) for path in directory.iterdir())
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [_plain(tf.train.Example.FromString(record)) for record in records.as_numpy_iterator()]


def _plain(example: Any) -> dict[str, list[Any]]:
    return {
        name: [_text(value) for value in values(feature)]
        for name, feature in example.features.feature.items()
    }


def _text(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
