"""Tests of modules.data.sampling against a choice that holds everything in memory."""

import random
from itertools import zip_longest

import numpy as np
import pytest

from modules.data.sampling import BalancedChoice


def _offers(sizes, seed):
    """`(label, rank, item)` of `sizes[label]` items of each label."""
    ranks = random.Random(seed)
    return [
        (label, ranks.getrandbits(62), b"%d of %d" % (number, label))
        for label, size in enumerate(sizes)
        for number in range(size)
    ]


def _all_at_once(offers, count, seed):
    """Everything sorted, classes in turn, cut off."""
    order = {label: np.random.default_rng([seed, label]).random() for label, _, _ in offers}
    columns = [
        [item for _, item in sorted((rank, item) for one, rank, item in offers if one == label)]
        for label in sorted(order, key=order.get)
    ]
    in_turn = [item for turn in zip_longest(*columns) for item in turn if item is not None]
    return in_turn[:count]


@pytest.mark.parametrize("count", [1, 7, 40, 41, 10_000])
@pytest.mark.parametrize(
    "sizes", [[30], [30, 30, 30], [100, 1, 5, 0, 100], [2] * 60, list(range(12))], ids=str
)
def test_is_the_choice_of_one_who_sees_everything(sizes, count):
    for seed in range(5):
        offers = _offers(sizes, seed)
        expected = _all_at_once(offers, count, seed)
        assert len(expected) == min(count, sum(sizes))
        for arrival in ("by class", "shuffled", "backwards"):
            if arrival == "shuffled":
                random.Random(seed).shuffle(offers)
            elif arrival == "backwards":
                offers.sort(reverse=True)
            choice = BalancedChoice(count, seed)
            for offer in offers:
                choice.offer(*offer)
            assert choice.in_turn() == expected, arrival


def test_holds_no_more_than_was_asked_for():
    choice = BalancedChoice(10, 0)
    for offer in _offers([200, 3, 500], 0):
        choice.offer(*offer)
        assert len(choice.in_turn()) <= 10
