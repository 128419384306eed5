"""What labels say: tasks, classes, and labels as they are written."""

import math

import pytest

from modules.data.labels import LabelStatistics, decide_labels, label_values
from modules.errors import DataError
from modules.settings import DataSettings


def decide(rows, task=None, **settings):
    statistics = LabelStatistics()
    for row in rows:
        values = row if isinstance(row, list) else [row]
        values = [value.encode() if isinstance(value, str) else value for value in values]
        one = LabelStatistics()
        one.add(label_values("y", values))
        # In parts, as Beam adds them up.
        statistics += one
    return decide_labels(statistics, DataSettings(**settings), task)


@pytest.mark.parametrize(
    ("rows", "task", "classes"),
    [
        (["cat", "dog", "ant"], "classification", ("ant", "cat", "dog")),
        (["no", "yes", "no"], "binary", ("no", "yes")),
        ([10, 9, 2], "classification", ("2", "9", "10")),
        ([0.0, 1.0], "binary", ("0", "1")),
        (["10", "9", "-1"], "classification", ("-1", "9", "10")),
        ([0.5, 1.0, 2.0], "regression", ()),
        ([[1, 3], [2]], "multilabel", ("1", "2", "3")),
        ([["b", "a"], ["c"]], "multilabel", ("a", "b", "c")),
    ],
)
def test_the_label_suggests_the_task(rows, task, classes):
    labels = decide(rows)
    assert (labels.task, labels.classes) == (task, classes)


def test_the_configured_task_comes_first():
    assert decide([1, 2, 3], "regression").task == "regression"
    assert decide(["a", "b"], "classification").task == "classification"
    assert decide(["a | b", "c", "b"], "multilabel").classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "value", "written", "names"),
    [
        (decide(["cat", "dog", "ant"]), ["dog"], [2], ["dog"]),
        (decide([5.0, 7.0]), [7.0], [1], ["7"]),
        (decide(["no", "yes"], positive="no"), ["no"], [1], ["no"]),
        (decide([0, 1, 1], classes=("bad", "good")), [1], [1], ["good"]),
        (decide([0, 1], classes=("bad", "good"), positive="bad"), [0], [1], ["bad"]),
        (decide([0, 2], classes=("a", "b", "c")), [2], [2], ["c"]),
        (decide([["b", "a"], ["c"]]), ["c", "a"], [1, 0, 1], ["a", "c"]),
        (decide([["b", "a"], ["c"]]), [], [0, 0, 0], []),
        (decide(["a|b", "c"], "multilabel"), ["c|a"], [1, 0, 1], ["a", "c"]),
        (decide([[0, 1], [1, 1]], classes=("x", "y")), [0, 1], [0, 1], ["y"]),
        (decide([[0, 1], [1]], classes=("x", "y")), [0, 1], [1, 1], ["x", "y"]),
    ],
)
def test_labels_as_they_are_written(labels, value, written, names):
    assert labels.written(value) == written
    assert labels.classes_of(value) == names


def test_regression_keeps_the_number():
    assert decide([1, 2], "regression").written([2]) == [2.0]


def test_text_in_both_unicode_forms_is_one_class():
    assert decide(["Bär", "Ba\u0308r", "Ant"]).classes == ("Ant", "Bär")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (None, None),
        ([b""], None),
        ([b"  "], None),
        ([], []),
        ([0], [0]),
        ([0.0], [0.0]),
        ([b" a "], ["a"]),
    ],
)
def test_an_empty_label_is_none(values, found):
    assert label_values("y", values) == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([math.nan], "the label 'y' must be a number, got nan"),
        ([math.inf], "the label 'y' must be a number, got inf"),
        ([b"\xff"], "must be text in UTF-8"),
        ([b"a\nb"], "must be one line"),
    ],
)
def test_labels_that_are_none(values, message):
    with pytest.raises(DataError, match=message):
        label_values("y", values)


@pytest.mark.parametrize(
    ("rows", "task", "settings", "message"),
    [
        (["a", 1], None, {}, "a number in all examples or a text in all"),
        (["a", "b"], "regression", {}, "regression needs a number as label, but there are a, b"),
        ([[1.0, 2.5]], "regression", {}, "but there are lists"),
        ([[1, 2], [1]], "binary", {}, "one label per example, but some have 2; set task: multil"),
        ([0.5, 1.0], "classification", {}, "numbers such as 0.5; set task: regression"),
        (list(range(1001)) * 5, None, {}, "has 1,001 different numbers.*set task: regression or"),
        (list(range(21)) * 4, None, {}, "21 different numbers in 84 examples, so it is not clear"),
        (["a", "b", "c"], "binary", {}, "binary needs two classes, but there are 3: a, b, c"),
        (["a", "a"], None, {}, "at least two different values, but the only one is a"),
        (["a", "b"], None, {"positive": "B"}, "data.positive must be one of the classes a, b"),
        (["a", "b", "c"], None, {"positive": "a"}, "data.positive is for a binary task"),
        ([0, 3], None, {"classes": ("x", "y")}, "must be among 0, 1, but there are also 3"),
        (["cat", "dig"], None, {"classes": ("cat", "dog")}, "did you mean 'dog'"),
        ([0.5], None, {"positive": "a"}, "data.positive must not be set, the task is regression"),
        (["a", "b", "NaN"], None, {}, "must not be 'NaN', which stands for a missing value; empty"),
    ],
)
def test_labels_that_do_not_suit(rows, task, settings, message):
    with pytest.raises(DataError, match=message) as caught:
        decide(rows, task, **settings)
    assert "\n" not in str(caught.value)


def test_several_labels_in_one_text_are_noticed(caplog):
    assert decide(["red", "round", "red|round"]).task == "classification"
    assert "set task: multilabel (init: --task multilabel)" in caplog.text
    caplog.clear()
    # Names with a | in them, and a class of that name.
    decide(["a|b", "c|d"])
    decide(["nan", "pita"], classes=("nan", "pita"))
    assert not caplog.text


def test_a_few_numbers_are_classes():
    assert decide(list(range(20))).task == "classification"
    assert decide(list(range(21)) * 5).task == "classification"
    assert decide([0, 1], classes=tuple(map(str, range(30)))).task == "classification"


def test_many_numbers_are_classes_if_the_task_says_so():
    assert len(decide(list(range(1001)), "classification").classes) == 1001
