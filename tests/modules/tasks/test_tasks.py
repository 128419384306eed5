"""Tests of modules.tasks: each task's losses, scores and combined teachers, and its training."""

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from modules.distill.distiller import Distiller
from modules.errors import ConfigError, DataError, ModelError
from modules.tasks.registry import make_task

RNG = np.random.default_rng(0)
LABELS, OUTPUTS = RNG.integers(0, 2, (40, 3)), RNG.normal(scale=3, size=(40, 3)).astype("float32")


def test_an_unknown_task_is_refused():
    with pytest.raises(ConfigError, match=r"must be one of classification.*did you mean 'binary'"):
        make_task("binari")


# -- Multilabel --


def test_multilabel_loss_is_the_sum_of_each_labels_log_loss():
    found = make_task("multilabel").hard_loss(LABELS, OUTPUTS)
    assert found.shape == (40,)
    per_label = [
        log_loss(LABELS[:, at], expit(OUTPUTS[:, at].astype(float)), labels=[0, 1])
        for at in range(3)
    ]
    assert float(np.mean(found)) == pytest.approx(sum(per_label), rel=1e-5)


def test_multilabel_loss_is_finite_at_huge_logits():
    task = make_task("multilabel")
    found = task.hard_loss(np.array([[1, 0], [0, 1]]), np.array([[1e4, -1e4]] * 2, np.float32))
    np.testing.assert_allclose(found, [0.0, 2e4], rtol=1e-6)


def test_multilabel_score_is_the_share_of_right_labels():
    labels, logits = [[1, 0, 1], [0, 0, 0]], [[2.0, -1.0, -3.0], [-1.0, -0.1, 0.1]]
    score = make_task("multilabel").score(np.array(labels), np.array(logits, np.float32))
    np.testing.assert_allclose(score, [2 / 3, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_multilabel_teachers_are_averaged_by_their_softened_sigmoids(temperature):
    logits = RNG.normal(scale=4, size=(7, 2, 3))
    combined = make_task("multilabel").combine(logits.astype("float32"), [0.25, 0.75], temperature)
    mean = np.einsum("t,btc->bc", [0.25, 0.75], expit(logits / temperature))
    np.testing.assert_allclose(combined, temperature * logit(mean), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_sure_teachers_combine_to_finite_logits(value):
    combined = make_task("multilabel").combine(np.full((1, 2, 1), value, "float32"), [0.5, 0.5], 4)
    np.testing.assert_allclose(combined, [[value]], rtol=1e-5)


# -- Regression --


def test_regression_loss_is_free_of_the_unit():
    values, labels = RNG.normal(size=(2, 20)).astype("float32")
    plain = make_task("regression").hard_loss(labels[:, None], values[:, None])
    np.testing.assert_allclose(plain, 0.5 * (labels - values) ** 2, rtol=1e-5)
    scaled = make_task("regression", scale=100)
    in_cents = scaled.hard_loss(100 * labels[:, None], 100 * values[:, None])
    np.testing.assert_allclose(in_cents, plain, rtol=1e-4)


def test_regression_score_is_the_error_in_the_labels_unit():
    score = make_task("regression", scale=9).score(np.array([[3.0], [1]]), np.array([[1.0], [1]]))
    np.testing.assert_allclose(score, [-2, 0])


def test_regression_teachers_are_averaged():
    values = np.array([[[1.0], [5.0]]], "float32")
    np.testing.assert_allclose(make_task("regression").combine(values, [0.75, 0.25], 9.0), [[2.0]])


@pytest.mark.parametrize("scale", [0, -1, float("inf")])
def test_a_scale_is_above_zero(scale):
    with pytest.raises(ConfigError, match="scale must be above 0"):
        make_task("regression", scale)


# -- Training --


def _model(seed, outputs, activation=None):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), layers.Dense(outputs, activation=activation)])


def _data(task):
    """Features, and labels that follow from them."""
    features = np.random.default_rng(1).normal(size=(256, 4)).astype("float32")
    values = features @ np.array([1.0, -2.0, 0.5, 0.0], "float32")
    if task == "regression":
        return features, 2 + 4 * values
    if task == "multilabel":
        return features, (features[:, :3] > 0).astype(int)
    return features, (values > 0).astype(int)


@pytest.mark.parametrize(
    ("task", "outputs"), [("binary", 1), ("binary", 2), ("multilabel", 3), ("regression", 1)]
)
@pytest.mark.thorough
def test_a_student_learns_from_labels_and_teacher(task, outputs):
    features, labels = _data(task)
    made = make_task(task, float(labels.std()) or 1.0)
    teacher, student = _model(0, outputs), _model(1, outputs)
    for model, taught_by in ((teacher, None), (student, teacher)):
        methods = "soft_target" if taught_by else ()
        distiller = Distiller(taught_by, model, methods, alpha=0.5, task=made)
        distiller.compile(keras.optimizers.Adam(0.1))
        distiller.fit(features, labels, epochs=40, batch_size=64, verbose=0)
    found = distiller.evaluate(features, labels, verbose=0, return_dict=True)
    score = found[made.score_name]
    assert score > (-0.5 if task == "regression" else 0.95)
    assert found["soft_target_loss"] < 0.05
    assert distiller.predict(features, verbose=0).shape == (256, outputs)


def test_one_logit_is_the_second_of_two():
    features, labels = _data("binary")
    narrow = _model(0, 1)
    wide = _model(1, 2)
    kernel, bias = narrow.get_weights()
    wide.set_weights([np.hstack([0 * kernel, kernel]), np.hstack([0 * bias, bias])])
    losses = [
        float(
            Distiller(teacher, student, ["soft_target", "logit_mse"], task="binary").compute_loss(
                features, labels, student(features)
            )
        )
        for student in (narrow, wide)
        for teacher in (_model(5, 1), _model(5, 2))
    ]
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)
    assert losses[1] == pytest.approx(losses[3], rel=1e-6)


def test_compiled_metrics_are_given_labels_and_outputs():
    features, labels = _data("binary")
    distiller = Distiller(None, _model(0, 1), (), task="binary")
    distiller.compile("adam", metrics=["sparse_categorical_accuracy"])
    found = distiller.evaluate(features, labels, verbose=0, return_dict=True)
    assert found["sparse_categorical_accuracy"] == pytest.approx(found["accuracy"])


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("binary", np.array([0, 1, 2, 0]), "class ids from 0 to 1.*got 2"),
        ("multilabel", np.array([0, 1, 1, 0]), r"shape \[examples, 1\].*got \[4\]"),
        ("multilabel", np.array([[0], [1], [3], [0]]), "0 or 1 for each label.*from 0 to 3"),
        ("regression", np.array([0.0, 1.0, np.nan, 2.0]), "finite numbers"),
        ("regression", np.zeros((4, 2)), r"y must hold 1 number\(s\).*got 2"),
    ],
)
def test_labels_of_another_task_are_refused(task, labels, message):
    distiller = Distiller(None, _model(0, 1), (), task=task)
    distiller.compile("adam")
    with pytest.raises(DataError, match=message) as caught:
        distiller.fit(np.zeros((4, 4), "float32"), labels, verbose=0)
    assert "\n" not in str(caught.value)


def test_probabilities_are_refused_but_values_may_be_squashed():
    for task in ("binary", "multilabel"):
        with pytest.raises(ModelError, match="must return logits"):
            Distiller(None, _model(0, 2, "sigmoid"), (), task=task)
    Distiller(None, _model(0, 1, "sigmoid"), (), task="regression")
