"""Builders for texts: the ids of their tokens in, padded with 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modules.data.spec import InputSpec, OutputSpec
from modules.errors import ModelError
from modules.models.inputs import Inputs, answer, build, keras_inputs, require, tokens

if TYPE_CHECKING:
    import keras


def text_cnn(
    inputs: Inputs,
    output: OutputSpec,
    width: int = 32,
    filters: int = 64,
    kernels: Sequence[int] = (2, 3, 4),
    dropout: float = 0.0,
) -> keras.Model:
    """Student for texts: the strongest answer of each convolution (Kim 2014, 1408.5882).

    Args:
      inputs: One text.
      output: What to answer.
      width: Of a token's embedding.
      filters: Patterns that are looked for, of each length.
      kernels: Lengths of the patterns in tokens.
      dropout: Share of the pooled features dropped while training.
    """
    tensors, spec = _one_text(inputs, "text_cnn")
    x = convolved_features(spec, tensors[spec.name], width, filters, kernels)
    return build("text_cnn", tensors, answer(x, output, dropout))


def convolved_features(
    spec: InputSpec,
    ids: Any,
    width: int = 32,
    filters: int = 64,
    kernels: Sequence[int] = (2, 3, 4),
    prefix: str = "",
) -> Any:
    """What `text_cnn` makes of a text; the names of layers begin with `prefix`."""
    from keras import layers

    x, present = tokens(spec, ids, width)
    # Zeros at padding, as beyond the ends, before and after: padding is no evidence.
    x = layers.Multiply()([x, present])
    found = []
    for kernel in kernels:
        name = f"{prefix}convolution{kernel}"
        y = layers.Conv1D(filters, kernel, padding="same", activation="relu", name=name)(x)
        found.append(layers.GlobalMaxPooling1D()(layers.Multiply()([y, present])))
    if len(found) == 1:
        return layers.Activation("linear", name=f"{prefix}features")(found[0])
    return layers.Concatenate(name=f"{prefix}features")(found)


def text_transformer(
    inputs: Inputs,
    output: OutputSpec,
    width: int = 64,
    blocks: int = 2,
    heads: int = 4,
    dropout: float = 0.1,
) -> keras.Model:
    """Teacher for texts: a small transformer encoder, normalization first (1706.03762, 2002.04745).

    Its normalization has no int8 form in TFLite: export it as float32, float16 or dynamic_range.

    Args:
      inputs: One text.
      output: What to answer.
      width: Of a token's vector; the inner dense layers are four times as wide.
      blocks: Number of layers of attention.
      heads: Of the attention; they divide `width`.
      dropout: Share of each block's and of the pooled features' output dropped while training.
    """
    from keras import layers

    if width % heads:
        raise ModelError(
            f"text_transformer: heads must divide width, got heads: {heads} and width: {width}"
        )
    tensors, spec = _one_text(inputs, "text_transformer")
    from modules.models.layers import Attention, MeanOfPresent, Positions

    x, present = tokens(spec, tensors[spec.name], width)
    x = layers.Dropout(dropout)(Positions(name="positions")(x))
    for index in range(1, blocks + 1):
        y = Attention(heads, name=f"attention{index}")([layers.LayerNormalization()(x), present])
        x = layers.Add()([x, layers.Dropout(dropout)(y)])
        y = layers.Dense(4 * width, activation="relu")(layers.LayerNormalization()(x))
        y = layers.Dropout(dropout)(layers.Dense(width)(y))
        x = layers.Add(name=f"block{index}")([x, y])
    x = MeanOfPresent(name="features")([layers.LayerNormalization()(x), tensors[spec.name]])
    return build("text_transformer", tensors, answer(x, output, dropout))


def _one_text(inputs: Inputs, builder: str) -> tuple[dict[str, Any], InputSpec]:
    require(inputs, ["text"], builder, most=1)
    (spec,) = inputs.values()
    return keras_inputs(inputs), spec
