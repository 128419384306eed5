"""Limits of a configuration, held against what a report will have: before a run, not after it.

Imports nothing heavy: the command line validates configurations with it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from modules.errors import raise_problems
from modules.judge.estimates import Path, owner_of
from modules.judge.formats import slice_name
from modules.judge.requirements import SHORT_FORMS
from modules.judge.schema import Evidence, Numbers, Speedup
from modules.judge.task_numbers import tasks_with
from modules.settings import EvaluateSettings, GateSettings, Limit, Task

_ANY = "<name>"  # stands for every key of a mapping
_JUDGED = ("student", "teacher", "control", "variants", "comparison")
_SLICED = ("student", "teacher")
# Between 0 and 1, and what may be below 0; everything else is a loss, an error, a time or a size.
_SHARES = frozenset(
    {"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "ece", "top_k", "agreement"}
    | {"agreement_teacher_right", "agreement_teacher_wrong"}
)
_SIGNED = frozenset({"r2", "accuracy_change", "distillation_gain"})
_NO_CONTROL = "there is no control to judge; set distill.control: true"


@dataclass(frozen=True)
class _Known:
    """What the report will have.

    Attributes:
      variants: the exported TFLite variants.
      top_k: every k as text.
      slices: the features of each slice.
      control: whether there is a control.
    """

    variants: Sequence[str]
    top_k: Sequence[str]
    slices: Sequence[frozenset[str]]
    control: bool

    @property
    def keys(self) -> dict[str, Sequence[str]]:
        """The keys of mappings that the configuration decides, by field."""
        variants = [*self.variants, "*"]
        return {"variants": variants, "top_k": self.top_k, "speedups.*": [_ANY, "*"]}


def check_limits(
    gate: GateSettings,
    variants: Sequence[str],
    evaluate: EvaluateSettings,
    *,
    control: bool,
    task: Task | None = None,
) -> None:
    """Checks that every limit is on something that the report will say.

    Args:
      gate: the limits.
      variants: `export.tflite`.
      evaluate: its slices and its top k.
      control: whether a control is trained (`distill.control`).
      task: what is predicted, or None where it is not known yet; `check_task` follows then.

    Raises:
      ConfigError: one line for each limit that no report could ever keep.
    """
    known = _Known(
        variants, [str(k) for k in evaluate.top_k], [frozenset(s) for s in evaluate.slices], control
    )
    problems = [] if task is None else list(_problems_of_task(gate, task))
    if gate.min_distillation_gain is not None and not control:
        problems.append(f"gate.min_distillation_gain: {_NO_CONTROL}")
    wrong = {problem.partition(":")[0] for problem in problems}
    for index, limit in enumerate(gate.limits):
        problem, place = _problem(limit, known), f"gate.limits.{index}"
        if problem and place not in wrong:
            problems.append(f"{place}: {problem}")
    raise_problems(problems)


def check_task(gate: GateSettings, task: Task) -> None:
    """Checks that a task has every number that is limited.

    Raises:
      ConfigError: one line for each limit on a number that it does not have.
    """
    raise_problems(_problems_of_task(gate, task))


def _problems_of_task(gate: GateSettings, task: Task) -> Iterator[str]:
    for name, form in SHORT_FORMS.items():
        meant = tasks_with(form.key)
        if getattr(gate, name) is None or task in meant:
            continue
        kind = form.against, form.turned == "no"
        fitting = [
            other
            for other, each in SHORT_FORMS.items()
            if task in tasks_with(each.key) != tasks_with("")
            and (each.against, each.turned == "no") == kind
        ]
        remedy = f"set {' or '.join(fitting)} instead" if fitting else "remove it"
        yield f"gate.{name}: {task} has no {form.key}, which is for {_listed(meant)}; {remedy}"
    gain = gate.min_distillation_gain
    if gain is not None and task != "regression" and gain > 1:
        yield f"gate.min_distillation_gain: must not exceed 1 for {task}, got {gain:g}; 0.01 is 1 %"
    for index, limit in enumerate(gate.limits):
        path = tuple(limit.number.split("."))
        number = (*path[len(owner_of(path)) :], "")[0]
        tasks = tasks_with(number, on_slice=limit.slice is not None)
        if task not in tasks:
            where = "on a slice, " if limit.slice is not None else ""
            yield (
                f"gate.limits.{index}: {where}{task} has no {number}, got {limit.number}, which is "
                f"for {_listed(tasks) or 'no task'}; remove it"
            )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _problem(limit: Limit, known: _Known) -> str | None:
    """Why a report can never say what the limit asks for; None if it can."""
    return _unknown_number(limit, known) or _impossible(limit)


def _impossible(limit: Limit) -> str | None:
    """Why no student can keep a limit on a number that there is."""
    path = tuple(limit.number.split("."))
    name = (*path[len(owner_of(path)) :], "")[0] if limit.slice is None else path[1]
    low, high = 0.0, math.inf
    if name in _SHARES and not limit.relative:
        low, high = (0.0, 1.0) if limit.against is None else (-1.0, 1.0)
    elif name in _SIGNED or (limit.against is not None and not limit.relative):
        low = -math.inf
    for end, value in (("min", limit.min), ("max", limit.max)):
        if value is not None and (value > high if end == "min" else value < low):
            between = (
                f"lies between {low:g} and {high:g}" if high == 1 else f"is never below {low:g}"
            )
            return (
                f"no student can keep {end}: {value:g}, since {limit.number} {between}; give "
                "another limit"
            )
    return None


def _unknown_number(limit: Limit, known: _Known) -> str | None:
    path = tuple(limit.number.split("."))
    if limit.slice is not None:
        return _problem_of_slice(limit, path, known)
    if not _is_known(path, _numbers(known)):
        return _unknown(limit.number, _numbers(known))
    if "control" in (path[0], limit.against) and not known.control:
        return _NO_CONTROL
    if limit.against is None:
        return None
    if limit.against == "pushed":
        if path[0] not in ("student", "variants"):
            return f"of {path[0]} nothing is pushed; remove against: pushed from {limit.number}"
        return None
    other = (limit.against, *path[len(owner_of(path)) :])
    if other == path or not _is_known(other, _numbers(known)):
        return (
            f"against must name another model that has this number, got {limit.against} for "
            f"{limit.number}; remove it or judge a number of both"
        )
    return None


def _problem_of_slice(limit: Limit, path: Path, known: _Known) -> str | None:
    features = limit.slice or {}
    if frozenset(features) not in known.slices:
        evaluated = [sorted(each) for each in known.slices]
        return (
            f"slice must have the features of one of evaluate.slices, {evaluated}, "
            f"got {slice_name(features) or 'none'}; add {sorted(features)} to evaluate.slices"
        )
    numbers = [
        (role, *path)
        for role in _SLICED
        for path in _below(Numbers, role, known.keys)
        if tasks_with(path[0], on_slice=True)
    ]
    if not _is_known(path, numbers):
        return "on a slice, " + _unknown(limit.number, numbers)
    if limit.against is not None and (limit.against not in _SLICED or limit.against == path[0]):
        return (
            f"on a slice, against must be the other of student and teacher, got {limit.against} "
            f"for {limit.number}; remove it"
        )
    return None


def _unknown(number: str, numbers: Sequence[Path]) -> str:
    names = [".".join(path) for path in numbers]
    near = difflib.get_close_matches(number, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"for example {names[0]}"
    return f"number must be one of report.json, got {number}; {hint}"


def _is_known(path: Path, numbers: Sequence[Path]) -> bool:
    return any(
        len(path) == len(each)
        and all(
            mine == key or (key == _ANY and mine != "*")
            for mine, key in zip(path, each, strict=True)
        )
        for each in numbers
    )


def _numbers(known: _Known) -> list[Path]:
    """All numbers that can be judged, with a stand-in for keys that only the run will tell."""
    fields = Evidence.model_fields
    return [
        (role, *path)
        for role in _JUDGED
        for path in _below(fields[role].annotation, role, known.keys)
    ]


def _below(annotation: Any, field: str, keys: Mapping[str, Sequence[str]]) -> Iterator[Path]:
    """The paths of the numbers within a field of the schema, given the keys of its mappings."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _below(member, field, keys)
    elif get_origin(annotation) is dict:
        below = list(_below(get_args(annotation)[1], f"{field}.*", keys))
        yield from ((key, *path) for key in keys.get(field, [_ANY]) for path in below)
    elif annotation in (int, float, Speedup):
        yield ()
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, part in annotation.model_fields.items():
            if name != "against":  # a limit asks for these by its own key `against`
                yield from ((name, *path) for path in _below(part.annotation, name, keys))
