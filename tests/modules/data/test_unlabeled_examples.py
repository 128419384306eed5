"""ExampleData with unlabeled examples: what is shown, how often, in which order, marked how.

Every label is its example's number, so that orders and parts can be told; that of an unlabeled one
is -1 in real data, and here too where its number is not asked for.
"""

import numpy as np
import pytest
import tensorflow as tf
from example_files import write_examples
from image_data import image_spec

from modules.data import examples as data_module
from modules.data.augmentation import partners
from modules.data.examples import ExampleData, Order, View
from modules.settings import AugmentSettings, DataSettings

LABELED, UNLABELED = 50, 950
SETTINGS = DataSettings(validation_fraction=0.2)
SPEC = image_spec(2, 3)


def _write(directory, numbers, labels=None, files=1):
    pixels = [np.full(12, number % 251, np.uint8) for number in numbers]
    return write_examples(directory, pixels, numbers if labels is None else labels, numbers, files)


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    """Of the labeled and the unlabeled examples, whose files are called alike."""
    root = tmp_path_factory.mktemp("records")
    hidden = np.arange(LABELED, LABELED + UNLABELED)
    return (
        _write(root / "Split-train", np.arange(LABELED)),
        _write(root / "Split-unlabeled", hidden, files=3),
    )


def _data(patterns, **changes):
    arguments = {"unlabeled_patterns": [patterns[1]]} | changes
    return ExampleData([patterns[0]], SPEC, SETTINGS, **arguments)


def _order(batch_size=32, seed=0, epochs=range(1)):
    return Order(batch_size, seed, epochs)


def _shown(dataset):
    """Numbers and marks in the order of an epoch."""
    found = [(y["label"].numpy(), y["labeled"].numpy()) for _, y in dataset]
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _numbers(dataset):
    return [number for _, y in dataset for number in y["label"].numpy().tolist()]


