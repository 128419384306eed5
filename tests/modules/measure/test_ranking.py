"""Tests of modules.measure.ranking: scikit-learn's values, influences by differences, edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from modules.measure.ranking import Ranking

AREAS = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}


def _scored(ties: bool, weighted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.4
    scores = positive + rng.normal(size=80)
    return (
        positive,
        np.round(scores) if ties else scores,
        rng.gamma(2, size=80) if weighted else None,
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", AREAS)
def test_areas_and_influences(name: str, ties: bool, weighted: bool) -> None:
    positive, scores, weights = _scored(ties, weighted)
    found = getattr(Ranking(positive, scores, weights), name)()
    assert found.value == pytest.approx(AREAS[name](positive, scores, sample_weight=weights))
    assert found.influence.mean() == pytest.approx(0, abs=1e-12)
    plain = np.ones(80) if weights is None else weights
    for at in (0, 7, 33, 61):
        moved = plain.copy()
        moved[at] += 1e-6
        slope = (AREAS[name](positive, scores, sample_weight=moved) - found.value) / 1e-6
        assert found.influence[at] == pytest.approx(80 * plain[at] * slope, abs=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_scikit_learns(ties: bool) -> None:
    positive, scores, weights = _scored(ties, weighted=True)
    ranking = Ranking(positive, scores, weights)
    x, y, _ = sk.roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(ranking.roc_curve(), np.stack([x, y], axis=1))
    precision, recall, _ = sk.precision_recall_curve(positive, scores, sample_weight=weights)
    # It ends with a point of its own at recall 0, and goes the other way.
    np.testing.assert_allclose(
        ranking.precision_recall_curve(), np.stack([recall, precision], axis=1)[-2::-1]
    )


def test_long_curves_are_thinned_out_and_keep_their_ends() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(30_000) < 0.5
    ranking = Ranking(positive, positive + rng.normal(size=30_000))
    curve = np.array(ranking.roc_curve())
    assert len(curve) <= 202
    assert (curve[0].tolist(), curve[-1].tolist()) == ([0, 0], [1, 1])
    assert sk.auc(*curve.T) == pytest.approx(ranking.roc_auc().value, abs=1e-3)
    assert len(ranking.precision_recall_curve()) <= 202


@pytest.mark.parametrize(
    ("positive", "scores"),
    [([True, True], [0.0, 1.0]), ([False], [0.0]), ([True, False], [math.nan, 1.0]), ([], [])],
)
def test_what_is_not_defined_is_nan(positive: list[bool], scores: list[float]) -> None:
    ranking = Ranking(np.array(positive, bool), np.array(scores))
    for found in (ranking.roc_auc(), ranking.average_precision()):
        assert math.isnan(found.value)
        assert np.isnan(found.influence).all()
    assert ranking.roc_curve() == ranking.precision_recall_curve() == []


def test_ties_count_half() -> None:
    found: Any = Ranking(np.array([True, False]), np.array([1.0, 1.0]))
    assert found.roc_auc().value == 0.5
