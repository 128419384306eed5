"""Tests of modules.distill.monitor, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from modules.distill.monitor import make_metric
from modules.tasks.registry import make_task


def _result(task, outputs, *batches):
    metric = make_metric(make_task(task), outputs)
    for labels, logits in batches:
        metric.update_state(labels, logits)
    return float(metric.result())


@pytest.fixture
def answers():
    """Labels of three classes, the last one rare and one of four absent, and logits."""
    rng = np.random.default_rng(3)
    labels = rng.choice(4, 400, p=[0.6, 0.35, 0.05, 0])
    logits = rng.normal(size=(400, 4)) + 1.5 * np.eye(4)[labels]
    return labels, logits.astype(np.float32)


def test_balanced_accuracy(answers):
    labels, logits = answers
    predicted = logits.argmax(1)
    # Of the classes that there are; scikit-learn leaves out the absent one as well.
    right = [np.mean(predicted[labels == each] == each) for each in range(3)]
    halves = (labels[:100], logits[:100]), (labels[100:], logits[100:])
    found = _result("classification", 4, *halves)
    assert found == pytest.approx(np.mean(right), rel=1e-5)
    with pytest.warns(UserWarning, match="not in y_true"):
        assert found == pytest.approx(balanced_accuracy_score(labels, predicted), rel=1e-5)
    as_probabilities = np.eye(4, dtype=np.float32)[labels]
    assert _result("classification", 4, (as_probabilities, logits)) == pytest.approx(found)


def test_area_under_the_curve_of_a_binary_task():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 500)
    logits = np.stack([np.zeros(500), rng.normal(size=500) + labels], 1).astype(np.float32)
    found = _result("binary", 2, (labels[:200], logits[:200]), (labels[200:], logits[200:]))
    assert found == pytest.approx(roc_auc_score(labels, logits[:, 1]), abs=0.002)


def test_area_under_the_curve_of_several_labels():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, (500, 3))
    logits = (rng.normal(size=(500, 3)) + labels * [0.5, 1, 3]).astype(np.float32)
    expected = np.mean([roc_auc_score(labels[:, at], logits[:, at]) for at in range(3)])
    assert _result("multilabel", 3, (labels, logits)) == pytest.approx(expected, abs=0.003)


def test_a_regression_is_judged_by_its_loss():
    """Half the squared error: the lowest is the lowest RMSE."""
    assert make_metric(make_task("regression", 2.0), 1) is None
