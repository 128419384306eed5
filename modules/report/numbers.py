"""Numbers of a report as people read them: rounded alike wherever they are shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Shown:
    """A rounded number: its digits times `scale` are the number, up to the last digit.

    Attributes:
        digits: decimal digits, with thousands separated by commas; negative with a true minus.
        unit: what follows, with its space; empty without a unit.
        scale: what the unit stands for, for example 1000 with kB.
    """

    digits: str
    unit: str = ""
    scale: float = 1.0

    def __str__(self) -> str:
        return self.digits + self.unit


def show(value: float, form: str) -> Shown:
    """Rounds a number.

    Args:
        value: finite.
        form: `share` (of accuracies and losses, too), `change` (with its sign), `count`, `id`,
            `bytes`, `ms`, `rate` (per second), `ratio`, `near_one` (a ratio that ought to be 1),
            `small` (of any magnitude), `percent`, `value` (of a feature) or `plain` (of an unknown
            kind).
    """
    shown = _FORMS[form](value)
    digits = shown.digits
    if not digits.strip("+-0.,"):
        digits = digits.lstrip("+-")  # Zero has no sign, nor has what rounds to it.
    return Shown(digits.replace("-", "\N{MINUS SIGN}"), shown.unit, shown.scale)


def text(value: float | None, form: str, missing: str = "\N{EN DASH}") -> str:
    """The rounded number with its unit, or what stands for a missing one."""
    return missing if value is None else str(show(value, form))


def _bytes(value: float) -> Shown:
    for scale, unit in _BYTES:
        if value >= 0.9995 * scale:
            return Shown(_significant(value / scale), f" {unit}", scale)
    return Shown(f"{value:.0f}", " B")


def _significant(value: float, digits: int = 3) -> str:
    """Without an exponent; whole numbers keep all their digits."""
    if value == 0:
        return "0"
    # The exponent of the rounded number: 9.996 has two decimals less than 9.994.
    exponent = int(f"{abs(value):.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def _plain(value: float) -> Shown:
    if float(value).is_integer() and abs(value) >= 10:
        return Shown(f"{value:,.0f}")
    if value and abs(value) < 1e-3:
        return Shown(_significant(value, 2))
    return Shown(f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}")


def _small(value: float) -> Shown:
    """A difference of logits or a relative error: any magnitude, down to zero."""
    if value == 0 or abs(value) >= 1e-4:
        return Shown(_significant(value))
    exponent = math.floor(math.log10(abs(value)))
    return Shown(f"{value / 10.0**exponent:.1f}", _power(exponent), 10.0**exponent)


def _power(exponent: int) -> str:
    superscript = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"\N{MULTIPLICATION SIGN}10{superscript}"


_FORMS: dict[str, Callable[[float], Shown]] = {
    "share": lambda value: Shown(f"{value:.4f}"),
    "change": lambda value: Shown(f"{value:+.4f}"),
    "count": lambda value: Shown(f"{value:,.0f}"),
    "bytes": _bytes,
    "ms": lambda value: Shown(_significant(value), " ms"),
    "rate": lambda value: Shown(_significant(value), "/s"),
    "ratio": lambda value: Shown(f"{value:.2f}", "\N{MULTIPLICATION SIGN}"),
    "near_one": lambda value: Shown(f"{value:.4f}", "\N{MULTIPLICATION SIGN}"),
    "id": lambda value: Shown(f"{value:.0f}"),
    "small": _small,
    "percent": lambda value: Shown(f"{100 * value:.10g}", " %", 0.01),
    "value": lambda value: Shown(
        f"{value:,.0f}" if float(value).is_integer() else _significant(value, 4)
    ),
    "plain": _plain,
}
