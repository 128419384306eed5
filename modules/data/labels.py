"""What the label says: the task, the classes, and the label of one example as it is written."""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from modules.errors import DataError, did_you_mean
from modules.settings import DataSettings, Task

# As values of a feature: numbers, or UTF-8 text.
Values = Sequence[Any]
# More different values than this are no classes.
MOST_CLASSES = 100_000
# More different numbers than this are classes only if `task` says so; so are more than a few of
# which each is rare.
MOST_NUMBERS = 1_000
_FEW_NUMBERS, _PER_NUMBER = 20, 5
_SEPARATOR = "|"
_MISSING = {"nan", "null", "n/a"}
_LOG = logging.getLogger("tfx_distill.data")
_NAMED = 5


def label_values(name: str, values: Values | None) -> Values | None:
    """The label of one example as values; None if it is empty, so that the example is unlabeled.

    Args:
      name: `data.label`, for the message.
      values: Of the feature; None if it is missing.

    Raises:
      DataError: NaN, infinite or no text in UTF-8.
    """
    if values is None:
        return None
    if len(values) and isinstance(values[0], bytes):
        try:
            texts = [unicodedata.normalize("NFC", value.decode()).strip() for value in values]
        except UnicodeDecodeError:
            raise DataError(
                f"the label {name!r} must be text in UTF-8, got {values[0]!r}"
            ) from None
        if any("\n" in text or "\r" in text for text in texts):
            raise DataError(f"the label {name!r} must be one line, got {texts[0]!r}")
        return [text for text in texts if text] or (None if texts else [])
    for value in values:
        if not math.isfinite(value):
            raise DataError(f"the label {name!r} must be a number, got {value}")
    return values


