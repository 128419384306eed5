"""modules.data.augmentation: real digits, brute force over all windows, NumPy for the mixture."""

import numpy as np
import pytest
import tensorflow as tf

from modules.data.augmentation import augment, below, mix, partners, view_keys
from modules.settings import AugmentSettings

COUNT = 64
EVERYTHING = AugmentSettings(pad_crop=2, flip=True, cutout=3)


@pytest.fixture(scope="module")
def pictures(digit_pixels):
    """Digits as 8x6 pictures with two channels, so that no axis can be taken for another."""
    gray = digit_pixels[:COUNT, :, 1:7]
    return np.concatenate([gray, 255 - gray], axis=3)


@pytest.fixture(scope="module")
def ids():
    return np.array([f"id-{number}".encode() for number in range(COUNT)])


def _views(pictures, ids, settings, views=0, seed=0):
    numbers = tf.broadcast_to(tf.constant(views, tf.int64), [len(ids)])
    changed = augment(tf.constant(pictures), tf.constant(ids), numbers, settings, seed)
    assert changed.dtype == tf.uint8 and changed.shape == pictures.shape
    return changed.numpy()


# -- A function of example, view and seed --


def test_a_view_does_not_depend_on_its_batch(pictures, ids):
    together = _views(pictures, ids, EVERYTHING)
    np.testing.assert_array_equal(together, _views(pictures, ids, EVERYTHING))
    order = np.random.default_rng(0).permutation(COUNT)
    np.testing.assert_array_equal(
        together[order], _views(pictures[order], ids[order], EVERYTHING), err_msg="order"
    )
    for start, stop in ((0, 1), (5, 8), (40, COUNT)):
        part = slice(start, stop)
        np.testing.assert_array_equal(
            together[part], _views(pictures[part], ids[part], EVERYTHING), err_msg="part"
        )


def test_a_view_is_the_same_within_a_traced_pipeline(pictures, ids):
    data = tf.data.Dataset.from_tensor_slices((pictures, ids)).batch(7)
    traced = data.map(
        lambda images, names: augment(
            images, names, tf.fill(tf.shape(names), tf.constant(3, tf.int64)), EVERYTHING, 5
        )
    )
    np.testing.assert_array_equal(
        np.concatenate(list(traced.as_numpy_iterator())),
        _views(pictures, ids, EVERYTHING, views=3, seed=5),
    )


@pytest.mark.parametrize(
    "settings",
    [
        AugmentSettings(pad_crop=2),
        AugmentSettings(flip=True),
        AugmentSettings(cutout=3),
        EVERYTHING,
    ],
    ids=["pad_crop", "flip", "cutout", "all"],
)
def test_another_view_seed_or_id_gives_another_picture(pictures, ids, settings):
    first = _views(pictures, ids, settings)
    others = {
        "view": _views(pictures, ids, settings, views=1),
        "seed": _views(pictures, ids, settings, seed=1),
        "id": _views(pictures, np.char.add(ids, b"+"), settings),
    }
    for what, other in others.items():
        differ = (first != other).any(axis=(1, 2, 3)).mean()
        # Of mirrored pictures half remain the same.
        assert differ > 0.25, what
    # Nor are they the same changes as one another.
    assert (others["view"] != others["seed"]).any()


def test_views_of_one_batch_may_be_mixed(pictures, ids):
    views = np.arange(COUNT) % 3
    mixed = _views(pictures, ids, EVERYTHING, views=views)
    for view in range(3):
        chosen = views == view
        np.testing.assert_array_equal(
            mixed[chosen], _views(pictures, ids, EVERYTHING, views=view)[chosen]
        )


def test_numbers_are_spread_evenly():
    keys = view_keys(tf.constant([f"{n}" for n in range(6000)]), tf.zeros(6000, tf.int64), 0)
    counts = np.bincount(below(keys, "row", 5).numpy(), minlength=5)
    assert len(counts) == 5
    # Chi-square with four degrees of freedom: one draw in a thousand is above 18.5.
    assert ((counts - 1200) ** 2 / 1200).sum() < 18.5
    # Another purpose is independent: all 25 pairs occur about as often.
    pairs = 5 * below(keys, "row", 5).numpy() + below(keys, "column", 5).numpy()
    counts = np.bincount(pairs, minlength=25)
    assert ((counts - 240) ** 2 / 240).sum() < 51.2  # 24 degrees of freedom


# -- What is changed --


