"""Keras layers of the builders: operations that TFLite has as builtins, for integers too.

Divisions and casts of integers to floats have no int8 form; constants are looked up instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

_PACKAGE = "tfx_distill"
# Of gradients; docs/decisions.md has what was tried.
_DIRECTIONS, _GRIDS, _SMALL_SIDE = 12, (6, 3), 32


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Standardization(layers.Layer):
    """`(value - mean) / deviation` of every value, flattened to `[b, n]`.

    In float32 whatever the policy: raw numbers may be larger than float16 can tell.

    Args:
      mean: Subtracted first, so that a large mean costs no digits.
      deviation: Above 0.
      **kwargs: As of every layer.
    """

    def __init__(self, mean: float = 0.0, deviation: float = 1.0, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.mean, self.deviation = mean, deviation

    def call(self, inputs: Any) -> Any:
        """`[b, …]` numbers to float32 `[b, n]`."""
        size = int(np.prod(inputs.shape[1:]))
        x = ops.cast(ops.reshape(inputs, (-1, size)), "float32")
        if (self.mean, self.deviation) == (0.0, 1.0):
            return x
        return (x - self.mean) * (1 / self.deviation)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class OneHot(layers.Layer):
    """Ids `int32 [b, …]` to float vectors `[b, …, size]` of zeros with a single 1.

    Args:
      size: Number of different ids.
      **kwargs: As of every layer.
    """

    def __init__(self, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = size

    def call(self, ids: Any) -> Any:
        """Look the rows up."""
        return ops.take(ops.eye(self.size, dtype=self.compute_dtype), ids, axis=0)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Present(layers.Layer):
    """1 where there is an id, 0 at padding: ids `int32 [b, k]` to `[b, k, 1]`."""

    def call(self, ids: Any) -> Any:
        """Look up 0 or 1."""
        return _look_up([[0.0], [1.0]], ops.minimum(ids, 1), self.compute_dtype)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class MeanOfPresent(layers.Layer):
    """The mean of vectors `[b, k, width]` whose ids `[b, k]` are not padding, or 0."""

    def call(self, inputs: Any) -> Any:
        """A sum with weights that are looked up."""
        vectors, ids = inputs
        present = ops.minimum(ids, 1)
        most = vectors.shape[1]
        inverse = [[0.0], *([1 / number] for number in range(1, most + 1))]
        weights = _look_up([[0.0], [1.0]], present, self.compute_dtype)
        weights *= _look_up(inverse, ops.sum(present, 1, keepdims=True), self.compute_dtype)
        return ops.sum(vectors * weights, axis=1)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Positions(layers.Layer):
    """Adds a learned vector for each position to `[b, length, width]`."""

    def build(self, shape: Any) -> None:
        """One vector per position."""
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x: Any) -> Any:
        """The sum."""
        return x + ops.cast(self.vectors, self.compute_dtype)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Attention(layers.Layer):
    """Self-attention of several heads over what is not padding.

    Keras' own contracts with einsum, for which TFLite has no builtin when the batch is open.

    Args:
      heads: They divide the width.
      **kwargs: As of every layer.
    """

    def __init__(self, heads: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shapes: Any) -> None:
        """Queries, keys and values from one matrix."""
        length, width = shapes[0][1:]
        self._split = (-1, length, self.heads, width // self.heads)
        self.project = layers.Dense(3 * width, dtype=self.dtype_policy, name="project")
        self.project.build(shapes[0])
        self.join = layers.Dense(width, dtype=self.dtype_policy, name="join")
        self.join.build(shapes[0])

    def call(self, inputs: Any) -> Any:
        """`[b, length, width]` and `[b, length, 1]`, 0 at padding, to `[b, length, width]`."""
        x, present = inputs
        query, key, value = (
            ops.transpose(ops.reshape(part, self._split), (0, 2, 1, 3))
            for part in ops.split(self.project(x), 3, axis=-1)
        )
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * self._split[-1] ** -0.5
        # Far below every score, and still a float16.
        scores += (ops.transpose(present, (0, 2, 1))[:, None] - 1) * 1e4
        mixed = ops.matmul(ops.softmax(scores), value)
        return self.join(ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, *x.shape[1:])))

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class DecisionTrees(layers.Layer):
    """The mean of what decision trees answer: `[b, n]` to float32 `[b, size]`.

    All trees are walked at once, a level in each step. A leaf has itself as child, so that those
    that are reached early are stayed at.

    Args:
      trees: Their number.
      nodes: Of a tree, at most; the first one is the root.
      depth: Steps from the root.
      size: Numbers in an answer.
      **kwargs: As of every layer.
    """

    def __init__(self, trees: int, nodes: int, depth: int, size: int, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.trees, self.nodes, self.depth, self.size = trees, nodes, depth, size

    def build(self, shape: Any) -> None:
        """Column, threshold, children and answer of all nodes, tree behind tree."""
        count = self.trees * self.nodes

        def weight(name: str, dtype: str, shape: tuple[int, ...] = (count,)) -> Any:
            return self.add_weight(
                shape=shape, dtype=dtype, initializer="zeros", trainable=False, name=name
            )

        self.columns = weight("columns", "int32")
        self.thresholds = weight("thresholds", "float32")
        self.left, self.right = weight("left", "int32"), weight("right", "int32")
        self.answers = weight("answers", "float32", (count, self.size))

    def call(self, x: Any) -> Any:
        """From the roots to the leaves."""
        roots = ops.arange(self.trees, dtype="int32")[None] * self.nodes
        at = ops.broadcast_to(roots, (ops.shape(x)[0], self.trees))
        for _ in range(self.depth):
            value = ops.take_along_axis(x, ops.take(self.columns, at), axis=1)
            goes_left = value <= ops.take(self.thresholds, at)
            at = ops.where(goes_left, ops.take(self.left, at), ops.take(self.right, at))
        return ops.mean(ops.take(self.answers, at, axis=0), axis=1)

    def set_trees(self, trees: Sequence[Any], answers: Sequence[np.ndarray]) -> None:
        """Take over grown trees.

        Args:
          trees: `sklearn.tree.Tree`s, no more and no larger than the layer's.
          answers: Of each tree's nodes, `[nodes, size]`.
        """
        columns, left, right = np.zeros((3, self.trees, self.nodes), np.int32)
        thresholds = np.zeros((self.trees, self.nodes), np.float32)
        found = np.zeros((self.trees, self.nodes, self.size), np.float32)
        for at, (tree, answer) in enumerate(zip(trees, answers, strict=True)):
            own, first = np.arange(tree.node_count), at * self.nodes
            leaf = tree.children_left < 0
            columns[at, own] = np.where(leaf, 0, tree.feature)
            # Rounded down, so that a float32 is on the same side as it was of the float64.
            nearest = tree.threshold.astype(np.float32)
            lower = np.nextafter(nearest, np.float32(-np.inf))
            thresholds[at, own] = np.where(nearest > tree.threshold, lower, nearest)
            left[at, own] = first + np.where(leaf, own, tree.children_left)
            right[at, own] = first + np.where(leaf, own, tree.children_right)
            found[at, own] = answer
        values = (columns, thresholds, left, right, found)
        for variable, value in zip(self.weights, values, strict=True):
            variable.assign(value.reshape(variable.shape))

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        own = {name: getattr(self, name) for name in ("trees", "nodes", "depth", "size")}
        return {**super().get_config(), **own}


class WeightedTerms(layers.Layer):
    """A linear function of a text's tf-idf: int32 `[b, n]` to float32 `[b, size]`.

    A term counts as often as it is there, times its weight `idf`; the text's terms together have
    the length 1. Ids of 0 are padding.

    Args:
      vocabulary: Number of ids.
      size: Numbers in an answer.
      strength: What it is fitted with.
      **kwargs: As of every layer.
    """

    def __init__(self, vocabulary: int, size: int, strength: float, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.vocabulary, self.size, self.strength = vocabulary, size, strength

    def build(self, shape: Any) -> None:
        """The terms' weights, what they answer, and what no term answers."""

        def weight(name: str, shape: tuple[int, ...]) -> Any:
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.idf = weight("idf", (self.vocabulary,))
        self.answers = weight("answers", (self.vocabulary, self.size))
        self.bias = weight("bias", (self.size,))

    def call(self, ids: Any) -> Any:
        """Sums over places: a term that is there twice is met twice."""
        terms = ops.take(self.idf, ids) * ops.cast(ops.not_equal(ids, 0), "float32")
        answers = ops.sum(ops.take(self.answers, ids, axis=0) * terms[..., None], axis=1)
        # The square of a count is the number of pairs of places with the same term.
        same = ops.cast(ops.equal(ids[:, :, None], ids[:, None, :]), "float32")
        square = ops.sum(terms * ops.matmul(same, terms[..., None])[..., 0], axis=1)
        length = ops.maximum(ops.sqrt(square), 1e-6)  # of an empty text
        return answers / length[:, None] + self.bias

    def set_terms(self, idf: np.ndarray, answers: np.ndarray, bias: np.ndarray) -> None:
        """Take over what was fitted; shapes are as in `build`."""
        for variable, value in zip(self.weights, (idf, answers, bias), strict=True):
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        own = {name: getattr(self, name) for name in ("vocabulary", "size", "strength")}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class FittedLinear(layers.Layer):
    """A linear function that is fitted and not trained: `[b, n]` to float32 `[b, size]`.

    Args:
      size: Numbers in an answer.
      strength: What it is fitted with.
      **kwargs: As of every layer.
    """

    def __init__(self, size: int, strength: float, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.size, self.strength = size, strength

    def build(self, shape: Any) -> None:
        """What each feature answers, and what is answered without them."""

        def weight(name: str, shape: tuple[int, ...]) -> Any:
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.answers = weight("answers", (shape[-1], self.size))
        self.bias = weight("bias", (self.size,))

    def call(self, x: Any) -> Any:
        """The product, and the bias."""
        return ops.matmul(x, self.answers) + self.bias

    def get_config(self) -> dict[str, Any]:
        """As every layer's."""
        return {**super().get_config(), "size": self.size, "strength": self.strength}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class OrientedGradients(layers.Layer):
    """Histograms of oriented gradients (Dalal and Triggs 2005): pixels to float32 `[b, n]`.

    How much brightness changes in each of 12 directions, in about 6x6 and in about 3x3 cells that
    overlap; relative to the cells around, so that contrast has little say. Images of twice 32
    pixels or more are made smaller first. The output has the square roots.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)

    def call(self, pixels: Any) -> Any:
        """`[b, h, w, c]` of 0 to 255, at least 4 pixels wide and high."""
        x = ops.cast(pixels, "float32") / 255
        factor = min(x.shape[1:3]) // _SMALL_SIDE
        if factor > 1:
            x = ops.average_pool(x, factor, factor)
        across = x[:, 1:-1, 2:] - x[:, 1:-1, :-2]
        down = x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
        angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
        cosines, sines = (f(angles).astype(np.float32) for f in (np.cos, np.sin))
        strengths = 0.0
        for channel in range(x.shape[-1]):
            dx, dy = (each[..., channel : channel + 1] for each in (across, down))
            size = ops.sqrt(dx * dx + dy * dy + 1e-6)
            share = ops.relu((dx * cosines + dy * sines) / size)
            for _ in range(4):  # to the 16th power: what is left is 17 degrees to either side
                share *= share
            strengths += size * share
        return ops.concatenate([self._cells(strengths, each) for each in _GRIDS], axis=1)

    def _cells(self, strengths: Any, grid: int) -> Any:
        side = max(min(strengths.shape[1:3]) // grid, 1)
        # Twice the mean: a pixel counts less, the farther it is from the middle of the cell.
        smooth = ops.average_pool(strengths, side, 1, "same")
        cells = ops.average_pool(smooth, side, side)
        around = ops.average_pool(ops.sum(cells, -1, keepdims=True), 3, 1, "same")
        relative = ops.sqrt(cells / (around + 0.1))
        return ops.reshape(relative, (-1, int(np.prod(relative.shape[1:]))))


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ColorHistogram(layers.Layer):
    """The square roots of the shares of an image's colors: pixels to float32 `[b, 48]`.

    Of red, green, blue, red against green, both against blue, and brightness: 8 values each, among
    whose two nearest a pixel is divided.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32"} | kwargs)

    def call(self, pixels: Any) -> Any:
        """`[b, h, w, 3]` of 0 to 255."""
        x = ops.cast(pixels, "float32") / 255
        red, green, blue = ops.split(x, 3, axis=-1)
        opponents = [(red - green + 1) / 2, (red + green - 2 * blue + 2) / 4]
        x = ops.concatenate([x, *opponents, (red + green + blue) / 3], axis=-1) * 7
        shares = [ops.mean(ops.relu(1 - ops.abs(x - bin)), axis=(1, 2)) for bin in range(8)]
        return ops.sqrt(ops.concatenate(shares, axis=1))


def _look_up(rows: list[list[float]], indices: Any, dtype: str) -> Any:
    return ops.take(ops.array(rows, dtype), indices, axis=0)
