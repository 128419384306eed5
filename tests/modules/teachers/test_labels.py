"""modules.teachers.labels: by known values, and by softmax as a second formulation."""

import numpy as np
import pytest
from scipy.special import softmax

from modules.data.spec import OutputSpec
from modules.errors import ConfigError, DataError
from modules.teachers.labels import Conversion, LabelMap, label_map

ANIMALS = OutputSpec(task="classification", size=2, classes=("cat", "dog"))
BINARY = OutputSpec(task="binary", size=2, classes=("no", "yes"))
TAGS = OutputSpec(task="multilabel", size=2, classes=("red", "blue"))
PRICE = OutputSpec(task="regression", size=1)


def convert(answers, output, returns="logits", labels=()):
    found = np.array(answers, float)
    return Conversion(output, label_map(labels, output), returns).logits(found)


def test_another_order_is_sorted() -> None:
    assert convert([[1, 5], [2, 6]], ANIMALS, labels=["dog", "cat"]).tolist() == [[5, 1], [6, 2]]


def test_what_is_no_class_is_dropped_and_shared() -> None:
    labels = ["fish", "dog", "cat"]
    probabilities = np.array([[0.5, 0.1, 0.4]])
    logits = convert(probabilities, ANIMALS, "probabilities", labels)
    np.testing.assert_allclose(softmax(logits, 1), [[0.8, 0.2]], rtol=1e-6)


def test_a_class_named_twice_gets_the_sum() -> None:
    labels = ["cat", "dog", "cat"]
    probabilities = np.array([[0.5, 0.2, 0.3]])
    expected = [[0.8, 0.2]]
    for given, returns in ((probabilities, "probabilities"), (np.log(probabilities) + 7, "logits")):
        found = softmax(convert(given, ANIMALS, returns, labels), 1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_same_labels_in_keras() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for labels in (["dog", "x", "cat", "y"], ["dog", "cat", "cat", "y"]):
        mapped = label_map(labels, ANIMALS)
        np.testing.assert_allclose(mapped.mapped_tensor(logits), mapped.mapped(logits), rtol=1e-6)


def test_own_labels_change_nothing() -> None:
    assert label_map(["cat", "dog"], ANIMALS) == label_map((), ANIMALS) == LabelMap(2)


@pytest.mark.parametrize("answers", [[[0.2], [0.9]], [0.2, 0.9]])
def test_the_probability_of_the_positive_class_is_enough(answers) -> None:
    found = softmax(convert(answers, BINARY, "probabilities"), 1)
    np.testing.assert_allclose(found, [[0.8, 0.2], [0.1, 0.9]], rtol=1e-5)
    assert convert([[3.0], [-1.0]], BINARY).tolist() == [[0, 3], [0, -1]]
    # Of a teacher whose positive class is our negative one.
    swapped = convert([[3.0]], BINARY, labels=["yes", "no"])
    assert swapped.tolist() == [[3, 0]]


def test_probabilities_of_labels_become_their_own_logits() -> None:
    found = convert([[0.5, 0.9]], TAGS, "probabilities")
    np.testing.assert_allclose(found, [[0, np.log(9)]], atol=1e-5)


def test_certain_probabilities_stay_finite() -> None:
    found = convert([[1.0, 0.0]], ANIMALS, "probabilities")
    np.testing.assert_allclose(found, [[0, np.log(1e-7)]], rtol=1e-5)


def test_values_are_kept() -> None:
    assert convert([3.5, -1.0], PRICE).tolist() == [[3.5], [-1.0]]


@pytest.mark.parametrize(
    ("answers", "output", "returns", "message"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], ANIMALS, "logits", "set teacher.returns: probabilities"),
        ([[0.2, 1.8]], ANIMALS, "probabilities", "from 0 to 1 that add up to 1"),
        ([[0.2, 0.2]], ANIMALS, "probabilities", "from 0 to 1 that add up to 1"),
        ([[0.2, -0.2]], TAGS, "probabilities", "from 0 to 1, got"),
        ([[1, 2, 3]], ANIMALS, "logits", "must answer 2 numbers to each example, got 3"),
        ([[1, np.nan]], ANIMALS, "logits", "not finite"),
    ],
)
def test_answers_that_cannot_be_meant_are_refused(answers, output, returns, message) -> None:
    with pytest.raises(DataError, match=message):
        convert(answers, output, returns)


@pytest.mark.parametrize(
    ("labels", "output", "message"),
    [
        (["cat", "dgo"], ANIMALS, r"'dog' is not among them; did you mean 'dgo'\?"),
        (["red", "blue", "red"], TAGS, "must name each label once"),
        (["x"], PRICE, "must not be set for the task regression"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, output, message) -> None:
    with pytest.raises(ConfigError, match=message):
        label_map(labels, output)
