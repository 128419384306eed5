"""The limits of the gate in one form: one number, one end, one TFLite variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from modules.measure.mover import Interval
from modules.settings import GateSettings, Limit

# 0.98 - 0.97 is 0.010000000000000009 in floating point and must still keep a limit of 0.01. No
# accuracy on fewer than a thousand million examples differs from another by as little as this.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Bound:
    """One end of a limit.

    Attributes:
        name: of its check.
        limit: its `number` has a variant's name for `*`, unless there is no variant.
        kind: `min` or `max`.
        threshold: what the number must reach or must not exceed.
        drop: whether the number judged is the other model's minus this one's.
        variant: the TFLite variant that it judges, None if it judges the student as a whole.
    """

    name: str
    limit: Limit
    kind: Literal["min", "max"]
    threshold: float
    drop: bool = False
    variant: str | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        if self.kind == "min":
            return value >= self.threshold - TOLERANCE
        return value <= self.threshold + TOLERANCE

    def verdict(self, interval: Interval) -> Literal["passed", "failed", "inconclusive"]:
        """Passed if the whole interval keeps the limit, failed if none of it does."""
        held = [self.holds(end) for end in interval]
        return "passed" if all(held) else "inconclusive" if any(held) else "failed"


def bounds_of(settings: GateSettings, variants: Sequence[str]) -> Iterator[Bound]:
    """All limits that are set, in the order of the settings.

    A limit on `*` is one for each variant. A named variant that is not among them is no reason to
    leave a limit out: it is taken for the student's as a whole.

    Args:
        settings: the limits.
        variants: names of the TFLite variants that may ship.
    """
    for name, limit in _short_forms(settings):
        yield from _ends(name, limit, variants, drop=name.endswith("_drop"))
    for limit in settings.limits:
        yield from _ends(limit.number, limit, variants)


def _short_forms(settings: GateSettings) -> Iterator[tuple[str, Limit]]:
    if settings.min_accuracy is not None:
        yield "min_accuracy", Limit(number="student.accuracy", min=settings.min_accuracy)
    if settings.max_accuracy_drop is not None:
        yield (
            "max_accuracy_drop",
            Limit(number="student.accuracy", against="teacher", max=settings.max_accuracy_drop),
        )
    if settings.max_tflite_accuracy_drop is not None:
        drop = settings.max_tflite_accuracy_drop
        yield (
            "max_tflite_accuracy_drop",
            Limit(number="variants.*.accuracy", against="student", max=drop),
        )
    if settings.min_speedup is not None:
        yield "min_speedup", Limit(number="comparison.speedup", min=settings.min_speedup)
    if settings.max_size_bytes is not None:
        yield "max_size_bytes", Limit(number="variants.*.size_bytes", max=settings.max_size_bytes)


def _ends(
    name: str, limit: Limit, variants: Sequence[str], *, drop: bool = False
) -> Iterator[Bound]:
    for check, one, variant in _by_variant(name, limit, variants):
        if one.min is not None:
            yield Bound(check, one, "min", one.min, drop, variant)
        if one.max is not None:
            yield Bound(check, one, "max", one.max, drop, variant)


def _by_variant(
    name: str, limit: Limit, variants: Sequence[str]
) -> Iterator[tuple[str, Limit, str | None]]:
    """The limit for each variant it is for, with the name of its check."""
    keys = limit.number.split(".")
    if "*" in keys and variants:
        for variant in variants:
            number = ".".join(variant if key == "*" else key for key in keys)
            yield f"{name}[{variant}]", limit.model_copy(update={"number": number}), variant
        return
    if limit.slice:
        name += f"[{slice_name(limit.slice)}]"
    yield name, limit, next((key for key in keys if key in variants), None)


def slice_name(values: dict[str, str]) -> str:
    """The examples of a slice: `class_name=3`."""
    return ", ".join(f"{feature}={value}" for feature, value in values.items())
