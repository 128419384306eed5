"""Linear models as teachers of few labels, fitted by scikit-learn.

Of a hundred labeled texts a linear model of their words makes more than a network, which has to
learn embeddings first. One of an image's gradients and colors knows what a network that has seen a
hundred images does not. They are fitted to all labeled examples at once; what was found becomes the
weights of a layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modules.data.spec import OutputSpec
from modules.errors import ModelError
from modules.models.forest import Examples
from modules.models.inputs import Inputs, build, keras_inputs, require

if TYPE_CHECKING:
    import keras
    import numpy as np

TEXT_LINEAR, IMAGE_LINEAR = "text_linear", "image_linear"
_LAYER = "terms"
_GRADIENTS, _COLORS, _ANSWERS = "gradients", "colors", "answers"
_COLORS_WEIGHT, _COLORS_COUNT = 0.7, 48
_SMALLEST_IMAGE, _BATCH = 4, 256
# A class of which there is no example: as unlikely as e^-5 to 1 where all others are alike.
_UNSEEN = -5.0


def text_linear(inputs: Inputs, output: OutputSpec, strength: float = 10.0) -> keras.Model:
    """Teacher for texts of few labels: logistic or ridge regression of the words' tf-idf.

    The order of the words has no say. Untrained it answers everything alike. It learns from labels
    alone, so it can be neither student nor assistant.

    Args:
      inputs: One text.
      output: What to answer.
      strength: Inverse of the regularization, scikit-learn's C; above 0.

    Raises:
      ModelError: A parameter out of its range, or an input of another kind.
    """
    from keras import layers

    from modules.models.layers import WeightedTerms

    _check_strength(strength, TEXT_LINEAR)
    require(inputs, ["text"], TEXT_LINEAR, most=1)
    (spec,) = inputs.values()
    assert spec.vocabulary_size is not None
    tensors = keras_inputs(inputs)
    terms = WeightedTerms(spec.vocabulary_size, output.size, strength, name=_LAYER)
    name = "values" if output.task == "regression" else "logits"
    return build(TEXT_LINEAR, tensors, layers.Identity(name=name)(terms(tensors[spec.name])))


def image_linear(inputs: Inputs, output: OutputSpec, strength: float = 10.0) -> keras.Model:
    """Teacher for few labeled images: logistic or ridge regression of gradients and colors.

    It sees edges, where they are and which way they run, and of an image of three channels which
    colors there are. Untrained it answers everything alike. It learns from labels alone, so it can
    be neither student nor assistant.

    Args:
      inputs: One image, at least 4 pixels wide and high.
      output: What to answer.
      strength: Inverse of the regularization, scikit-learn's C; above 0.

    Raises:
      ModelError: A parameter out of its range, a smaller image, or an input of another kind.
    """
    from keras import layers

    from modules.models.layers import ColorHistogram, FittedLinear, OrientedGradients

    _check_strength(strength, IMAGE_LINEAR)
    require(inputs, ["image"], IMAGE_LINEAR, most=1)
    (spec,) = inputs.values()
    if min(spec.shape[:2]) < _SMALLEST_IMAGE:
        raise ModelError(
            f"{IMAGE_LINEAR} must have images of at least {_SMALLEST_IMAGE} pixels, got "
            f"{spec.shape[0]}x{spec.shape[1]}; make them larger with data.features.{spec.name}.size"
        )
    tensors = keras_inputs(inputs)
    pixels = tensors[spec.name]
    features = OrientedGradients(name=_GRADIENTS)(pixels)
    if spec.shape[-1] == 3:
        colors = ColorHistogram(name=_COLORS)(pixels)
        features = layers.Concatenate()([features, colors])
    features = layers.Identity(name="features")(features)
    answers = FittedLinear(output.size, strength, name=_ANSWERS)(features)
    name = "values" if output.task == "regression" else "logits"
    return build(IMAGE_LINEAR, tensors, layers.Identity(name=name)(answers))


def _check_strength(strength: float, builder: str) -> None:
    if not strength > 0:
        raise ModelError(
            f"{builder} must have a strength above 0, got {strength}; change the teacher's "
            "parameters"
        )


def fit_terms(model: keras.Model, examples: Examples, output: OutputSpec, seed: int) -> None:
    """Fit a model that `text_linear` has built.

    Args:
      model: Changed in place.
      examples: All with labels; at least one.
      output: What the labels mean.
      seed: Of the solver, which hardly depends on it.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfTransformer

    layer = model.get_layer(_LAYER)
    (ids,) = examples.inputs.values()
    tfidf = TfidfTransformer()
    terms = tfidf.fit_transform(_counts(ids, layer.vocabulary))
    answers, bias = _FITS[output.task](terms, examples, output, layer.strength, seed)
    # What no labeled text has, unknown words first of all, must not count in a text's length.
    known = np.asarray(terms.sum(0)).reshape(-1) > 0
    layer.set_terms(tfidf.idf_ * known, answers.T, bias)


