"""A random forest as a teacher for tables: grown by scikit-learn, asked as a Keras model.

Of a hundred labels a forest makes more than a network does. It is no network, so it is not trained
in steps: all labeled examples are given to it at once. Its trees then become the weights of a
layer, so that it is stored, asked, timed and exported like every other model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.models.inputs import TABLE, Inputs, build, keras_inputs, layer_name, numbers, require

if TYPE_CHECKING:
    import keras
    import numpy as np

RANDOM_FOREST = "random_forest"
_LAYER = "trees"
# Up to so many ids one column each; of more, the ids themselves are split, by their frequency.
_ONE_HOT = 64
# Of the probabilities: a forest is often certain, of which no logit could be finite.
_SMOOTHING = 0.01
# Each level is a step of the model.
_DEEPEST = 64


def random_forest(
    inputs: Inputs,
    output: OutputSpec,
    trees: int = 200,
    leaves: int = 128,
    depth: int = 12,
) -> keras.Model:
    """Teacher for tables of few labels: the mean of decision trees (Breiman 2001).

    Untrained it answers everything alike. It learns from labels alone, so it can be neither student
    nor assistant.

    Args:
      inputs: Numbers, categories and tensors.
      output: What to answer.
      trees: Their number.
      leaves: Of a tree, at most; from 2.
      depth: Of a tree, at most; up to 64.

    Raises:
      ModelError: A parameter out of its range, or an input of another kind.
    """
    from keras import layers, ops

    from modules.models.layers import DecisionTrees

    if leaves < 2 or depth > _DEEPEST:
        raise ModelError(
            f"{RANDOM_FOREST} must have 2 leaves or more and a depth of at most {_DEEPEST}, got "
            f"leaves: {leaves}, depth: {depth}; change the teacher's parameters"
        )
    require(inputs, TABLE, RANDOM_FOREST)
    tensors = keras_inputs(inputs)
    columns = [_columns(spec, tensors[name]) for name, spec in inputs.items()]
    x = columns[0] if len(columns) == 1 else layers.Concatenate()(columns)
    x = layers.Identity(name="features")(x)
    mean = DecisionTrees(trees, 2 * leaves - 1, depth, output.size, name=_LAYER)(x)
    if output.task == "regression":
        return build(RANDOM_FOREST, tensors, layers.Identity(name="values")(mean))
    outcomes = 2 if output.task == "multilabel" else output.size
    smooth = mean * (1 - _SMOOTHING) + _SMOOTHING / outcomes
    logits = ops.log(smooth)
    if output.task == "multilabel":
        logits -= ops.log(1 - smooth)
    return build(RANDOM_FOREST, tensors, layers.Identity(name="logits")(logits))


def _columns(spec: Any, tensor: Any) -> Any:
    """What trees split, `[b, n]`: numbers as they are, categories by id."""
    from modules.models.layers import MeanOfPresent, OneHot

    if spec.kind != "category":
        return numbers(spec, tensor)
    if spec.vocabulary_size > _ONE_HOT and not spec.shape:
        return numbers(spec, tensor)
    vectors = OneHot(spec.vocabulary_size, name=layer_name(spec, "one_hot"))(tensor)
    if not spec.shape:
        return vectors
    return MeanOfPresent(name=layer_name(spec, "mean"))([vectors, tensor])


@dataclass(frozen=True)
class Examples:
    """What a model learns from at once.

    Attributes:
      inputs: `[n, ...]` by name.
      labels: `[n]`, or `[n, labels]` of many.
      weights: `[n]`, or None.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray
    weights: np.ndarray | None


# Trains a model of `random_forest` or the like: model, examples, what labels mean, seed.
FitAtOnce = Callable[["keras.Model", Examples, OutputSpec, int], None]


def grow(model: keras.Model, examples: Examples, output: OutputSpec, seed: int) -> None:
    """Grow the trees of a model that `random_forest` has built.

    Args:
      model: Changed in place.
      examples: All with labels; at least one.
      output: What the labels mean.
      seed: Of the examples that each tree is given, and of the columns that each split may use.
    """
    import keras
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    layer = model.get_layer(_LAYER)
    table = keras.Model(model.input, model.get_layer("features").output)
    columns = table.predict(examples.inputs, batch_size=1024, verbose=0)
    kind = RandomForestRegressor if output.task == "regression" else RandomForestClassifier
    forest = kind(
        n_estimators=layer.trees,
        max_leaf_nodes=(layer.nodes + 1) // 2,
        max_depth=layer.depth,
        min_samples_leaf=2,
        # Of a regression scikit-learn's own default would give every split all columns.
        max_features="sqrt" if output.task != "regression" else 1 / 3,
        random_state=seed,
    )
    forest.fit(columns, examples.labels, sample_weight=examples.weights)
    layer.set_trees([each.tree_ for each in forest.estimators_], _leaf_values(forest, output))


def _leaf_values(forest: Any, output: OutputSpec) -> list[np.ndarray]:
    """What the nodes of each tree answer, `[nodes, output.size]`: values, or probabilities."""
    import numpy as np

    trees = [each.tree_.value for each in forest.estimators_]
    if output.task == "regression":
        return [values[:, :, 0] for values in trees]
    shares = [values / values.sum(-1, keepdims=True) for values in trees]
    found = [np.zeros((len(each), output.size)) for each in shares]
    for answer, share in zip(found, shares, strict=True):
        if output.task == "multilabel":
            for at, known in enumerate(forest.classes_):
                # A label may be there for all of the examples, or for none.
                answer[:, at] = share[:, at, : len(known)] @ known
        else:
            answer[:, forest.classes_] = share[:, 0]
    return found
