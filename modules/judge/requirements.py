"""The limits of the gate in one form: one number, one end, one TFLite variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from modules.judge.formats import slice_name
from modules.judge.schema import Verdict
from modules.settings import GateSettings, Limit

if TYPE_CHECKING:
    from modules.measure.bootstrap import Interval

# 0.98 - 0.97 is 0.010000000000000009 in floating point and must still be within a limit of 0.01.
# No accuracy on fewer than a thousand million examples differs from another by as little as this.
TOLERANCE = 1e-9


Turned = Literal["no", "drop", "increase"]


@dataclass(frozen=True)
class Requirement:
    """One end of a limit.

    Attributes:
      name: of its check.
      limit: its `number` has a variant's name for `*`, unless there is no variant.
      kind: `min` or `max`.
      threshold: what the number must reach or must not exceed.
      turned: how a comparison is judged: as a `drop` the other model's number minus this one's,
        as an `increase` the share by which this one is above the other; `no`: as it is.
      variant: the TFLite variant that it judges, None if it judges the student as a whole.
    """

    name: str
    limit: Limit
    kind: Literal["min", "max"]
    threshold: float
    turned: Turned = "no"
    variant: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The keys of the number within the report."""
        return tuple(self.limit.number.split("."))

    @property
    def rests_on_teacher_model(self) -> bool:
        """Whether it is about what a teacher costs."""
        path = set(self.path)
        if "speedup" in path or "speedups" in path or "compression" in path or "aa_control" in path:
            return True
        costs = {"latency", "latencies", "parameters", "size_bytes", "fresh"}
        return bool(path & costs) and "teacher" in (self.path[0], self.limit.against)

    def holds(self, value: float) -> bool:
        """Whether a value meets the requirement."""
        if self.kind == "min":
            return value >= self.threshold - TOLERANCE
        return value <= self.threshold + TOLERANCE

    def verdict(self, interval: Interval) -> Verdict:
        """Passed if the whole interval meets the requirement, failed if none of it does."""
        held = [self.holds(end) for end in interval]
        return "passed" if all(held) else "inconclusive" if any(held) else "failed"


class ShortForm(NamedTuple):
    """The limit that a key of `GateSettings` stands for."""

    number: str
    against: str | None = None
    turned: Turned = "no"

    @property
    def key(self) -> str:
        """The last key of the number."""
        return self.number.rpartition(".")[2]


SHORT_FORMS = {
    "min_accuracy": ShortForm("student.accuracy"),
    "max_accuracy_drop": ShortForm("student.accuracy", "teacher", "drop"),
    "max_tflite_accuracy_drop": ShortForm("variants.*.accuracy", "student", "drop"),
    "min_roc_auc": ShortForm("student.roc_auc"),
    "max_roc_auc_drop": ShortForm("student.roc_auc", "teacher", "drop"),
    "max_rmse": ShortForm("student.rmse"),
    "max_rmse_increase": ShortForm("student.rmse", "teacher", "increase"),
    "max_tflite_rmse_increase": ShortForm("variants.*.rmse", "student", "increase"),
    "min_speedup": ShortForm("variants.*.speedup"),
    "min_distillation_gain": ShortForm("comparison.distillation_gain"),
    "max_size_bytes": ShortForm("variants.*.size_bytes"),
}


def requirements(settings: GateSettings, variants: Sequence[str]) -> Iterator[Requirement]:
    """All requirements that are set, in the order of the settings.

    A limit on `*` is one for each variant, and so is one on the student's times on LiteRT. A named
    variant that is not among them is no reason to leave a limit out: it is taken for the student's
    as a whole.

    Args:
      settings: the limits.
      variants: names of the TFLite variants that may ship.
    """
    named = [*_short_forms(settings), *((limit.number, limit) for limit in settings.limits)]
    for name, limit in named:
        turned: Turned = "no"
        if name in SHORT_FORMS:
            turned = SHORT_FORMS[name].turned
        for check, one, variant in _by_variant(name, limit, variants):
            if one.min is not None:
                yield Requirement(check, one, "min", one.min, turned, variant)
            if one.max is not None:
                yield Requirement(check, one, "max", one.max, turned, variant)


def _short_forms(settings: GateSettings) -> Iterator[tuple[str, Limit]]:
    for name, form in SHORT_FORMS.items():
        threshold = getattr(settings, name)
        if threshold is not None:
            limit = {
                "number": form.number,
                "against": form.against,
                "relative": form.turned == "increase",
                name.partition("_")[0]: threshold,
            }
            yield name, Limit.model_validate(limit)


def _by_variant(
    name: str, limit: Limit, variants: Sequence[str]
) -> Iterator[tuple[str, Limit, str | None]]:
    """The limit for each variant it is for, with the name of its check."""
    keys = _of_files(limit.number).split(".")
    if "*" in keys and variants:
        for variant in variants:
            number = ".".join(variant if key == "*" else key for key in keys)
            yield f"{name}[{variant}]", limit.model_copy(update={"number": number}), variant
        return
    if limit.slice:
        name += f"[{slice_name(limit.slice)}]"
    yield name, limit, next((key for key in keys if key in variants), None)


def _of_files(number: str) -> str:
    """A time on LiteRT is that of the file that ships, not of the float32 file in any case."""
    if number == "comparison.speedup":
        return SHORT_FORMS["min_speedup"].number
    role, _, below = number.partition(".")
    if role == "student" and below.startswith(("latency.", "latencies.litert_")):
        return f"variants.*.{below}"
    return number
