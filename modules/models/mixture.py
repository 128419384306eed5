"""A builder for any mixture of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.models.image import separable_features
from modules.models.inputs import TABLE, Inputs, answer, build, keras_inputs, table
from modules.models.tabular import dense_features
from modules.models.text import convolved_features

if TYPE_CHECKING:
    import keras


def mixture(
    inputs: Inputs,
    output: OutputSpec,
    image: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    table_units: Sequence[int] = (32,),
    units: Sequence[int] = (64,),
    dropout: float = 0.0,
) -> keras.Model:
    """Student or teacher for examples of several kinds: a tower for each, then dense layers.

    Args:
      inputs: Of any kinds and number.
      output: What to answer.
      image: `filters` and `blocks` of `separable_cnn`, for every image.
      text: `width`, `filters` and `kernels` of `text_cnn`, for every text.
      table_units: Width of each dense layer on all other inputs together.
      units: Width of each dense layer on the towers' outputs together.
      dropout: Share of the output of these layers dropped while training.
    """
    from keras import layers

    tensors = keras_inputs(inputs)
    towers = []
    for name, spec in inputs.items():
        if spec.kind == "image":
            parameters = {"filters": (16, 32, 64)} | dict(image or {})
            towers.append(separable_features(tensors[name], prefix=f"{name}_", **parameters))
        elif spec.kind == "text":
            towers.append(
                convolved_features(spec, tensors[name], prefix=f"{name}_", **dict(text or {}))
            )
    if any(spec.kind in TABLE for spec in inputs.values()):
        towers.append(dense_features(table(inputs, tensors), table_units, prefix="table_"))
    x = towers[0] if len(towers) == 1 else layers.Concatenate(name="towers")(towers)
    return build("mixture", tensors, answer(dense_features(x, units, dropout), output))