@pytest.mark.parametrize("limit", [2**40, 0], ids=["in memory", "streamed"])
def test_an_epoch_shows_every_example_once_and_marks_the_labeled(patterns, monkeypatch, limit):
    monkeypatch.setattr(data_module, "_CACHE_LIMIT", limit)
    data = _data(patterns)
    held_out = _numbers(data.validation(64))
    assert len(held_out) > 0 and set(held_out) < set(range(LABELED))
    orders = []
    for first in (0, 1, 0):
        numbers, marks = _shown(data.training(_order(epochs=range(first, first + 1))))
        assert sorted([*numbers, *held_out]) == list(range(LABELED + UNLABELED))
        np.testing.assert_array_equal(marks, numbers < LABELED)
        orders.append(numbers.tolist())
    assert orders[0] == orders[2] != orders[1]
    count = LABELED + UNLABELED - len(held_out)
    assert (data.labeled_count, data.unlabeled_count) == (LABELED - len(held_out), UNLABELED)
    assert data.training_count() == count
    assert len(list(data.training(_order()))) == -(-count // 32)


def test_examples_in_memory_come_in_the_order_of_streamed_ones(patterns, monkeypatch):
    def shown(limit, **changes):
        monkeypatch.setattr(data_module, "_CACHE_LIMIT", limit)
        return [
            {name: values.numpy().tolist() for name, values in (inputs | y).items()}
            for inputs, y in _data(patterns, **changes).training(_order(seed=3))
        ]

    for changes in ({}, {"labels_only": True}):
        assert shown(2**40, **changes) == shown(0, **changes)


def test_validation_has_no_marks_and_is_that_of_the_labeled_alone(patterns):
    with_unlabeled, without = _data(patterns), _data(patterns, unlabeled_patterns=())
    assert _numbers(with_unlabeled.validation(7)) == _numbers(without.validation(7))
    assert all("labeled" not in y for _, y in with_unlabeled.validation(7))
    # And what has no unlabeled examples is marked nowhere.
    assert all("labeled" not in y for _, y in without.training(_order()))
    assert without.unlabeled_count == 0


def test_the_labeled_are_spread_even_where_few_are_held_for_shuffling(patterns, monkeypatch):
    data = _data(patterns)
    monkeypatch.setattr(data_module, "_SHUFFLE_BYTES", 64 * data._record_bytes)
    _, marks = _shown(data.training(_order()))
    quarters = [part.sum() for part in np.array_split(marks, 4)]
    # About ten in each; read one file after the other, all were in the first.
    assert sum(quarters) == data.labeled_count
    assert min(quarters) >= 5


@pytest.mark.parametrize(
    ("chosen", "total"), [(0, 7), (7, 7), (1, 3000), (1000, 3001), (2999, 3000)]
)
def test_spreading_is_even(chosen, total):
    places = np.array(list(data_module._spread(chosen, total).as_numpy_iterator()))
    assert len(places) == total and places.sum() == chosen and set(places) <= {0, 1}
    # Up to anywhere, the share so far is the whole share, to within one.
    expected = np.arange(1, total + 1) * chosen / total
    assert np.abs(np.cumsum(places) - expected).max() < 1


def test_labels_alone_come_again_until_the_steps_are_as_many(patterns):
    taught, alone = _data(patterns), _data(patterns, labels_only=True)
    control = alone.training(_order())
    assert len(list(control)) == len(list(taught.training(_order())))
    assert alone.unlabeled_count == 0
    assert all("labeled" not in y for _, y in control)
    numbers = np.array(_numbers(control))
    count = alone.labeled_count
    assert len(numbers) == taught.training_count() and numbers.max() < LABELED
    # One pass after the other, each with all examples in an order of its own.
    whole = numbers[: len(numbers) // count * count].reshape(-1, count)
    assert len(whole) > 20
    known = sorted(_numbers(_data(patterns, unlabeled_patterns=()).training(_order())))
    assert all(sorted(part) == known for part in whole.tolist())
    assert len({tuple(part) for part in whole.tolist()}) == len(whole)
    # The next epoch goes on with other orders; the same epoch again is the same.
    assert _numbers(alone.training(_order(epochs=range(1, 2)))) != numbers.tolist()
    assert _numbers(control) == numbers.tolist()


def test_without_unlabeled_examples_the_order_is_what_it_was(patterns):
    plain = _data(patterns, unlabeled_patterns=())
    alone = _data(patterns, unlabeled_patterns=(), labels_only=True)
    assert _numbers(plain.training(_order())) == _numbers(alone.training(_order()))


def test_repeated_examples_are_shown_in_view_after_view(patterns, tmp_path):
    pattern = write_examples(tmp_path / "one", np.full((1, 12), 9, np.uint8), [3], [0])
    settings = DataSettings(validation_fraction=1e-6)
    data = ExampleData([pattern], SPEC, settings, None, [patterns[1]], labels_only=True)
    view = View(AugmentSettings(cutout=1), 4, 5)
    shown = [
        image.tobytes() for x, _ in data.training(_order(), view) for image in x["image"].numpy()
    ]
    assert len(shown) == UNLABELED + 1
    assert shown[:4] == shown[4:8] and len(set(shown)) == len(set(shown[:4])) > 1


def test_an_unlabeled_example_weighs_one(tmp_path):
    spec = SPEC.model_copy(update={"class_weights": tuple(np.arange(2.0, 12.0))})
    labels = np.arange(20) % 10
    labeled = _write(tmp_path / "Split-train", np.arange(20), labels)
    hidden = _write(tmp_path / "Split-unlabeled", np.arange(100, 130), np.full(30, -1))
    data = ExampleData([labeled], spec, SETTINGS, unlabeled_patterns=[hidden])
    seen = 0
    for _, y, weights in data.training(_order()):
        label, marks = y["label"].numpy(), y["labeled"].numpy()
        np.testing.assert_array_equal(weights, np.where(marks, label + 2, 1))
        seen += (~marks).sum()
    assert seen == 30


def test_what_is_learned_from_at_once_is_labeled_and_not_held_out(patterns, tmp_path):
    data = _data(patterns)
    inputs, labels, weights = data.labeled(10_000)
    held_out = _numbers(data.validation(64))
    assert sorted([*labels.tolist(), *held_out]) == list(range(LABELED)) and weights is None
    np.testing.assert_array_equal(inputs["image"][:, 0, 0, 0], labels % 251)
    _, first, _ = data.labeled(7)
    assert first.tolist() == labels[:7].tolist()
    spec = SPEC.model_copy(update={"class_weights": tuple(np.arange(2.0, 12.0))})
    weighted = _write(tmp_path / "Split-train", np.arange(20), np.arange(20) % 10)
    _, classes, weights = ExampleData([weighted], spec, SETTINGS).labeled(100)
    assert weights.tolist() == (classes + 2).tolist()


# -- Mixup --


@pytest.mark.parametrize(
    ("labeled", "expected"),
    [
        ([1, 1, 1], [2, 0, 1]),
        ([0, 0, 0, 0], [3, 0, 1, 2]),
        ([1, 0, 0, 1, 0, 1], [5, 4, 1, 0, 2, 3]),
        ([0, 1, 0], [2, 1, 0]),  # the only one of its kind stays as it is
        ([1], [0]),
    ],
)
def test_examples_are_mixed_with_their_like(labeled, expected):
    np.testing.assert_array_equal(partners(tf.constant(labeled) == 1), expected)


def test_a_mixed_label_is_that_of_labeled_examples(tmp_path):
    view = View(AugmentSettings(mixup=0.5), 0, 5)
    labeled = _write(tmp_path / "Split-train", np.arange(50), np.arange(50) % 10)
    hidden = _write(tmp_path / "Split-unlabeled", np.arange(100, 150), np.full(50, -1))
    data = ExampleData([labeled], SPEC, SETTINGS, unlabeled_patterns=[hidden])
    for _, y in data.training(_order(), view):
        truth, marks = y["label"].numpy(), y["labeled"].numpy()
        assert truth.shape[1] == 10
        np.testing.assert_allclose(truth[marks].sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(truth[~marks], 0)
