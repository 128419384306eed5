"""Features that give the label away, and those that only look so."""

import numpy as np
import pytest

from modules.data.leaks import Leaks
from modules.data.raw_examples import RawExample

RNG = np.random.default_rng(0)


def raw(label, **features):
    """A training example."""
    values = {name: value for name, value in features.items() if value is not None}
    row = {name: (value,) for name, value in values.items()}
    return RawExample("", row, [], [label], b"", b"", "train", None)


def leaks(examples, names=("x",), parts=3, *, regression=False):
    """What is named, found in parts that are added up, as Beam does."""
    total = Leaks()
    for index in range(parts):
        one = Leaks()
        for start in range(index, len(examples), 7 * parts):
            one.add(names, examples[start : start + 7 * parts : parts])
        total += one
    assert total.examples == len(examples)
    return total.named(regression=regression)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_feature_of_which_each_value_has_one_label_is_named(parts):
    examples = [raw("ab"[n % 2], x=n % 4, noise=n % 3) for n in range(120)]
    assert leaks(examples, ("noise", "x"), parts) == ["x"]


def test_one_exception_in_another_part_is_enough():
    examples = [raw("ab"[n % 2], x=n % 4) for n in range(120)]
    examples[-1] = raw("a", x=3)
    assert leaks(examples) == []


def test_a_missing_value_is_a_value():
    examples = [raw("ab"[n % 2], x=None if n % 2 else b"refund") for n in range(120)]
    assert leaks(examples) == ["x"]
    assert leaks([raw("ab"[n % 2], x=None if n % 3 else b"refund") for n in range(120)]) == []


@pytest.mark.parametrize(
    ("count", "value"),
    [
        (99, lambda n: n % 2),  # Too few examples.
        (120, lambda n: 7),  # One value.
        (120, lambda n: n),  # A value of its own each.
        (120, lambda n: n % 50),  # More than a fifth as many values.
        (12_000, lambda n: n % 1_002),  # More values than are kept.
        (120, lambda n: b"%d" % (n % 2) * 65),  # Long texts are not kept.
    ],
)
def test_what_may_be_chance_is_not_named(count, value):
    label = (lambda n: "a") if count == 120 and value(0) == value(1) else (lambda n: "ab"[n % 2])
    assert leaks([raw(label(n), x=value(n)) for n in range(count)]) == []


def test_no_more_than_a_thousand_values_are_kept():
    found = Leaks()
    for start in range(0, 5_000, 500):
        found.add(["x"], [raw("a", x=n) for n in range(start, start + 500)])
    assert found.labels == {"x": None}


def test_a_number_that_equals_the_label_of_a_regression_is_named():
    labels = RNG.normal(size=50).tolist()
    examples = [raw(y, same=y, near=y + 1e-6, whole=2) for y in labels]
    assert leaks(examples, ("same", "near", "whole"), regression=True) == ["same"]
    examples.append(raw(1.0))
    assert leaks(examples, ("same", "near", "whole"), regression=True) == []


def test_without_training_examples_nothing_is_named():
    assert Leaks().named(regression=False) == Leaks().named(regression=True) == []
