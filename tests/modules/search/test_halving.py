"""Tests of modules.search.halving, whose candidates are numbers with given losses."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from modules.errors import ModelError
from modules.search.halving import Rung, Trial, as_good, choose, climb, rungs, survivors


def trial(loss, epochs=10, score=0.5, examples=4):
    return Trial(epochs, np.full(examples, float(loss)), score, 0.0)


def trials(*losses, **more):
    return {number: trial(loss, **more) for number, loss in enumerate(losses)}


# -- rungs --


def test_twenty_candidates_cost_as_much_as_three_whole_trainings():
    plan = rungs(20, 60)
    assert plan == [Rung(20, 5), Rung(4, 20)]
    assert sum(rung.count * rung.epochs for rung in plan) == 3 * 60


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 19, 20, 21, 100, 101, 1000])
def test_few_finalists_are_left_after_ever_longer_rungs(count):
    plan = rungs(count, 300)
    assert plan[0].count == count and plan[-1].count <= 4 and plan[-1].epochs == 100
    for before, after in pairwise(plan):
        assert after.count < before.count and after.epochs > before.epochs
        # No rung costs much more than the one before.
        assert after.count * after.epochs <= 2.5 * before.count * before.epochs


def test_no_rung_is_without_an_epoch():
    assert [rung.epochs for rung in rungs(20, 1)] == [1, 1]


# -- who goes on --


def test_the_lower_losses_go_on_in_their_order():
    assert survivors(trials(5, 1, 4, 2, 3), 3, {}) == [1, 3, 4]


def test_with_costs_the_pareto_front_goes_on_before_what_it_beats():
    losses, costs = trials(1.0, 2.0, 3.0, 1.5, 2.5), {0: 50, 1: 20, 2: 10, 3: 60, 4: 20}
    # 3 is worse and dearer than 0, and 4 than 1.
    assert survivors(losses, 3, costs) == [0, 1, 2]
    assert survivors(losses, 4, costs) == [0, 1, 2, 3]


def test_equals_do_not_beat_each_other():
    assert survivors(trials(1, 1, 2), 2, {0: 5, 1: 5, 2: 5}) == [0, 1]


def test_of_a_front_without_room_cheap_and_dear_ones_may_go_on():
    costs = {number: 10 * number for number in range(7)}
    assert survivors(trials(7, 6, 5, 4, 3, 2, 1), 3, costs) == [4, 5, 6]
    assert survivors(trials(7, 6, 5, 4, 3, 2, 1), 3, costs, spread=True) == [0, 3, 6]


def test_the_best_of_some_stays_whatever_its_loss():
    assert survivors(trials(1, 2, 9, 8), 2, {}, always=[2, 3]) == [0, 1, 3]


# -- the choice --


def test_a_difference_within_its_standard_error_is_none():
    best = trial(1.0)
    # Mean 0.1; standard deviation 0.2, so the standard error is 0.1.
    near = dataclasses.replace(best, losses=best.losses + np.array([0.4, 0.0, 0.0, 0.0]))
    assert np.isclose((near.losses - best.losses).std(ddof=1) / 2, 0.1)
    beyond = dataclasses.replace(best, losses=best.losses + np.array([0.1, 0.12, 0.08, 0.1]))
    assert as_good({0: near, 1: best, 2: beyond}) == [0, 1]


def test_what_is_as_good_goes_by_preference():
    found = {0: trial(1.0), 1: trial(1.0), 2: trial(1.2)}
    assert choose(found, lambda number: {0: 7, 1: 3, 2: 1}[number]) == 1


def test_only_the_longest_trainings_are_compared():
    found = {0: trial(0.1, epochs=3), 1: trial(0.5, epochs=9), 2: trial(0.6, epochs=9)}
    assert choose(found, lambda number: number) == 1


def test_with_limits_the_preferred_one_that_keeps_them_wins():
    found = {0: trial(0.1, score=0.9), 1: trial(0.5, score=0.8), 2: trial(0.9, score=0.6)}
    size = {0: 30, 1: 20, 2: 10}
    assert choose(found, size.__getitem__, lambda each: each.score >= 0.8) == 1


def test_where_none_keeps_the_limits_the_best_one_wins():
    found = {0: trial(0.5, score=0.6), 1: trial(0.1, score=0.7)}
    assert choose(found, lambda number: number, lambda each: each.score >= 0.8) == 1


# -- the climb --


def test_every_candidate_is_trained_and_few_of_them_longer():
    asked = []

    def train(number, epochs):
        asked.append((number, epochs))
        return trial(number, epochs)

    plan = rungs(10, 60)
    found = climb(range(10), plan, train, {})
    assert asked == [*((number, 5) for number in range(10)), (0, 20), (1, 20), (2, 20)]
    assert [found[number].epochs for number in range(4)] == [20, 20, 20, 5]


def test_who_fails_is_out_and_the_others_go_on():
    def train(number, epochs):
        if number == 0 or (number == 1 and epochs > 5):
            raise ModelError("the loss is nan")
        return trial(number, epochs)

    found = climb(range(6), rungs(6, 60), train, {})
    assert 0 not in found and 1 not in found
    assert {number for number, each in found.items() if each.epochs == 20} == {2, 3}


def test_when_the_time_is_up_what_there_is_counts():
    def train(number, epochs):
        return trial(number, epochs) if number < 3 else None

    assert sorted(climb(range(6), rungs(6, 60), train, {})) == [0, 1, 2]


def cheapest(count, is_enough, train):
    """The winner, and which were trained longer; a candidate costs its number."""
    longest = []

    def watched(number, epochs):
        if epochs == 20:
            longest.append(number)
        return train(number, epochs)

    costs = {number: number for number in range(count)}
    found = climb(range(count), rungs(count, 60), watched, costs, is_enough=is_enough)
    return choose(found, costs.__getitem__, is_enough), longest


@pytest.mark.parametrize("least", range(20))
def test_the_cheapest_that_is_enough_is_found_by_halving_the_front(least):
    winner, longest = cheapest(
        20, lambda each: each.score >= least, lambda at, epochs: trial(-at, epochs, score=at)
    )
    assert winner == least and len(longest) <= 5


def test_what_another_one_beats_is_not_trained_longer():
    def train(number, epochs):
        # An odd one is dearer than the even one before it, and worse.
        return trial(-number + 3 * (number % 2), epochs, score=number)

    winner, longest = cheapest(10, lambda each: each.score >= 3, train)
    assert winner == 4 and all(number % 2 == 0 for number in longest)


def test_where_none_is_enough_the_search_ends_at_the_dearest():
    winner, longest = cheapest(
        20, lambda each: False, lambda at, epochs: trial(-at, epochs, score=at)
    )
    assert winner == 19 and longest[-1] == 19 and len(longest) <= 5


def test_one_that_fails_leaves_the_choice_to_its_neighbors():
    def train(number, epochs):
        if number == 5 and epochs == 20:
            raise ModelError("the loss is nan")
        return trial(-number, epochs, score=number)

    winner, longest = cheapest(10, lambda each: each.score >= 5, train)
    assert winner == 6 and 5 in longest


def test_when_the_time_is_up_within_the_front_the_longest_trainings_count():
    begun = []

    def train(number, epochs):
        begun.append(number)
        return trial(-number, epochs, score=number) if len(begun) <= 11 else None

    winner, _ = cheapest(10, lambda each: each.score >= 2, train)
    assert begun[10:] == [5, 2] and winner == 5
