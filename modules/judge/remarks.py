"""What a report says first: what distillation brought; then whether the teacher was any good."""

from __future__ import annotations

from collections.abc import Iterator

from modules.judge.explanations import WORDS
from modules.judge.formats import Fixed, Form, text
from modules.judge.schema import Entry, Evidence


def remarks(evidence: Evidence) -> list[str]:
    """Sentences without a period; none where nothing was compared."""
    found = [
        *_gain(evidence),
        *_weak_teacher(evidence),
        *_labels_alone(evidence),
        *_teacher_and_control(evidence),
    ]
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in found]


def gain_bounds(evidence: Evidence) -> tuple[float, float] | None:
    """The interval of the distillation gain; None without a control, or of one that diverged."""
    low, high = evidence.comparison.intervals.get("distillation_gain", (None, None))
    if evidence.comparison.distillation_gain is None or low is None or high is None:
        return None
    return low, high


def gain_sentence(evidence: Evidence) -> str:
    """What distillation brought, with both numbers and the interval; needs `gain_bounds`."""
    bounds, control = gain_bounds(evidence), evidence.control
    assert bounds is not None and control is not None
    low, high = bounds
    verb = "helps" if low > 0 else "hurts" if high < 0 else "makes no clear difference"
    numbers = f"{_main(evidence, evidence.student)}, the control's {_main(evidence, control, '')}"
    gain = evidence.comparison.distillation_gain
    form = _change_form(evidence)
    return (
        f"distillation {verb}: the student's {numbers}, a gain of {text(gain, form)} "
        f"({_level(evidence)} interval {text(low, form)} to {text(high, form)})"
    )


def _gain(evidence: Evidence) -> Iterator[str]:
    if gain_bounds(evidence) is not None and evidence.control is not None:
        yield gain_sentence(evidence)


def _labels_alone(evidence: Evidence) -> Iterator[str]:
    if evidence.search is not None and evidence.search.chosen.labels_alone:
        yield (
            "the labels alone were best on the validation part, so the student that was judged "
            "learned nothing from the teacher"
        )


def _weak_teacher(evidence: Evidence) -> Iterator[str]:
    comparison = evidence.comparison
    if comparison.weak_teacher:
        always = (
            "the mean of the labels"
            if evidence.task == "regression"
            else "the most frequent answer, whatever the example,"
        )
        yield (
            f"the teacher is weak: its {_main(evidence, evidence.teacher)}, and {always} has "
            f"{text(comparison.constant_answer, _form(evidence))}"
        )


def _teacher_and_control(evidence: Evidence) -> Iterator[str]:
    change = evidence.teacher.against.get("control", {}).get(evidence.main)
    if evidence.control is None or change is None or None in change.interval:
        return
    low, high = change.interval
    worse = low > 0 if evidence.task == "regression" else high < 0  # type: ignore[operator]
    if worse:
        form = _change_form(evidence)
        yield (
            f"the teacher is worse than the control, which learned from the labels alone: its "
            f"{_main(evidence, evidence.teacher)}, the control's "
            f"{_main(evidence, evidence.control, '')} ({_level(evidence)} interval of the change "
            f"{text(low, form)} to {text(high, form)})"
        )


def _main(evidence: Evidence, entry: Entry, name: str | None = None) -> str:
    """`accuracy is 0.9810`, or the number alone."""
    value = text(getattr(entry, evidence.main), _form(evidence))
    lead = f"{WORDS.get(evidence.main, evidence.main)} is " if name is None else name
    return f"{lead}{value}"


def _level(evidence: Evidence) -> str:
    return f"{100 * evidence.confidence:g}%"


def _form(evidence: Evidence) -> Form:
    return "value" if evidence.task == "regression" else Fixed(4)


def _change_form(evidence: Evidence) -> Form:
    return "signed" if evidence.task == "regression" else Fixed(4, sign="+")
