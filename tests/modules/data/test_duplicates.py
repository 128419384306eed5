"""Equal content under different ids, labels and splits."""

import numpy as np

from modules.data.duplicates import BUCKETS, RECORD, SIDES, Duplicates, by_bucket, find_duplicates

TRAIN, EVAL, UNLABELED = range(3)


def find(*rows):
    """Duplicates of `(content, unit, label, side)`, through buckets as in Beam."""
    records = np.array(list(rows), RECORD)
    return sum((find_duplicates(packed) for _, packed in by_bucket(records)), Duplicates())


def test_different_contents_are_none():
    assert find((1, 1, 0, TRAIN), (2, 2, 0, EVAL), (2 + BUCKETS, 3, 1, TRAIN)) == Duplicates()
    assert find((0, 5, 0, TRAIN)) == Duplicates()


def test_copies_on_one_side_are_none():
    assert find((1, 1, 7, TRAIN), (1, 1, 7, TRAIN), (1, 2, 7, TRAIN)) == Duplicates()


def test_several_labels_are_a_conflict():
    found = find((9, 1, 7, TRAIN), (9, 1, 8, TRAIN), (1, 1, 7, TRAIN), (9, 2, 7, TRAIN))
    assert (found.conflicts, found.named) == (1, [9])


def test_content_on_both_sides_goes_where_its_lowest_unit_is():
    found = find((9, 30, 0, TRAIN), (9, 10, 0, EVAL), (9, 20, 0, TRAIN), (8, 40, 0, TRAIN))
    assert found.moved == {20: SIDES[EVAL], 30: SIDES[EVAL]}
    assert (found.across, found.named_across, found.conflicts) == (1, [9], 0)


def test_unlabeled_copies_of_what_is_judged_on_are_dropped():
    found = find((9, 1, 0, EVAL), (9, 2, 0, UNLABELED), (8, 3, 0, TRAIN), (8, 4, 0, UNLABELED))
    assert found == Duplicates(dropped={2})


def test_findings_of_many_contents_are_added_up():
    rows = [(content, content, label, TRAIN) for content in range(1000) for label in (0, 1)]
    found = find(*rows)
    assert (found.conflicts, found.named) == (1000, [0, 1, 2, 3, 4])


def test_a_record_is_small():
    assert RECORD.itemsize == 21
