"""What was written, added up, and what is refused of it."""

from collections import Counter

import numpy as np
import pytest

from modules.data.labels import Labels
from modules.data.raw_examples import RawExample
from modules.data.tally import Tally, check_tally
from modules.errors import DataError
from modules.settings import DataSettings

CLASSES = Labels("classification", ("a", "b"), {"a": 0, "b": 1})


def tally(*examples, labels=CLASSES):
    """A tally of `(split, label)`, each counted by itself."""
    total = Tally()
    for split, label in examples:
        one = Tally()
        label = None if label is None else [label]
        one.add(RawExample("", None, [], label, b"", b"", split, None), labels)
        total += one
    return total


GOOD = [("train", "a"), ("train", "b"), ("train", "b"), ("eval", "a"), ("unlabeled", None)]


def test_examples_are_counted_by_split_and_class():
    dataset = tally(*GOOD).dataset(CLASSES, weighted=False, kinds={"x": "image"})
    assert dataset.examples == {"train": 3, "eval": 1, "unlabeled": 1}
    assert dataset.class_counts == {"train": {"a": 1, "b": 2}, "eval": {"a": 1, "b": 0}}
    assert (dataset.output.size, dataset.output.classes) == (2, ("a", "b"))
    check_tally(tally(*GOOD), CLASSES, DataSettings(), unlabeled=True)


@pytest.mark.parametrize("parts", [1, 2, 50])
def test_mean_and_deviation_do_not_depend_on_the_parts(parts):
    values = np.random.default_rng(0).normal(1e4, 3, 100)
    labels = Labels("regression")
    tallies = [
        tally(*(("train", value) for value in part), labels=labels)
        for part in np.array_split(values, parts)
    ]
    total = sum(tallies, Tally()) + tally(("eval", 5.0), labels=labels)
    output = total.dataset(labels, weighted=False, kinds={}).output
    assert output.mean == pytest.approx(values.mean())
    assert output.deviation == pytest.approx(values.std())
    assert (output.size, output.classes) == (1, ())


@pytest.mark.parametrize(
    ("examples", "settings", "message"),
    [
        (
            [("train", "a"), ("train", "b")],
            {},
            "the eval split is empty (2 examples in all); raise data.eval_fraction, change "
            "data.split_seed or add examples",
        ),
        ([("eval", "a")], {}, "the train split is empty (1 examples in all); lower data.eval_frac"),
        ([("eval", "a")], {"time": "t", "eval_from": "2"}, "set data.eval_from later"),
        ([("train", "a")], {"time": "t", "eval_from": "2"}, "set data.eval_from earlier"),
        ([("train", "a")], {"splits": {"train": "x", "eval": "y"}}, "fix data.splits.eval"),
        (
            [("train", "a"), ("eval", "b")],
            {},
            "the following class has no example in the train split: 'b' (1 in eval)",
        ),
        (GOOD[:-1], {"unlabeled": "/pool"}, "the unlabeled split is empty"),
    ],
)
def test_a_split_or_class_without_examples(examples, settings, message):
    given = DataSettings(**settings)
    with pytest.raises(DataError) as caught:
        check_tally(tally(*examples), CLASSES, given, unlabeled=bool(given.unlabeled))
    assert message in str(caught.value)


@pytest.mark.parametrize(("fraction", "warned"), [(0.2, True), (0.4, False)])
def test_groups_that_spoil_the_share_are_noticed(fraction, warned, caplog):
    examples = [("train", "a"), ("train", "b"), ("eval", "a"), ("eval", "b")]
    settings = DataSettings(group="patient", eval_fraction=fraction)
    check_tally(tally(*examples), CLASSES, settings, unlabeled=False)
    assert ("50% of the examples are in eval instead of 20%" in caplog.text) == warned


def test_a_class_that_is_not_judged_on_is_accepted():
    check_tally(tally(*GOOD), CLASSES, DataSettings(), unlabeled=False)


def test_a_regression_needs_labels_that_vary():
    labels = Labels("regression")
    constant = tally(*[("train", 3.0)] * 4, ("eval", 1.0), labels=labels)
    with pytest.raises(DataError, match=r"data\.label must vary, but it is 3 in all training"):
        check_tally(constant, labels, DataSettings(), unlabeled=False)


def test_data_that_changed_between_the_readings():
    changed = Tally(Counter(train=1), problem="x.csv:3: gone")
    with pytest.raises(DataError, match=r"have changed while they were read: x\.csv:3: gone"):
        check_tally(changed, CLASSES, DataSettings(), unlabeled=False)
