"""The linear models: what scikit-learn makes of words or gradients, answered by a Keras layer."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from small_inputs import PHOTO, TEXT, VALUE, batch
from small_models import class_output

from modules.errors import ModelError
from modules.models import linear, zoo
from modules.models.forest import Examples
from modules.models.layers import ColorHistogram, OrientedGradients
from modules.models.linear import fit_histograms, fit_terms
from modules.settings import ModelSettings

COUNT, WORDS, STRENGTH = 60, 30, 3.0
SETTINGS = ModelSettings(model="text_linear", parameters={"strength": STRENGTH})
IMAGE_SETTINGS = ModelSettings(model="image_linear", parameters={"strength": STRENGTH})
IMAGE = {"photo": PHOTO}


def texts(seed=0):
    """Ids `[n, 12]` of few words, so that many are there twice; behind each text is padding."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, WORDS, (COUNT, 12)).astype(np.int32)
    lengths = rng.integers(1, 13, COUNT)
    return np.where(np.arange(12) < lengths[:, None], ids, 0)


def asked():
    """Other texts, some of whose words nobody knows."""
    ids = texts(seed=9)
    return np.where(ids % 5 == 1, ids + WORDS, ids)


def words(ids):
    return [" ".join(f"w{each}" for each in text if each) for text in ids]


def answers(labels, output, given, weights=None):
    model = zoo.build_model(SETTINGS, TEXT, output)
    fit_terms(model, Examples({"review": texts()}, labels, weights), output, seed=3)
    return model({"review": given}, training=False).numpy().astype(np.float64)


def theirs(estimator, labels, weights=None):
    """The same from the words themselves."""
    step = type(estimator).__name__.lower()
    model = make_pipeline(TfidfVectorizer(), estimator)
    return model.fit(words(texts()), labels, **{f"{step}__sample_weight": weights})


def logistic(**more):
    return LogisticRegression(C=STRENGTH, max_iter=1000, **more)


