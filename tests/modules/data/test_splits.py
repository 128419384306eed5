"""Ids of examples and their splits, on the digits' own bytes."""

import hashlib

import numpy as np
import pytest

from modules.data.sources.digits import digits
from modules.data.splits import (
    EVAL,
    TRAIN,
    Ends,
    Lowest,
    Splitter,
    example_id,
    in_eval_split,
    moment,
    position,
    short,
    stratify,
)
from modules.errors import DataError
from modules.settings import DataSettings

IMAGE = bytes(range(256))


def test_example_id_is_the_contents_digest():
    # `printf abc | sha256sum`
    known = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert example_id(b"abc") == known
    assert example_id(IMAGE) == hashlib.sha256(IMAGE).hexdigest().encode()
    assert example_id(IMAGE[::-1]) != example_id(IMAGE)


@pytest.fixture(scope="module")
def digit_ids():
    return [example_id(image) for image, _ in digits()]


def _eval(ids, fraction, seed=0):
    settings = DataSettings(eval_fraction=fraction, split_seed=seed)
    return {identity for identity in ids if in_eval_split(identity, settings)}


@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.7])
def test_share_of_the_eval_split(digit_ids, fraction):
    ids = set(digit_ids)
    deviation = (fraction * (1 - fraction) / len(ids)) ** 0.5
    assert abs(len(_eval(ids, fraction)) / len(ids) - fraction) < 4 * deviation


def test_a_larger_fraction_only_adds(digit_ids):
    small, middle, large = (_eval(digit_ids, fraction) for fraction in (0.1, 0.2, 0.5))
    assert small < middle < large


def test_the_seed_changes_the_split(digit_ids):
    first, second = _eval(digit_ids, 0.5, seed=0), _eval(digit_ids, 0.5, seed=1)
    assert first == _eval(digit_ids, 0.5, seed=0)
    # Independent halves share a quarter.
    assert abs(len(first & second) / len(set(digit_ids)) - 0.25) < 0.05


def test_the_same_content_falls_on_the_same_side(digit_ids):
    # The split is a function of the bytes: neither name nor place nor process matters.
    assert _eval([example_id(b"x")], 0.5) == _eval([example_id(b"x")] * 3, 0.5)
    digest = hashlib.sha256(b"7/" + digit_ids[0]).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    assert _eval(digit_ids[:1], share + 1e-6, seed=7) == {digit_ids[0]}
    assert _eval(digit_ids[:1], share - 1e-6, seed=7) == set()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1970-01-02", 86400),
        (b"1970-01-01T00:00:01", 1),
        (b"1970-01-01T01:00:00+01:00", 0),
        (b"1970-01-01 00:01", 60),
        (b"2019", 2019),
        (2019, 2019),
        (1.5, 1.5),
    ],
)
def test_moments(value, seconds):
    assert moment(value) == seconds


def test_a_time_splits_at_its_limit():
    splitter = Splitter(DataSettings(source="csv", time="day", eval_from="2024-03-01"))
    sides = [
        splitter.split("", b"", [day]) for day in (b"2024-02-29", b"2024-03-01", b"2024-12-31")
    ]
    assert sides == [TRAIN, EVAL, EVAL]
    for wrong in (None, [], [b"soon"]):
        with pytest.raises(
            DataError,
            match=r"data\.time: 'day' must be a date such as 2024-03-31, a time or a number",
        ):
            splitter.split("", b"", wrong)


def test_own_split_comes_before_all():
    splitter = Splitter(DataSettings(time="day", eval_from="2024-03-01"))
    assert splitter.split("train", b"", [b"2025-01-01"]) == TRAIN


def test_the_lowest_numbers_are_found_however_they_are_added_up():
    numbers = [int(each) for each in np.random.default_rng(0).integers(0, 2**62, 5000)]
    parts = []
    for part in (numbers[:10], numbers[10:4000], numbers[4000:], numbers[:10]):
        parts.append(Lowest())
        for number in part:
            parts[-1].add(number, 20)
    assert sum(parts, Lowest()).found() == sorted(numbers)[:20]


def ends_of(classes, settings):
    """`Ends` of classes, each a list of units, added up one by one."""
    ends = {}
    for name, units in classes.items():
        for unit in units:
            one = Ends()
            side = EVAL if in_eval_split(unit, settings) else TRAIN
            one.add(side, position(unit, settings.split_seed), short(unit))
            ends[name] = ends.get(name, Ends()) + one
    return ends


def units_on(side, count, settings):
    found = (example_id(b"%d" % index) for index in range(10_000))
    return [unit for unit in found if in_eval_split(unit, settings) == (side == EVAL)][:count]


@pytest.mark.parametrize(
    ("fraction", "side", "count", "moved"),
    [
        (0.2, TRAIN, 4, 1),  # 0.8 of an example
        (0.2, TRAIN, 10, 2),
        (0.2, TRAIN, 2, 1),
        (0.2, EVAL, 5, 4),
        (0.2, EVAL, 2, 1),
        (0.5, TRAIN, 100, 15),  # all but one of the 16 that are remembered
    ],
)
def test_a_class_on_one_side_gives_its_share(fraction, side, count, moved):
    settings = DataSettings(eval_fraction=fraction)
    units = units_on(side, count, settings)
    other = EVAL if side == TRAIN else TRAIN
    both = units_on(TRAIN, 3, settings) + units_on(EVAL, 3, settings)
    found = stratify(ends_of({"rare": units, "common": both}, settings), settings)
    nearest = sorted(units, key=lambda unit: position(unit, 0), reverse=side == EVAL)[:moved]
    assert found == {short(unit): other for unit in nearest}
    splitter = Splitter(settings, found)
    assert {splitter.split("", unit, None) for unit in units} == {TRAIN, EVAL}


def test_classes_with_too_few_examples_are_all_named():
    settings = DataSettings()
    (one,) = units_on(TRAIN, 1, settings)
    classes = {"owl": [one], "elk": [one] * 3, "ant": units_on(TRAIN, 5, settings)}
    with pytest.raises(DataError) as caught:
        stratify(ends_of(classes, settings), settings)
    assert str(caught.value) == (
        "every class needs one different example for training and another one for the judgment, "
        "but these have too few: 'elk' (3 example(s)), 'owl' (1 example(s)); add examples or "
        "remove these classes"
    )
