"""The random forest: the trees of scikit-learn, walked by a Keras layer."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from small_inputs import VALUE
from small_models import class_output

from modules.data.spec import InputSpec
from modules.errors import ConfigError, ModelError
from modules.models import zoo
from modules.models.forest import Examples, grow
from modules.settings import ModelSettings

COUNT, WIDTH, SMOOTHING = 300, 6, 0.01
INPUT = {
    "x": InputSpec(name="x", kind="tensor", feature="x", shape=(WIDTH,), dtype="float32"),
}
SETTINGS = ModelSettings(model="random_forest", parameters={"trees": 12, "leaves": 9, "depth": 5})


def numbers(seed=0):
    """Columns of very different sizes, with values that float32 can hardly tell apart."""
    x = np.random.default_rng(seed).normal(size=(COUNT, WIDTH)) * 10.0 ** np.arange(-3, 3)
    x[:, 3] = 1 + np.arange(COUNT) % 5 * 2.0**-23
    return x.astype(np.float32)


def grown(labels, output, weights=None):
    model = zoo.build_model(SETTINGS, INPUT, output)
    grow(model, Examples({"x": numbers()}, labels, weights), output, seed=3)
    return model


def theirs(kind, labels, weights=None, **more):
    forest = kind(
        n_estimators=12,
        max_leaf_nodes=9,
        max_depth=5,
        min_samples_leaf=2,
        random_state=3,
        **more,
    )
    return forest.fit(numbers(), labels, sample_weight=weights)


def probabilities(model, x):
    logits = model({"x": x}, training=False).numpy().astype(np.float64)
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_answers_what_the_forest_does(weighted):
    """Of four classes nobody is of the second."""
    rng = np.random.default_rng(1)
    x = numbers()
    labels = np.where(x[:, 4] > 10 * rng.normal(size=COUNT), 0, np.where(x[:, 0] > 0, 2, 3))
    weights = rng.uniform(0.1, 5, COUNT) if weighted else None
    expected = np.zeros((COUNT, 4))
    found = theirs(RandomForestClassifier, labels, weights)
    for each in (x, numbers(seed=9)):
        expected[:, [0, 2, 3]] = found.predict_proba(each)
        expected_smooth = expected * (1 - SMOOTHING) + SMOOTHING / 4
        answer = probabilities(grown(labels, class_output(4), weights), each)
        np.testing.assert_allclose(answer, expected_smooth, rtol=1e-4)


def test_each_label_of_several_has_its_own_probability():
    """The first label is always there, the third one never."""
    x = numbers()
    labels = np.stack([np.ones(COUNT), x[:, 0] > 0, np.zeros(COUNT)], axis=1).astype(np.int64)
    answer = grown(labels, class_output(3, "multilabel"))({"x": x}, training=False).numpy()
    expected = theirs(RandomForestClassifier, labels).predict_proba(x)[1][:, 1]
    smooth = np.stack([np.ones(COUNT), expected, np.zeros(COUNT)], axis=1)
    smooth = smooth * (1 - SMOOTHING) + SMOOTHING / 2
    np.testing.assert_allclose(1 / (1 + np.exp(-answer)), smooth, rtol=1e-4)


def test_values_are_in_the_labels_own_unit():
    values = 1e4 + 100 * numbers()[:, 2]
    answer = grown(values, VALUE)({"x": numbers(seed=9)}, training=False).numpy()
    forest = theirs(RandomForestRegressor, values, max_features=1 / 3)
    np.testing.assert_allclose(answer[:, 0], forest.predict(numbers(seed=9)), rtol=1e-5)


@pytest.mark.parametrize("parameters", [{"leaves": 1}, {"depth": 65}])
def test_trees_have_bounds(parameters):
    settings = ModelSettings(model="random_forest", parameters=parameters)
    with pytest.raises(ModelError, match=r"must have 2 leaves or more and a depth of at most 64"):
        zoo.build_model(settings, INPUT, class_output(4))


def test_it_is_a_teacher_alone():
    for argument in ("student", "search.students.0"):
        with pytest.raises(ConfigError, match=rf"^{argument}.model must be a network, which a"):
            zoo.check_taught(SETTINGS, argument)
    zoo.check_model(SETTINGS, "teacher")
