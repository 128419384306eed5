"""Which students and which objectives a search tries, in the order of preference.

Nothing heavy is imported here: the command line checks a configuration with it.
"""

from __future__ import annotations

import inspect
import itertools
import json
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modules.distill.methods import METHODS, check_methods
from modules.errors import ConfigError, raise_problems
from modules.models.zoo import BUILDERS, check_taught
from modules.settings import (
    AugmentSettings,
    DistillSettings,
    ExportSettings,
    GateSettings,
    LatencySettings,
    MethodSettings,
    ModelSettings,
    SearchPlan,
    SearchSettings,
    TFLiteVariant,
)

# Of `students: auto`: shares of the student's widths. The student itself comes first.
WIDTHS = (1.0, 0.25, 0.5, 0.75, 1.5, 2.0)
# Parameters of the built-in builders that say how wide a model is.
_WIDTH_PARAMETERS = ("filters", "widths", "width", "units")
# What `auto` tries beside the configured or customary value, one change at a time.
ALPHAS = (0.0, 0.5)
TEMPERATURES = (1.0, 2.0, 8.0)
METHOD_NAMES = ("standardized", "dist", "decoupled")


@dataclass(frozen=True)
class Candidate:
    """A student and how it is taught.

    Attributes:
      student: The model and its training.
      distill: The objective; with `alpha` 1 the labels alone.
    """

    student: ModelSettings
    distill: DistillSettings

    @property
    def values(self) -> dict[str, Any]:
        """Hyperparameters as `modules.distill.hyperparameters` takes them."""
        methods = [each.model_dump(mode="json") for each in self.distill.methods]
        return {
            "student": self.student.model_dump_json(),
            "alpha": self.distill.alpha,
            "temperature": self.distill.temperature,
            "methods": json.dumps(methods),
        }

    @property
    def labels_alone(self) -> bool:
        """Whether the teacher has no say."""
        return self.distill.alpha == 1


def check_search(
    search: SearchSettings | None, student: ModelSettings, distill: DistillSettings
) -> None:
    """Check what is searched, without loading Keras.

    Raises:
      ConfigError: One line for each thing that is wrong.
    """
    raise_problems(_problems(search, student, distill))


def _problems(
    search: SearchSettings | None, student: ModelSettings, distill: DistillSettings
) -> Iterator[str]:
    searched = bool(search and search.students) or bool(distill.auto)
    if search is not None and not searched:
        yield (
            "search: must have something to choose from; set search.students, or distill.alpha, "
            "distill.temperature or distill.methods to auto"
        )
    if searched and student.train.epochs == 0:
        yield (
            "search: student.train.epochs must be above 0, or no candidate would learn anything, "
            "got 0; set student.train.epochs"
        )
    if distill.alpha == 1 and "alpha" not in distill.auto and distill.auto:
        yield (
            f"distill.alpha must be below 1 with {' and '.join(distill.auto)}: auto, since the "
            "labels alone use none of them; set it to auto"
        )
    if searched and distill.generations > 1:
        yield (
            "search: distill.generations must be 1 with a search, whose candidates have one "
            f"generation, got {distill.generations}; search first, then set what it has found"
        )
    if search is None or search.students is None:
        return
    if search.students == "auto":
        if len(_widths(student)) < 2:
            yield (
                f"search.students: must be a list, since nothing says how wide {student.model} is; "
                "auto is for the built-in students"
            )
        return
    for at, each in enumerate(search.students):
        if each.train is not None and "epochs" in each.train.model_fields_set:
            yield (
                f"search.students.{at}.train.epochs must not be set, since candidates are compared "
                "after as many epochs; set student.train.epochs"
            )
        try:
            check_taught(each.settings(student), f"search.students.{at}")
        except ConfigError as error:
            yield from str(error).splitlines()


