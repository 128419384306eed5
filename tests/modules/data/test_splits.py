"""Ids of examples and their splits, on the digits' own bytes."""

import hashlib

import pytest

from modules.data.sources.digits import Digits
from modules.data.splits import example_id, in_eval_split
from modules.settings import DataSettings

IMAGE = bytes(range(256))


def test_example_id_is_the_contents_digest():
    # `printf abc | sha256sum`
    known = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert example_id(b"abc") == known
    image = IMAGE
    assert example_id(image) == hashlib.sha256(image).hexdigest().encode()
    assert example_id(IMAGE[::-1]) != example_id(image)


@pytest.fixture(scope="module")
def digit_ids():
    source = Digits()
    return [example_id(source.read(item.name)) for item in source.items()]


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