def probabilities(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("known", [[0, 2, 3], [1, 3]])
def test_it_answers_what_scikit_learn_does(known, weighted):
    """A class of which there is no example is unlikely, and changes nothing among the others."""
    rng = np.random.default_rng(1)
    labels = np.array(known)[texts()[:, 0] % len(known)]
    weights = rng.uniform(0.1, 5, COUNT) if weighted else None
    answer = answers(labels, class_output(4), asked(), weights)
    expected = theirs(logistic(class_weight="balanced"), labels, weights)
    expected = expected.predict_proba(words(asked()))
    np.testing.assert_allclose(probabilities(answer[:, known]), expected, rtol=1e-3)
    unknown = [each for each in range(4) if each not in known]
    assert probabilities(answer)[:, unknown].max() < 0.05


def test_each_label_of_several_has_its_own_probability():
    """The first label is always there, the third one never."""
    second = texts()[:, 0] % 2
    labels = np.stack([np.ones(COUNT), second, np.zeros(COUNT)], axis=1).astype(np.int64)
    answer = answers(labels, class_output(3, "multilabel"), asked())
    first, found, third = 1 / (1 + np.exp(-answer.T))
    expected = theirs(logistic(), second).predict_proba(words(asked()))[:, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert first.min() > 0.99 and third.max() < 0.01


def test_values_are_in_the_labels_own_unit():
    values = 1e4 + 100.0 * texts()[:, 0]
    answer = answers(values, VALUE, asked())
    expected = theirs(Ridge(1 / STRENGTH), values).predict(words(asked()))
    np.testing.assert_allclose(answer[:, 0], expected, rtol=1e-4)


def test_an_empty_text_and_one_class_have_an_answer():
    nothing = np.zeros((1, 12), np.int32)
    answer = answers(np.full(COUNT, 2), class_output(4), np.concatenate([nothing, texts()]))
    assert (answer.argmax(-1) == 2).all() and np.isfinite(answer).all()


@pytest.mark.parametrize(("name", "inputs"), [("text_linear", TEXT), ("image_linear", IMAGE)])
def test_the_strength_is_above_zero(name, inputs):
    settings = ModelSettings(model=name, parameters={"strength": 0.0})
    with pytest.raises(ModelError, match=rf"{name} must have a strength above 0, got 0.0; change"):
        zoo.build_model(settings, inputs, class_output(4))


# -- images --


def ramp(angle, brightness=128.0, side=24, channels=1):
    """An image that gets brighter in one direction, by 4 a pixel."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    values = brightness + 4 * (x * np.cos(angle) + y * np.sin(angle))
    return np.repeat(values[None, ..., None], channels, axis=-1).astype(np.float32)


def directions(image):
    """What there is of each direction in an image, the mean of the squares over all cells."""
    return (OrientedGradients()(image).numpy().reshape(-1, 12) ** 2).mean(0)


@pytest.mark.parametrize("direction", range(12))
def test_a_direction_is_told_from_its_neighbours(direction):
    found = directions(ramp(2 * np.pi * direction / 12))
    # cos(30 degrees) to the 16th power, for each of two neighbours, and those behind them.
    assert found.argmax() == direction
    next_to_it = found[[direction - 1, (direction + 1) % 12]] / found[direction]
    np.testing.assert_allclose(next_to_it, 0.75**8, rtol=1e-3)
    assert found[(direction + 6) % 12] == 0


def test_gradients_are_those_of_another_formulation():
    """Pixel by pixel and cell by cell, of an image whose sides the cells divide."""
    image = batch({"photo": PHOTO.model_copy(update={"shape": (14, 14, 2)})}, 1, seed=2)["photo"]
    x = image[0] / 255
    strengths = np.zeros((12, 12, 12))
    for row, column, channel in np.ndindex(12, 12, 2):
        dx = x[row + 1, column + 2, channel] - x[row + 1, column, channel]
        dy = x[row + 2, column + 1, channel] - x[row, column + 1, channel]
        for bin in range(12):
            away = np.arctan2(dy, dx) - 2 * np.pi * bin / 12
            strengths[row, column, bin] += np.hypot(dx, dy) * max(np.cos(away), 0) ** 16
    expected = []
    for side in (2, 4):
        # The smoothing window of an even side begins (side - 1) // 2 before its pixel.
        before = (side - 1) // 2
        count = 12 // side
        cells = np.zeros((count, count, 12))
        for row, column in np.ndindex(count, count):
            for i, j in np.ndindex(side, side):
                top, left = row * side + i - before, column * side + j - before
                window = strengths[max(top, 0) : top + side, max(left, 0) : left + side]
                cells[row, column] += window.mean((0, 1)) / side**2
        for row, column in np.ndindex(count, count):
            nearby = cells[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            expected.append(np.sqrt(cells[row, column] / (nearby.sum(-1).mean() + 0.1)))
    found = OrientedGradients()(image).numpy()[0]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=2e-3, atol=1e-4)


def test_gradients_know_neither_brightness_nor_the_size_of_a_large_image():
    image = ramp(0.3)
    np.testing.assert_allclose(directions(image), directions(image + 60), rtol=1e-4)
    # Of 96 pixels each three become one, so that a pixel's step is three times as large.
    large = OrientedGradients()(ramp(0.3, side=96) / 3)
    small = OrientedGradients()(ramp(0.3, side=32))
    assert large.shape == small.shape
    np.testing.assert_allclose(large, small, rtol=1e-2, atol=1e-3)


def test_colors_are_shares_of_their_nearest_values():
    """Half of the pixels are red, half of them are a gray of 3.5 sevenths."""
    image = np.full((1, 2, 2, 3), 127.5)
    image[0, 0] = (255, 0, 0)
    found = ColorHistogram()(image).numpy().reshape(8, 6) ** 2
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    # Columns: red, green, blue, red against green, both against blue, brightness.
    np.testing.assert_allclose(found[[3, 4, 7], 0], [0.25, 0.25, 0.5], atol=1e-5)
    np.testing.assert_allclose(found[[0, 3, 4], 1], [0.5, 0.25, 0.25], atol=1e-5)
    np.testing.assert_allclose(found[[3, 4, 7], 3], [0.25, 0.25, 0.5], atol=1e-5)
    np.testing.assert_allclose(found[[3, 4, 5, 6], 4], [0.25, 0.25, 0.375, 0.125], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_answered_as_scikit_learn_does(channels, monkeypatch):
    monkeypatch.setattr(linear, "_BATCH", 16)  # the last one has half as many
    inputs = {"photo": PHOTO.model_copy(update={"shape": (16, 16, channels)})}
    examples, asked = batch(inputs, 40), batch(inputs, 300, seed=1)
    labels = np.random.default_rng(1).integers(0, 3, 40)
    model = zoo.build_model(IMAGE_SETTINGS, inputs, class_output(3))
    fit_histograms(model, Examples(examples, labels, None), class_output(3), seed=3)

    def parts(given):
        pixels = given["photo"]
        colors = [0.7 * ColorHistogram()(pixels).numpy()] if channels == 3 else []
        return [OrientedGradients()(pixels).numpy(), *colors]

    spread = [np.linalg.norm(part.std(0)) for part in parts(examples)]
    spread[1:] = [each / 0.7 for each in spread[1:]]

    def scaled(given):
        return np.concatenate(
            [part / each for part, each in zip(parts(given), spread, strict=True)], axis=1
        )

    expected = logistic(class_weight="balanced").fit(scaled(examples), labels)
    answer = model(asked, training=False).numpy()
    # The middle is subtracted before the fit, so the solver ends elsewhere in the last digits.
    expected = expected.predict_proba(scaled(asked))
    np.testing.assert_allclose(probabilities(answer), expected, atol=2e-3)


def test_images_without_a_difference_have_an_answer():
    examples = {"photo": np.full((4, 16, 16, 3), 7, np.uint8)}
    model = zoo.build_model(IMAGE_SETTINGS, IMAGE, class_output(3))
    fit_histograms(model, Examples(examples, np.arange(4) % 3, None), class_output(3), seed=3)
    assert np.isfinite(model(batch(IMAGE), training=False)).all()


def test_an_image_is_four_pixels_wide_and_high():
    inputs = {"photo": PHOTO.model_copy(update={"shape": (3, 8, 1)})}
    message = r"must have images of at least 4 pixels, got 3x8; make them larger with data\.feat"
    with pytest.raises(ModelError, match=message):
        zoo.build_model(IMAGE_SETTINGS, inputs, class_output(3))
    smallest = {"photo": PHOTO.model_copy(update={"shape": (4, 4, 3)})}
    model = zoo.build_model(IMAGE_SETTINGS, smallest, class_output(3))
    assert np.isfinite(model(batch(smallest), training=False)).all()