def fit_histograms(model: keras.Model, examples: Examples, output: OutputSpec, seed: int) -> None:
    """Fit a model that `image_linear` has built.

    Args:
      model: Changed in place.
      examples: All with labels; at least one.
      output: What the labels mean.
      seed: Of the solver, which hardly depends on it.
    """
    import numpy as np

    layer = model.get_layer(_ANSWERS)
    features = _features(model, examples.inputs)
    mean, variance = features.mean(0), features.var(0)
    # Each part counts as a whole, however many numbers it has.
    colors = _COLORS_COUNT if any(each.name == _COLORS for each in model.layers) else 0
    is_color = np.arange(len(mean)) >= len(mean) - colors
    scale = np.empty_like(mean)
    for part, weight in ((~is_color, 1.0), (is_color, _COLORS_WEIGHT)):
        scale[part] = weight / max(np.sqrt(variance[part].sum()), 1e-6)
    found = _FITS[output.task]((features - mean) * scale, examples, output, layer.strength, seed)
    answers, bias = (found[0] * scale).T, found[1]
    layer.set_weights([answers, bias - mean @ answers])


def _features(model: keras.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the fitted layer is given, `[n, features]`."""
    import keras
    import numpy as np

    histograms = keras.Model(model.inputs, model.get_layer(_ANSWERS).input)
    (pixels,) = inputs.values()
    batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    found = [keras.ops.convert_to_numpy(histograms(batch, training=False)) for batch in batches]
    return np.concatenate(found).astype(np.float64)


def _counts(ids: np.ndarray, vocabulary: int) -> Any:
    """How often each id is in each text, a sparse `[n, vocabulary]`."""
    import numpy as np
    from scipy import sparse

    rows, columns = np.nonzero(ids)
    entries = np.ones(len(rows))
    shape = (len(ids), vocabulary)
    return sparse.coo_matrix((entries, (rows, ids[rows, columns])), shape).tocsr()


def _classes(
    features: Any, examples: Examples, output: OutputSpec, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[classes, features]` and biases of the logits."""
    import numpy as np

    weights = np.zeros((output.size, features.shape[1]))
    bias = np.full(output.size, _UNSEEN)
    known = np.unique(examples.labels)
    bias[known] = 0.0
    if len(known) > 1:
        # Of a text without a known word nothing is said but the bias, which is no reason to take
        # it for the class that a few examples happen to have most often. So it is with images.
        logistic = _logistic(strength, seed, class_weight="balanced")
        found = logistic.fit(features, examples.labels, examples.weights)
        both = len(known) == 2  # then scikit-learn has one logit, of the second class
        halves = np.array([-0.5, 0.5])
        weights[known] = halves[:, None] * found.coef_ if both else found.coef_
        bias[known] = halves * found.intercept_ if both else found.intercept_
    return weights, bias


def _many(
    features: Any, examples: Examples, output: OutputSpec, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same for each of many labels by itself."""
    import numpy as np

    weights = np.zeros((output.size, features.shape[1]))
    bias = np.zeros(output.size)
    for at, labels in enumerate(np.asarray(examples.labels).T):
        known = np.unique(labels)
        if len(known) == 1:
            bias[at] = -_UNSEEN if known[0] else _UNSEEN
            continue
        found = _logistic(strength, seed).fit(features, labels, examples.weights)
        weights[at], bias[at] = found.coef_[0], found.intercept_[0]
    return weights, bias


def _values(
    features: Any, examples: Examples, output: OutputSpec, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of a regression, by least squares."""
    from sklearn.linear_model import Ridge

    labels = examples.labels.reshape(-1)
    found = Ridge(1 / strength, random_state=seed).fit(features, labels, examples.weights)
    return found.coef_.reshape(1, -1), found.intercept_.reshape(-1)


def _logistic(strength: float, seed: int, class_weight: str | None = None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        C=strength, class_weight=class_weight, max_iter=1000, random_state=seed
    )


_FITS = {"classification": _classes, "binary": _classes, "multilabel": _many, "regression": _values}
