"""What was written: examples by split and class, and the labels of a regression."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from modules.data.labels import Labels
from modules.data.leaks import Leaks
from modules.data.raw_examples import RawExample
from modules.data.spec import Dataset, Kind, OutputSpec
from modules.data.splits import EVAL, TRAIN, UNLABELED
from modules.errors import DataError
from modules.settings import DataSettings

_LOG = logging.getLogger("tfx_distill.data")


@dataclass
class Tally:
    """Counts of some examples; counts are added up.

    Attributes:
      examples: By split.
      classes: Labeled examples by split and class name.
      mean: Of the training labels of a regression.
      squares: Sum of the squared distances from the mean.
      leaks: Of the training examples.
      dropped: Unlabeled examples that are judged on as well.
      problem: That an example could be read before, but not any more.
    """

    examples: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    mean: float = 0.0
    squares: float = 0.0
    leaks: Leaks = field(default_factory=Leaks)
    dropped: int = 0
    problem: str = ""

    def add(self, raw: RawExample, labels: Labels) -> None:
        """Count an example that is written."""
        self.examples[raw.split] += 1
        if raw.label is None:
            return
        if labels.task != "regression":
            self.classes.setdefault(raw.split, Counter()).update(labels.classes_of(raw.label))
        elif raw.split == TRAIN:
            distance = raw.label[0] - self.mean
            self.mean += distance / self.examples[TRAIN]
            self.squares += distance * (raw.label[0] - self.mean)

    def __add__(self, other: Tally) -> Tally:
        ours, theirs = self.examples[TRAIN], other.examples[TRAIN]
        distance, count = other.mean - self.mean, max(1, ours + theirs)
        return Tally(
            self.examples + other.examples,
            {
                split: self.classes.get(split, Counter()) + other.classes.get(split, Counter())
                for split in {*self.classes, *other.classes}
            },
            self.mean + distance * theirs / count,
            self.squares + other.squares + distance**2 * ours * theirs / count,
            self.leaks + other.leaks,
            self.dropped + other.dropped,
            self.problem or other.problem,
        )

    def dataset(self, labels: Labels, *, weighted: bool, kinds: dict[str, Kind]) -> Dataset:
        """What later nodes read of all examples."""
        regression = labels.task == "regression"
        deviation = (self.squares / max(1, self.examples[TRAIN])) ** 0.5
        output = OutputSpec(
            task=labels.task,
            size=1 if regression else len(labels.classes),
            classes=labels.classes,
            mean=self.mean if regression else 0.0,
            deviation=deviation if regression else 1.0,
        )
        return Dataset(
            output=output,
            weighted=weighted,
            kinds=kinds,
            leaks=tuple(self.leaks.named(regression=regression)),
            examples=dict(self.examples),
            class_counts={
                split: {name: counts[name] for name in labels.classes}
                for split, counts in sorted(self.classes.items())
            },
        )


def check_tally(tally: Tally, labels: Labels, settings: DataSettings, *, unlabeled: bool) -> None:
    """Refuse data that cannot be used for training or evaluation.

    Args:
      tally: Of all examples.
      labels: Their classes.
      settings: How they are split.
      unlabeled: Whether there is a split of that name.

    Raises:
      DataError: Naming the split or the classes.
    """
    if tally.problem:
        raise DataError(f"the data have changed while they were read: {tally.problem}; run again")
    for split in (TRAIN, EVAL, *([UNLABELED] if unlabeled else [])):
        if not tally.examples[split]:
            raise DataError(
                f"the {split} split is empty ({tally.examples.total()} examples in all); "
                f"{_remedy(split, settings)}"
            )
    share = tally.examples[EVAL] / (tally.examples[TRAIN] + tally.examples[EVAL])
    if settings.group and not 0.5 < share / settings.eval_fraction < 2:
        _LOG.warning(
            "%.0f%% of the examples are in eval instead of %.0f%%, since few values of %r have "
            "most of them; another data.split_seed gives another share",
            *(100 * share, 100 * settings.eval_fraction, settings.group),
        )
    train, judged = (tally.classes.get(split, Counter()) for split in (TRAIN, EVAL))
    missing = [f"{name!r} ({judged[name]} in eval)" for name in labels.classes if not train[name]]
    if missing:
        what = "class has" if len(missing) == 1 else "classes have"
        remedy = "raise data.max_labels" if settings.max_labels else "add examples"
        raise DataError(
            f"the following {what} no example in the train split: {', '.join(missing)}; {remedy}, "
            "or remove these classes"
        )
    if labels.task == "regression" and not tally.squares:
        raise DataError(
            f"data.label must vary, but it is {tally.mean:g} in all training examples; name "
            "another feature"
        )


def _remedy(split: str, settings: DataSettings) -> str:
    if split == UNLABELED:
        return "remove data.unlabeled or add examples"
    if settings.time:
        return f"set data.eval_from {'later' if split == TRAIN else 'earlier'}"
    if settings.splits:
        return f"fix data.splits.{split}"
    if split == TRAIN:
        return "lower data.eval_fraction, change data.split_seed or add examples"
    return "raise data.eval_fraction, change data.split_seed or add examples"
