"""What a report says in words, for the page and for the model card."""

from __future__ import annotations

from datetime import datetime

from modules.judge.formats import Form, typeset
from modules.judge.schema import GateResult, MeasuredInterval, Report, Speedup
from modules.report.tasks import presentation

_RUNTIMES = {"litert": "LiteRT", "saved_model": "SavedModel"}
_WORDS = {"passed": "passed", "failed": "refused", "inconclusive": "inconclusive"}


def verdict_word(result: GateResult) -> str:
    """`passed`, `refused` or `inconclusive`; nothing is called passed that may not ship."""
    word = _WORDS[result.verdict]
    return "refused" if word == "passed" and not result.blessed else word


def essence(report: Report) -> str:
    """The student against its teacher, in a few sentences."""
    shown = presentation(report.task)
    values = [
        typeset(shown.value(each), shown.main.form, "not defined")
        for each in (report.student, report.teacher)
    ]
    sentence = (
        f"On {report.examples.eval:,} examples, the student's {shown.main.title} is {values[0]} "
        f"and the teacher's is {values[1]}"
    )
    change = shown.change(report.student)
    if change is not None and change.value is not None:
        interval = interval_text(change.interval, shown.change_form)
        sentence += f" (change {typeset(change.value, shown.change_form)}{interval})"
    sentences = [f"{sentence}."]
    sentences += [
        f"{report.title(name)} is {typeset(speedup.median, 'ratio')} as fast as the teacher "
        f"on {runtime_name(speedup.runtime)}{interval_text(speedup.interval, 'ratio')}."
        for name, speedup in shipped_speedups(report).items()
    ]
    files = [
        f"{name} ({typeset(report.variants[name].size_bytes, 'bytes')})"
        for name in report.gate.tflite
    ]
    if files:
        sentences.append(f"It ships as TFLite {' and '.join(files)}.")
    return " ".join(sentences)


def training_examples(report: Report) -> str:
    """How many examples each model learned from: a sentence, or nothing where it is not known."""
    roles: dict[str, list[str]] = {}
    for role, each in report.learned_from.items():
        counts = f"{each.labeled:,} labeled"
        if each.unlabeled:
            counts += f" and {each.unlabeled:,} unlabeled"
        roles.setdefault(counts, []).append(role)
    parts = [f"{_listed(names)} {counts}" for counts, names in roles.items()]
    return f"Training examples: {', '.join(parts)}." if parts else ""


def shipped_speedups(report: Report) -> dict[str, Speedup]:
    """Over the teacher, of the TFLite files that ship; of float32 if none does."""
    names = report.gate.tflite or ["float32"]
    found = {name: report.variants[name].speedup for name in names if name in report.variants}
    return {name: speedup for name, speedup in found.items() if speedup is not None}


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def interval_text(bounds: MeasuredInterval | None, form: Form) -> str:
    """` [low, high]`, or nothing where a bound is not known."""
    if bounds is None or None in bounds:
        return ""
    low, high = bounds
    return f" [{typeset(low, form)}, {typeset(high, form)}]"


def runtime_name(runtime: str) -> str:
    """A runtime as it calls itself."""
    return _RUNTIMES.get(runtime, runtime)


def day(created: str) -> str:
    """An ISO 8601 time as people write it, for example `3 May 2026, 09:30 UTC`."""
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".rstrip()