def class_name(value: float | str) -> str:
    """The name of the class that a value stands for: 3 and 3.0 are the same."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(value)


@dataclass
class LabelStatistics:
    """What all labels have in common.

    Attributes:
      kinds: `number`, `fraction`, `text`.
      longest: Largest number of values.
      shortest: Smallest number of values.
      names: Different classes; at most one more than `MOST_CLASSES`.
      count: Number of labels.
    """

    kinds: set[str] = field(default_factory=set)
    longest: int = 0
    shortest: int = 1 << 60
    names: set[str] = field(default_factory=set)
    count: int = 0

    def add(self, values: Values) -> None:
        """Count one label."""
        self.count += 1
        self.longest = max(self.longest, len(values))
        self.shortest = min(self.shortest, len(values))
        for value in values:
            text = isinstance(value, str)
            whole = not text and float(value).is_integer()
            self.kinds.add("text" if text else "number" if whole else "fraction")
            if len(self.names) <= MOST_CLASSES:
                self.names.add(class_name(value))

    def __add__(self, other: LabelStatistics) -> LabelStatistics:
        return LabelStatistics(
            self.kinds | other.kinds,
            max(self.longest, other.longest),
            min(self.shortest, other.shortest),
            self.names if len(self.names) > MOST_CLASSES else self.names | other.names,
            self.count + other.count,
        )


@dataclass(frozen=True)
class Labels:
    """The task, and labels as they are written.

    Attributes:
      task: What is predicted.
      classes: Names by class id; empty for regression.
      ids: Class ids by `class_name` of a value.
      multi_hot: Whether the labels of a multilabel task come as zeros and ones.
      separated: Whether they come as one text, with | between the names.
    """

    task: Task
    classes: tuple[str, ...] = ()
    ids: dict[str, int] = field(default_factory=dict)
    multi_hot: bool = False
    separated: bool = False

    def classes_of(self, values: Values) -> list[str]:
        """Names of the classes of one example."""
        return [self.classes[index] for index in self.ids_of(values)]

    def ids_of(self, values: Values) -> list[int]:
        """Sorted ids of the classes of one example."""
        if self.multi_hot:
            return [index for index, value in enumerate(values) if value]
        names = [class_name(value) for value in values]
        if self.separated:
            names = [part for name in names for part in split_names(name)]
        return sorted({self.ids[name] for name in names})

    def written(self, values: Values) -> list[Any]:
        """The feature `label`: a class id, zeros and ones by class, or a number."""
        if self.task == "regression":
            return [float(values[0])]
        ids = self.ids_of(values)
        if self.task != "multilabel":
            return ids
        return [int(index in ids) for index in range(len(self.classes))]


def decide_labels(statistics: LabelStatistics, settings: DataSettings, task: Task | None) -> Labels:
    """What the labels mean.

    Args:
      statistics: Of all labeled examples.
      settings: `classes` and `positive`.
      task: As configured; None: what the labels suggest.

    Raises:
      DataError: The labels do not suit the task or the settings.
    """
    if "text" in statistics.kinds and len(statistics.kinds) > 1:
        raise DataError(
            "data.label must be a number in all examples or a text in all, but there are both; "
            "fix the labels"
        )
    task = task or _suggested(statistics, settings)
    if task == "regression":
        return _regression(statistics, settings)
    if statistics.longest > 1 and task != "multilabel":
        raise DataError(
            f"task: {task} needs one label per example, but some have {statistics.longest}; "
            "set task: multilabel"
        )
    if "fraction" in statistics.kinds:
        fractions = (name for name in statistics.names if not _is_whole(name))
        raise DataError(
            f"task: {task} needs labels that name classes, but there are numbers such as "
            f"{_some(fractions)}; set task: regression"
        )
    return _classification(statistics, settings, task)


def _suggested(statistics: LabelStatistics, settings: DataSettings) -> Task:
    if statistics.longest > 1:
        return "multilabel"
    if "fraction" in statistics.kinds:
        return "regression"
    different = len(statistics.names)
    rare = different > _FEW_NUMBERS and statistics.count < _PER_NUMBER * different
    if "number" in statistics.kinds and not settings.classes and (rare or different > MOST_NUMBERS):
        raise DataError(
            f"data.label has {different:,} different numbers in {statistics.count:,} examples, so "
            "it is not clear whether they are classes; set task: regression or task: "
            "classification (init: --task)"
        )
    names = statistics.names
    parts = {part for name in names for part in split_names(name)}
    if len(parts) < len(names) and any(_SEPARATOR in name for name in names):
        _LOG.warning(
            "the labels are taken for %d classes, such as %s; if these are several labels each, "
            "set task: multilabel (init: --task multilabel)",
            len(names),
            next(name for name in sorted(names) if _SEPARATOR in name),
        )
    classes = len(settings.classes) or len(names)
    return "binary" if classes == 2 else "classification"


def _regression(statistics: LabelStatistics, settings: DataSettings) -> Labels:
    if "text" in statistics.kinds or statistics.longest > 1:
        got = _some(statistics.names) if "text" in statistics.kinds else "lists"
        raise DataError(
            f"task: regression needs a number as label, but there are {got}; set another task or "
            "data.label"
        )
    for key in ("classes", "positive"):
        if getattr(settings, key):
            raise DataError(f"data.{key} must not be set, the task is regression; remove it")
    return Labels("regression")


def _classification(statistics: LabelStatistics, settings: DataSettings, task: Task) -> Labels:
    names = statistics.names
    separated = task == "multilabel" and "text" in statistics.kinds and statistics.longest == 1
    if separated:
        names = {part for name in names for part in split_names(name)}
    count = len(settings.classes)
    missing = [name for name in sorted(names) if name.casefold() in _MISSING]
    if missing and not count:
        raise DataError(
            f"data.label must not be {missing[0]!r}, which stands for a missing value; empty these "
            "labels (then they are unlabeled), or name all classes in data.classes if it is one"
        )
    multi_hot = task == "multilabel" and statistics.shortest == statistics.longest == count > 1
    multi_hot = multi_hot and names <= {"0", "1"}
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"data.label has more than {MOST_CLASSES:,} different values, which are no classes; "
            "set data.label to another feature"
        )
    ids = {name: index for index, name in enumerate(settings.classes or sorted_names(names))}
    classes = tuple(ids)
    if count and "number" in statistics.kinds:
        ids = {str(index): index for index in range(count)}
    if not multi_hot:
        _check_known(names, ids)
    if len(classes) < 2:
        raise DataError(
            f"data.label must have at least two different values, but the only one is "
            f"{_some(classes)}; add examples of another class"
        )
    if task == "binary" and len(classes) > 2:
        raise DataError(
            f"task: binary needs two classes, but there are {len(classes)}: {_some(classes)}; set "
            "task: classification"
        )
    if settings.positive:
        classes, ids = _with_positive_last(classes, ids, settings.positive, task)
    return Labels(task, classes, ids, multi_hot, separated)


def _check_known(names: set[str], ids: dict[str, int]) -> None:
    odd = sorted(names - set(ids))
    if odd:
        raise DataError(
            f"data.classes: the labels must be among {_some(ids)}, but there are also "
            f"{_some(odd)}{did_you_mean(odd[0], ids)}; fix the labels or data.classes"
        )


def _with_positive_last(
    classes: tuple[str, ...], ids: dict[str, int], positive: str, task: Task
) -> tuple[tuple[str, ...], dict[str, int]]:
    if task != "binary":
        raise DataError(
            f"data.positive is for a binary task, but the task is {task} with {len(classes)} "
            "classes; remove it"
        )
    if positive not in classes:
        raise DataError(
            f"data.positive must be one of the classes {_some(classes)}, got {positive!r}"
            f"{did_you_mean(positive, classes)}"
        )
    if classes[1] == positive:
        return classes, ids
    return classes[::-1], {name: 1 - index for name, index in ids.items()}


def sorted_names(names: set[str]) -> list[str]:
    """Numerically if all are integers, else by code points."""
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _is_whole(name: str) -> bool:
    return float(name).is_integer()


def split_names(text: str) -> list[str]:
    """The names in a text with | between them."""
    return [part.strip() for part in text.split(_SEPARATOR) if part.strip()]


def _some(names: Any) -> str:
    shown = sorted(map(str, names))
    return ", ".join(shown[:_NAMED]) + (", …" if len(shown) > _NAMED else "")