def make_plan(
    search: SearchSettings | None,
    student: ModelSettings,
    gate: GateSettings,
    export: ExportSettings,
    pushed: tuple[TFLiteVariant, ...],
    latency: LatencySettings,
) -> SearchPlan:
    """What the node Search is told; without students to choose from, the objective alone."""
    search = search or SearchSettings()
    students: tuple[ModelSettings, ...] = (student,)
    if search.students == "auto":
        students = _widths(student)
    elif search.students is not None:
        students = tuple(each.settings(student) for each in search.students)
    return SearchPlan(
        students=students,
        objective=search.objective if search.students else "most_accurate",
        budget=search.budget,
        limits=gate.model_copy(
            update={
                # The rest does not concern a search, and need not begin it anew.
                "max_tflite_accuracy_drop": None,
                "max_tflite_rmse_increase": None,
                "min_distillation_gain": None,
                "allow_below_control": False,
            }
        ),
        variants=export.tflite,
        needed=tuple(dict.fromkeys(("float32", *pushed))),
        pushed=pushed,
        int8_input=export.int8_input,
        latency=latency,
    )


def _widths(student: ModelSettings) -> tuple[ModelSettings, ...]:
    """A built-in student in several widths, itself first."""
    own = _own_widths(student)
    found: list[ModelSettings] = []
    for share in WIDTHS:
        scaled = {name: _scaled(value, share) for name, value in own.items()}
        changed = student.model_copy(update={"parameters": student.parameters | scaled})
        if share == 1.0:
            changed = student
        if own and all(each.parameters != changed.parameters for each in found):
            found.append(changed)
    return tuple(found) or (student,)


def _own_widths(student: ModelSettings) -> dict[str, Any]:
    """The parameters of a built-in student that say how wide it is, and their values."""
    builder = BUILDERS.get(student.model)
    if builder is None:
        return {}
    signature = inspect.signature(builder).parameters
    defaults = {name: signature[name].default for name in _WIDTH_PARAMETERS if name in signature}
    return defaults | {
        name: value for name, value in student.parameters.items() if name in defaults
    }


def differ_in_width(students: Sequence[ModelSettings]) -> bool:
    """Whether built-in students, in some order, are each wider than the one before, and else equal.

    No layer is narrower in the next one, so that more cost means a better student.
    """
    widths, rest = [], []
    for student in students:
        own = _own_widths(student)
        widths.append([each for name in sorted(own) for each in _as_list(own[name])])
        others = {key: value for key, value in student.parameters.items() if key not in own}
        rest.append(student.model_copy(update={"parameters": others}))
    widths.sort()
    return all(each == rest[0] for each in rest) and all(
        narrow and len(narrow) == len(wide) and all(map(operator.le, narrow, wide))
        for narrow, wide in itertools.pairwise(widths)
    )


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _scaled(value: Any, share: float) -> Any:
    """A width or a list of widths, in multiples of 4 from 8 on, which vector units like."""
    if isinstance(value, list | tuple):
        return [_scaled(each, share) for each in value]
    wanted = value * share
    return max(1, round(wanted / 4) * 4 if wanted >= 8 else round(wanted))


def objectives(
    distill: DistillSettings, augment: AugmentSettings, task: str
) -> list[DistillSettings]:
    """The configured objective, then those that differ from it in one value that is `auto`.

    The labels alone come second, so that no budget leaves them out, though an equal one with a
    teacher is preferred. A method or temperature that means nothing for the task is left out.
    """
    changes: list[dict[str, Any]] = []
    if "alpha" in distill.auto:
        changes += [{"alpha": 1.0}]
    if "temperature" in distill.auto and task != "regression":
        changes += [{"temperature": each} for each in TEMPERATURES]
    if "methods" in distill.auto:
        changes += [
            {"methods": (MethodSettings(name=name),)}
            for name in METHOD_NAMES
            if not (augment.mixup and name == "decoupled")
        ]
    if "alpha" in distill.auto:
        changes += [{"alpha": each} for each in ALPHAS]
    found = []
    for change in [{}, *changes]:
        changed = distill.model_copy(update={**change, "auto": ()})
        if changed not in found and _fits(changed, task):
            found.append(changed)
    return found


def _fits(distill: DistillSettings, task: str) -> bool:
    if any(task not in METHODS[each.name].tasks for each in distill.methods):
        return False
    check_methods(distill, task=task)
    return True
