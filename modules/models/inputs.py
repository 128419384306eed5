"""What the builders have in common: from inputs to vectors, and from a vector to the answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from modules.data.spec import InputSpec, Kind, OutputSpec
from modules.errors import ModelError

if TYPE_CHECKING:
    import keras

Inputs = Mapping[str, InputSpec]
TABLE: tuple[Kind, ...] = ("numeric", "category", "tensor")
# Up to here a one-hot vector is hardly wider than an embedding, and needs no training.
_ONE_HOT = 8
_WIDEST_EMBEDDING = 32
# What TensorFlow does not take in the name of a scope.
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")


def describe(inputs: Inputs) -> str:
    """The inputs in words, for messages: `image (image [8, 8, 1])`."""
    return ", ".join(f"{name} ({spec.kind} {list(spec.shape)})" for name, spec in inputs.items())


def require(inputs: Inputs, kinds: Collection[Kind], builder: str, most: int | None = None) -> None:
    """Refuse inputs of which a builder can make nothing.

    Args:
      inputs: By name.
      kinds: That the builder takes.
      builder: Its name.
      most: How many inputs it takes.

    Raises:
      ModelError: Another kind of input, or too many.
    """
    fits = all(spec.kind in kinds for spec in inputs.values())
    if fits and inputs and len(inputs) <= (most or len(inputs)):
        return
    number = "one input" if most == 1 else "inputs"
    raise ModelError(
        f"{builder} takes {number} of kind {' or '.join(kinds)}, but the data has "
        f"{describe(inputs)}; choose another model (mixture takes all kinds), or leave features "
        "out with data.exclude"
    )


def keras_inputs(inputs: Inputs) -> dict[str, Any]:
    """A `keras.Input` for each, by name."""
    import keras

    return {
        name: keras.Input(shape=spec.shape, dtype=spec.dtype, name=name)
        for name, spec in inputs.items()
    }


def table(inputs: Inputs, tensors: Mapping[str, Any]) -> Any:
    """Numbers, categories and tensors as one vector per example, `[b, n]`.

    Numbers are standardized. A category is a one-hot vector, or an embedding where there are many;
    several values are averaged. Tensors are flattened.
    """
    from keras import layers

    parts = [
        category(spec, tensors[name]) if spec.kind == "category" else numbers(spec, tensors[name])
        for name, spec in inputs.items()
        if spec.kind in TABLE
    ]
    return parts[0] if len(parts) == 1 else layers.Concatenate()(parts)


def numbers(spec: InputSpec, tensor: Any) -> Any:
    """`(value - mean) / deviation`, flattened to `[b, n]`."""
    from modules.models.layers import Standardization

    return Standardization(spec.mean, spec.deviation, name=layer_name(spec, "standardized"))(tensor)


def layer_name(spec: InputSpec, what: str) -> str:
    """A name for a layer of an input. TensorFlow takes few characters, a column may have any."""
    plain = _FOREIGN.sub("_", spec.name)
    if plain != spec.name:
        # Another input may differ in nothing else.
        plain = f"input_{plain}_{hashlib.sha256(spec.name.encode()).hexdigest()[:6]}"
    return f"{plain}_{what}"


def category(spec: InputSpec, tensor: Any) -> Any:
    """Ids as a vector `[b, width]`; of several ids, the mean of those that are not padding."""
    from keras import layers

    from modules.models.layers import MeanOfPresent, OneHot

    size = _vocabulary_size(spec)
    if size <= _ONE_HOT:
        vectors = OneHot(size, name=layer_name(spec, "one_hot"))(tensor)
    else:
        width = embedding_width(size)
        vectors = layers.Embedding(size, width, name=layer_name(spec, "embedding"))(tensor)
    if not spec.shape:
        return vectors
    return MeanOfPresent(name=layer_name(spec, "mean"))([vectors, tensor])


def embedding_width(vocabulary_size: int) -> int:
    """Width of an embedding: `1.6 v^0.56`, the rule of thumb of the fastai library, up to 32."""
    return min(_WIDEST_EMBEDDING, round(1.6 * vocabulary_size**0.56))


def tokens(spec: InputSpec, tensor: Any, width: int) -> tuple[Any, Any]:
    """A text's ids `int32 [b, length]` as vectors, and where there are any.

    Returns:
      `[b, length, width]`, and `[b, length, 1]` of 1, at padding 0.
    """
    from keras import layers

    from modules.models.layers import Present

    size = _vocabulary_size(spec)
    vectors = layers.Embedding(size, width, name=layer_name(spec, "embedding"))(tensor)
    return vectors, Present(name=layer_name(spec, "present"))(tensor)


def answer(x: Any, output: OutputSpec, dropout: float = 0.0) -> Any:
    """The end of a model: logits, or the values of a regression in the label's own unit.

    Args:
      x: Features `[b, n]`.
      output: What is to be answered.
      dropout: Share of the features dropped while training.

    Returns:
      `[b, output.size]`, float32 whatever the policy: half precision loses the small classes.
    """
    from keras import layers

    if dropout:
        x = layers.Dropout(dropout)(x)
    if output.task != "regression":
        return layers.Dense(output.size, dtype="float32", name="logits")(x)
    x = layers.Dense(output.size, dtype="float32", name="scaled_values")(x)
    return layers.Rescaling(output.deviation, output.mean, dtype="float32", name="values")(x)


def build(name: str, tensors: Mapping[str, Any], x: Any) -> keras.Model:
    """The model of a name, from inputs to an answer.

    Raises:
      ModelError: An input is called as a layer is.
    """
    import keras

    try:
        return keras.Model(dict(tensors), x, name=name)
    except ValueError as error:
        taken = [each for each in tensors if f'name "{each}" is used' in str(error)]
        if not taken:
            raise
        raise ModelError(
            f"{name} has a layer called {taken[0]!r}, so no input can be called so; give the "
            "feature another name with data.rename"
        ) from error


def _vocabulary_size(spec: InputSpec) -> int:
    if spec.vocabulary_size is None:
        raise ModelError(
            f"the {spec.kind} input {spec.name!r} must have a vocabulary_size, but has none; run "
            "Transform again"
        )
    return spec.vocabulary_size
