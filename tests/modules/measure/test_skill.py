"""modules.measure.skill: constants by hand, and teachers that know much, little or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modules.measure.registry import metrics_of
from modules.measure.skill import Skill, constant_answers, skill
from modules.settings import Task


def _skill(task: Task, labels: Any, outputs: Any, weights: Any = None) -> Skill:
    metrics = metrics_of(task, 0.95, seed=1)
    return skill(metrics, metrics.answers.from_outputs(labels, outputs, weights))


def _logits(labels: np.ndarray, classes: int, right: float) -> np.ndarray:
    """Answers of which a share is right, the others at random."""
    random = np.random.default_rng(len(labels))
    guessed = random.integers(0, classes, len(labels))
    known = random.random(len(labels)) < right
    return 4.0 * np.eye(classes)[np.where(known, labels, guessed)]


def test_the_constant_answer_is_the_most_frequent_class_or_the_mean() -> None:
    labels = np.array([0, 1, 1, 3])
    fixed = constant_answers(
        metrics_of("classification", 0.95, 0).answers.from_outputs(labels, np.zeros((4, 5)))
    )
    assert fixed.predicted.tolist() == [1] * 4
    assert fixed.loss[:2] == pytest.approx([np.log(4), np.log(2)], rel=1e-4)
    weighted = metrics_of("classification", 0.95, 0).answers.from_outputs(
        labels, np.zeros((4, 5)), [9, 1, 1, 1]
    )
    assert constant_answers(weighted).predicted.tolist() == [0] * 4
    many = metrics_of("multilabel", 0.95, 0).answers.from_outputs(
        [[1, 0], [1, 0], [0, 1]], np.zeros((3, 2))
    )
    assert constant_answers(many).logits[0] == pytest.approx([np.log(2), -np.log(2)], rel=1e-5)
    values = metrics_of("regression", 0.95, 0).answers.from_outputs(
        [1.0, 2.0, 6.0], np.zeros((3, 1))
    )
    assert constant_answers(values).values.tolist() == [3.0] * 3


@pytest.mark.parametrize("count", [144, 2000])
def test_chance_is_weak_and_skill_is_not(count: int) -> None:
    labels = np.random.default_rng(count + 1).integers(0, 10, count)
    guessing = _skill("classification", labels, _logits(labels, 10, 0.0))
    assert (guessing.weak, guessing.constant) == (True, np.bincount(labels).max() / count)
    assert not _skill("classification", labels, _logits(labels, 10, 0.5)).weak
    # One class for everything, be it the most frequent one.
    stuck = np.tile(np.eye(10)[np.bincount(labels).argmax()], (count, 1))
    assert _skill("classification", labels, stuck).weak


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_few_examples_make_nothing_clear(count: int) -> None:
    labels = np.random.default_rng(count + 1).integers(0, 10, count)
    assert not _skill("classification", labels, -_logits(labels, 10, 1.0)).weak


def test_knowledge_of_a_rare_class_shows_in_the_ranking() -> None:
    random = np.random.default_rng(3)
    labels = (random.random(4000) < 0.03).astype(int)
    score = 2.0 * labels + random.normal(size=4000) - 6
    found = _skill("binary", labels, np.stack([np.zeros(4000), score], axis=1))
    # Its accuracy is that of always saying no.
    assert (found.weak, found.value) == (False, pytest.approx(found.constant, abs=0.002))
    noise = random.normal(size=4000) - 6
    assert _skill("binary", labels, np.stack([np.zeros(4000), noise], axis=1)).weak


def test_labels_and_values() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, (300, 4))
    assert _skill("multilabel", labels, random.normal(size=(300, 4))).weak
    assert not _skill("multilabel", labels, labels + random.normal(size=(300, 4)) - 0.5).weak
    values = random.normal(50, 10, 300)
    lost = _skill("regression", values, np.full((300, 1), 50.0))
    assert (lost.weak, lost.constant) == (True, pytest.approx(values.std()))
    assert lost.value == pytest.approx(values.std(), rel=0.05)
    assert not _skill("regression", values, (values + random.normal(0, 8, 300))[:, None]).weak
    assert _skill("regression", values, np.full((300, 1), np.nan)).weak


def test_where_all_labels_are_alike_nothing_can_be_better() -> None:
    assert not _skill("regression", np.ones(50), np.zeros((50, 1))).weak
    assert not _skill("binary", np.ones(50, int), np.zeros((50, 2))).weak