@pytest.mark.parametrize("pad", [1, 2, 3])
def test_pad_crop_shows_a_window_of_the_padded_picture(pictures, ids, pad):
    _, height, width, _ = pictures.shape
    found = []
    for view in range(4):
        changed = _views(pictures, ids, AugmentSettings(pad_crop=pad), views=view)
        for picture, window in zip(pictures, changed, strict=True):
            padded = np.pad(picture, [(pad, pad), (pad, pad), (0, 0)])
            places = [
                (row, column)
                for row in range(2 * pad + 1)
                for column in range(2 * pad + 1)
                if np.array_equal(padded[row : row + height, column : column + width], window)
            ]
            assert places
            found.append(places)
    certain = {places[0] for places in found if len(places) == 1}
    assert len(certain) > 0.8 * (2 * pad + 1) ** 2  # all places are possible
    assert {row for row, _ in certain} == set(range(2 * pad + 1))
    assert {column for _, column in certain} == set(range(2 * pad + 1))


def test_flip_mirrors_about_half(pictures, ids):
    changed = _views(pictures, ids, AugmentSettings(flip=True))
    mirrored = [
        np.array_equal(new, old[:, ::-1]) for old, new in zip(pictures, changed, strict=True)
    ]
    kept = [np.array_equal(new, old) for old, new in zip(pictures, changed, strict=True)]
    assert all(np.logical_xor(mirrored, kept))
    assert COUNT / 4 < sum(mirrored) < 3 * COUNT / 4


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_cutout_grays_a_square(ids, side):
    pictures = np.full((COUNT, 8, 6, 2), 7, np.uint8)
    whole, places = 0, set()
    for view in range(3):
        changed = _views(pictures, ids, AugmentSettings(cutout=side), views=view)
        for picture in changed:
            assert set(np.unique(picture)) <= {7, 128}
            hole = picture == 128
            np.testing.assert_array_equal(hole[..., 0], hole[..., 1])
            rows, columns = (np.flatnonzero(hole[..., 0].any(axis=axis)) for axis in (1, 0))
            # A rectangle: rows x columns, neither with a gap; cut off by the border alone.
            assert hole[..., 0].sum() == len(rows) * len(columns) > 0
            for covered, size in ((rows, 8), (columns, 6)):
                assert np.ptp(covered) == len(covered) - 1
                inside = covered[0] > 0 and covered[-1] < size - 1
                assert len(covered) == side if inside else len(covered) <= side
            whole += len(rows) == len(columns) == side
            places.add((rows[0], columns[0]))
    assert whole > COUNT / 4 and len(places) > 10


def test_nothing_is_changed_where_nothing_is_asked_for(pictures, ids):
    np.testing.assert_array_equal(_views(pictures, ids, AugmentSettings(), 3, 4), pictures)
    assert not AugmentSettings().active and EVERYTHING.active


# -- Mixup --


def _mixed(pictures, ids, labels, largest, seed=0):
    keys = view_keys(tf.constant(ids), tf.zeros(len(ids), tf.int64), seed)
    truth, others = tf.one_hot(labels, 10), partners(tf.fill([len(ids)], True))
    images, truth = mix(tf.constant(pictures), truth, others, keys, largest)
    assert images.dtype == tf.uint8 and images.shape == pictures.shape
    assert truth.dtype == tf.float32 and truth.shape == (len(ids), 10)
    return images.numpy(), truth.numpy()


@pytest.mark.parametrize("largest", [0.1, 0.5])
def test_mixture_agrees_with_numpy(pictures, ids, largest):
    # No label like its neighbors', so that the shares can be read off.
    labels = np.arange(COUNT) % 10
    images, truth = _mixed(pictures, ids, labels, largest)
    np.testing.assert_allclose(truth.sum(axis=1), 1, rtol=1e-6)
    before = np.roll(np.arange(COUNT), 1)
    shares = truth[np.arange(COUNT), labels[before]].astype(np.float64)
    assert shares.min() >= 0 and 0.8 * largest < shares.max() <= largest
    assert 0.3 * largest < shares.mean() < 0.7 * largest
    np.testing.assert_allclose(truth[np.arange(COUNT), labels], 1 - shares, atol=1e-6)
    wide = shares[:, None, None, None]
    exact = (1 - wide) * pictures + wide * pictures[before]
    assert np.abs(images - exact).max() <= 0.5 + 1e-3  # rounded to the nearest
    assert np.abs(images - exact).mean() > 0.05


def test_mixture_of_share_zero_is_the_picture(pictures, ids, digit_labels):
    images, truth = _mixed(pictures, ids, digit_labels[:COUNT], 0.0)
    np.testing.assert_array_equal(images, pictures)
    np.testing.assert_array_equal(truth, np.eye(10, dtype=np.float32)[digit_labels[:COUNT]])


def test_another_seed_mixes_otherwise(pictures, ids, digit_labels):
    labels = digit_labels[:COUNT]
    first, again, other = (_mixed(pictures, ids, labels, 0.5, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).mean() > 0.5
