"""Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943), and the choice at its end.

All candidates are trained for a few epochs, the better ones for more. Every training begins anew,
with its whole schedule of the learning rate, so that what is compared is finished work of so many
epochs. Where the cheapest one that is good enough is sought, the last rung is a bisection of the
Pareto front. The functions here know candidates by their numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.errors import ModelError

# Of a rung, one in so many is trained again, four times as long.
_KEPT, _LONGER = 5, 4
# So few, compared after a third of the epochs, need no earlier rung.
_FINALISTS = 4
_LAST_SHARE = 1 / 3


@dataclass(frozen=True, eq=False)
class Trial:
    """A trained candidate.

    Attributes:
      epochs: Upper bound of its training.
      losses: `[n]`, the hard loss of each example of the validation part, with its weight.
      score: The task's main number there.
      error: Its standard error.
    """

    epochs: int
    losses: NDArray[np.float64]
    score: float
    error: float

    @property
    def loss(self) -> float:
        """Mean over the examples."""
        return float(self.losses.mean())


@dataclass(frozen=True)
class Rung:
    """How many candidates are trained for how many epochs."""

    count: int
    epochs: int


def rungs(count: int, epochs: int) -> list[Rung]:
    """The rungs for so many candidates and the epochs of a whole training; the longest last.

    Of 20 candidates and E epochs: all 20 for E / 12, then 4 for E / 3, which costs as much as three
    whole trainings.
    """
    counts = [count]
    while counts[-1] > _FINALISTS:
        counts.append(max(math.ceil(counts[-1] / _KEPT), min(3, counts[-1])))
    last = len(counts) - 1
    return [
        Rung(each, max(1, math.ceil(epochs * _LAST_SHARE / _LONGER ** (last - at))))
        for at, each in enumerate(counts)
    ]


def climb(
    numbers: Sequence[int],
    plan: Sequence[Rung],
    train: Callable[[int, int], Trial | None],
    costs: Mapping[int, float],
    always: Collection[int] = (),
    is_enough: Callable[[Trial], bool] | None = None,
) -> dict[int, Trial]:
    """Train the candidates rung by rung.

    Args:
      numbers: Of the candidates, in the order of preference.
      plan: The rungs.
      train: Trains a candidate for so many epochs; None where the time is up. It may raise
        ModelError, which takes the candidate out.
      costs: By number, what is to be small; empty: only the loss counts.
      always: Numbers of which the best one stays to the end.
      is_enough: Whether a trial is good enough, where the cheapest such candidate is sought.

    Returns:
      The last trial of each candidate that was trained.
    """
    trials: dict[int, Trial] = {}
    left = list(numbers)
    for at, rung in enumerate(plan):
        if at and at + 1 == len(plan) and is_enough and costs:
            known = {each: trials[each] for each in left}
            front = [each for each in left if not _is_beaten(each, known, costs)]
            front.sort(key=lambda number: (costs[number], trials[number].loss))
            return bisect(front, rung.epochs, train, is_enough, trials)
        if at:
            known = {each: trials[each] for each in left}
            left = survivors(known, rung.count, costs, always, spread=is_enough is not None)
            # The best first, in case the time will be up.
            left.sort(key=lambda number: trials[number].loss)
        trained = []
        for number in left:
            try:
                trial = train(number, rung.epochs)
            except ModelError:
                trials.pop(number, None)
                continue
            if trial is None:
                return trials
            trials[number] = trial
            trained.append(number)
        left = trained
    return trials


def bisect(
    front: Sequence[int],
    epochs: int,
    train: Callable[[int, int], Trial | None],
    is_enough: Callable[[Trial], bool],
    trials: Mapping[int, Trial] = MappingProxyType({}),
) -> dict[int, Trial]:
    """Train what it takes to find the cheapest candidate that is good enough.

    Args:
      front: Numbers, each of a dearer and better candidate than the one before; so each training
        halves what is left.
      epochs: Of each training.
      train: As of `climb`.
      is_enough: Whether a trial is good enough.
      trials: Those of shorter trainings.

    Returns:
      The last trial of each candidate that was trained.
    """
    found, left = dict(trials), list(front)
    while left:
        middle = len(left) // 2
        number = left[middle]
        try:
            trial = train(number, epochs)
        except ModelError:
            found.pop(number, None)
            left.remove(number)
            continue
        if trial is None:
            break
        found[number] = trial
        left = left[:middle] if is_enough(trial) else left[middle + 1 :]
    return found


def survivors(
    trials: Mapping[int, Trial],
    count: int,
    costs: Mapping[int, float],
    always: Collection[int] = (),
    *,
    spread: bool = False,
) -> list[int]:
    """The candidates that are trained longer, in the order in which they were.

    With costs, those come first that no other one beats in both, then those that only these beat,
    and so on. Of a front for which there is no room, the lower losses are kept; with
    `spread`, cheap and dear ones at even distances.
    """
    left = dict(trials)
    ranked: list[int] = []
    while left:
        front = [each for each in left if not _is_beaten(each, left, costs)]
        left = {each: trial for each, trial in left.items() if each not in front}
        front.sort(key=lambda each: trials[each].loss)
        room = count - len(ranked)
        if spread and 0 < room < len(front):
            front.sort(key=lambda each: costs.get(each, 0.0))
            front = [front[at] for at in np.linspace(0, len(front) - 1, room).round().astype(int)]
        ranked += front
    kept = set(ranked[:count])
    kept.update([each for each in ranked if each in always][:1])
    return [each for each in trials if each in kept]


def _is_beaten(number: int, trials: Mapping[int, Trial], costs: Mapping[int, float]) -> bool:
    """Whether another one is better in one of cost and loss, and not worse in the other."""
    loss, cost = trials[number].loss, costs.get(number, 0.0)
    return any(
        trial.loss <= loss
        and costs.get(other, 0.0) <= cost
        and (trial.loss < loss or costs.get(other, 0.0) < cost)
        for other, trial in trials.items()
    )


def as_good(trials: Mapping[int, Trial]) -> list[int]:
    """The best candidate and those not clearly worse, by the one-standard-error rule.

    Paired: the mean difference of the losses on the same examples must not exceed its own standard
    error (Breiman et al. 1984, section 3.4.3). So few examples leave the choice to the preference.
    """
    best = min(trials.values(), key=lambda trial: trial.loss)
    found = []
    for number, trial in trials.items():
        difference = trial.losses - best.losses
        error = 0.0
        if len(difference) > 1:
            error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
        if difference.mean() <= error:
            found.append(number)
    return found


def finalists(trials: Mapping[int, Trial]) -> dict[int, Trial]:
    """Those of the longest trainings, which alone can be compared."""
    longest = max(trial.epochs for trial in trials.values())
    return {number: trial for number, trial in trials.items() if trial.epochs == longest}


def choose(
    trials: Mapping[int, Trial],
    preference: Callable[[int], Any],
    keeps_limits: Callable[[Trial], bool] | None = None,
) -> int:
    """The winner among the finalists.

    Args:
      trials: At least one.
      preference: Key of a candidate; the smallest one wins.
      keeps_limits: Whether a trial is good enough; None: those that are as good as the best are.
        Where no trial is good enough, the best one wins.
    """
    last = finalists(trials)
    allowed = as_good(last)
    if keeps_limits is not None:
        allowed = [number for number, trial in last.items() if keeps_limits(trial)]
    if not allowed:
        return min(last, key=lambda number: last[number].loss)
    return min(allowed, key=preference)
