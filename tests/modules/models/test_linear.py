"""The linear model of texts: what scikit-learn makes of the words, answered by a Keras layer."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from small_inputs import TEXT, VALUE
from small_models import class_output

from modules.errors import ModelError
from modules.models import zoo
from modules.models.forest import Examples
from modules.models.linear import fit_terms
from modules.settings import ModelSettings

COUNT, WORDS, STRENGTH = 60, 30, 3.0
SETTINGS = ModelSettings(model="text_linear", parameters={"strength": STRENGTH})


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


def test_the_strength_is_above_zero():
    settings = ModelSettings(model="text_linear", parameters={"strength": 0.0})
    with pytest.raises(ModelError, match=r"must have a strength above 0, got 0.0; change"):
        zoo.build_model(settings, TEXT, class_output(4))
