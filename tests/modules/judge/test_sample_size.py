"""modules.judge.sample_size: the advice is held to the intervals that its examples would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_evidence import evidence, only_check

from modules.judge.estimates import Estimate
from modules.judge.requirements import Requirement
from modules.judge.sample_size import examples_needed
from modules.measure.intervals import paired_difference, paired_shares, proportion
from modules.settings import Limit

DROP = Requirement(
    "drop", Limit(number="student.accuracy", against="teacher", max=0.01), "max", 0.01, "drop"
)
LEAST = Requirement("least", Limit(number="student.accuracy", min=0.95), "min", 0.95)


def test_models_that_answer_alike_need_as_many_as_their_interval_says() -> None:
    """It is z^2 / (n + z^2) wide on either side, so that n = z^2 (1 / limit - 1)."""
    alike = np.ones(100, bool)
    found = Estimate(0.0, paired_difference(alike, alike, 0.95), examples=100)
    needed = examples_needed(DROP, found, 0.95, 10_000)
    assert needed == pytest.approx(1.959964**2 * 99, rel=1e-4)
    more = np.ones(math.ceil(needed or 0), bool)
    assert paired_difference(more, more, 0.95)[1] <= 0.01
    assert paired_difference(more[:-1], more[:-1], 0.95)[1] > 0.01


@pytest.mark.parametrize(("gained", "lost"), [(3, 4), (0, 1), (20, 21)])
def test_models_that_differ_on_some_examples(gained: int, lost: int) -> None:
    """Ten times as many examples, ten times as many differences: with real answers."""

    def drop(times: int) -> tuple[float, float]:
        before, after = (np.ones(400 * times, bool) for _ in range(2))
        before[: gained * times] = False
        after[gained * times : (gained + lost) * times] = False
        return paired_difference(after, before, 0.95)

    found = Estimate((lost - gained) / 400, drop(1), examples=400)
    # Just as narrow a limit as ten times as many examples keep.
    requirement = Requirement("drop", DROP.limit, "max", drop(10)[1], "drop")
    assert examples_needed(requirement, found, 0.95, 40_000) == pytest.approx(4000, rel=1e-3)


@pytest.mark.parametrize("right", [200, 197])
def test_a_share(right: int) -> None:
    found = Estimate(right / 200, proportion(right, 200, 0.9), examples=200)
    threshold = proportion(8 * right, 1600, 0.9)[0]
    requirement = Requirement("least", LEAST.limit, "min", threshold)
    assert examples_needed(requirement, found, 0.9, 20_000) == pytest.approx(1600, rel=1e-3)


def test_other_intervals_narrow_with_the_root() -> None:
    found = Estimate(0.97, (0.94, 0.99), examples=400)
    assert examples_needed(LEAST, found, 0.95, 40_000) == pytest.approx(900, rel=1e-3)


def test_too_many_are_no_advice() -> None:
    found = Estimate(0.9501, (0.94, 0.99), examples=400)
    assert examples_needed(LEAST, found, 0.95, 40_000) is None


def test_the_reason_says_so() -> None:
    low, high = paired_shares(0, 0, 100, 0.95)
    alike = {"accuracy": {"value": 0.0, "low": low, "high": high}}
    found = evidence(("examples/eval", 100), ("student/against/teacher", alike))
    reason = only_check(found, max_accuracy_drop=0.01).reason
    assert "add eval examples (about 390 instead of 100, at the same rates)" in reason
