"""What the models take and answer: written with the transform graph, read by every later node.

The inputs are the transformed features. With `data.features`, each has a kind; with a
`preprocessing_fn` of the user, the transformed schema says what there is.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import ConfigDict, Field

from modules import files
from modules.errors import DataError
from modules.settings import FeatureSettings, Settings, Task

Kind = Literal["image", "numeric", "category", "text", "tensor"]
# Features that the pipeline writes itself.
LABEL, CLASS_NAME, EXAMPLE_ID = "label", "class_name", "example_id"
EXAMPLE_WEIGHT = "example_weight"
OURS = (LABEL, CLASS_NAME, EXAMPLE_ID, EXAMPLE_WEIGHT)
SPEC_FILE = "data_spec.json"
DATASET_FILE = "dataset.json"


class _FromData(Settings):
    """What the data say may be of any length: a class' name, if texts are the labels."""

    model_config = ConfigDict(str_max_length=None)


class InputSpec(_FromData):
    """One input of the models: a transformed feature.

    Attributes:
      name: Of the input in the models, the TFLite files and the transformed examples.
      kind: `tensor` is whatever the user's `preprocessing_fn` made.
      feature: The raw feature it is made of.
      shape: Of one example, without the batch; `()` is a scalar.
      dtype: As the models take it.
      vocabulary_size: Of `category` and `text`: ids are below it; 0 is padding or a missing value.
      mean: Of `numeric`: the models compute with `(value - mean) / deviation`.
      deviation: Above 0.
      boundaries: Of `numeric` with the scale `quantile`: ascending; a value becomes its position
        among them, 0 to 1, linear between two.
    """

    name: str
    kind: Kind
    feature: str
    shape: tuple[int, ...]
    dtype: Literal["uint8", "int32", "float32"]
    vocabulary_size: int | None = None
    mean: float = 0.0
    deviation: float = 1.0
    boundaries: tuple[float, ...] = ()


class OutputSpec(_FromData):
    """What the models answer.

    Attributes:
      task: What the answer means.
      size: Number of outputs: classes, labels, or 1 value. A binary model answers with 2 logits;
        a builder may give one, which then becomes the second of (0, logit).
      classes: Names, in the order of the outputs; empty for regression.
      mean: Of regression: mean of the training labels, by which the models scale their answer.
      deviation: Their standard deviation, above 0.
    """

    task: Task
    size: int
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0


class Dataset(_FromData):
    """What ExampleGen found out about all examples; `dataset.json` in the Examples artifact.

    Attributes:
      output: What there is to predict.
      weighted: Whether every labeled example has a weight.
      kinds: Kinds of features that the source itself knows, by name.
      image_sizes: Of the images of a feature a usual side and the channels, by name.
      leaks: Features whose value says the label, in all training examples.
      examples: Number of examples by split.
      class_counts: Labeled examples by split and class name; empty for regression.
    """

    output: OutputSpec
    weighted: bool = False
    kinds: dict[str, Kind] = Field({})
    image_sizes: dict[str, tuple[int, int]] = Field({})
    leaks: tuple[str, ...] = ()
    examples: dict[str, int] = Field({})
    class_counts: dict[str, dict[str, int]] = Field({})


class DataSpec(_FromData):
    """Everything a model and its reader must know; `data_spec.json` beside the transform graph.

    Attributes:
      inputs: In the order of their names.
      output: What is predicted.
      weighted: Whether the transformed examples have a weight.
      features: How each raw feature becomes inputs, by its name; empty with a `preprocessing_fn`.
      class_weights: Of the classes in training, in their order; empty: all alike.
    """

    inputs: tuple[InputSpec, ...]
    output: OutputSpec
    weighted: bool = False
    features: dict[str, FeatureSettings] = Field({})
    class_weights: tuple[float, ...] = ()

    @property
    def by_name(self) -> dict[str, InputSpec]:
        """The inputs by name."""
        return {each.name: each for each in self.inputs}

    @property
    def images(self) -> tuple[InputSpec, ...]:
        """The inputs that are images."""
        return tuple(each for each in self.inputs if each.kind == "image")


def write_json(value: Settings, directory: str, name: str) -> None:
    """Write a specification into an artifact's directory, local or at a URL."""
    files.write_bytes(f"{directory.rstrip('/')}/{name}", value.model_dump_json(indent=2).encode())


def read_spec(transform_graph: str) -> DataSpec:
    """The specification beside a transform graph.

    Raises:
      DataError: There is none that can be read.
    """
    return DataSpec.model_validate(_read(transform_graph, SPEC_FILE, "Transform"))


def read_dataset(examples: str) -> Dataset:
    """What ExampleGen wrote of its examples.

    Raises:
      DataError: There is nothing that can be read.
    """
    return Dataset.model_validate(_read(examples, DATASET_FILE, "ExampleGen"))


def _read(directory: str, name: str, node: str) -> Any:
    path = f"{directory.rstrip('/')}/{name}"
    try:
        return json.loads(files.read_bytes(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{node}'s {path} cannot be read ({error})", damaged=directory) from error
