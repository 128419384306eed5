"""Numbers and slices as people read them: written alike wherever they are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Shown:
    """A rounded number: its digits times `scale` are the number, up to the last digit.

    Attributes:
      digits: decimal digits, with thousands separated by commas.
      unit: what follows, with its space; empty without a unit.
      scale: what the unit stands for, for example 1000 with kB.
    """

    digits: str
    unit: str = ""
    scale: float = 1.0

    def __str__(self) -> str:
        return self.digits + self.unit

    def typeset(self) -> Shown:
        """The same for a page: a true minus and multiplication sign, and no sign of zero."""
        digits = self.digits if self.digits.strip("+-0.,") else self.digits.lstrip("+-")
        unit = _TIMES if self.unit == "x" else self.unit
        return replace(self, digits=digits.replace("-", _MINUS), unit=unit)


@dataclass(frozen=True)
class Fixed:
    """A form with a fixed number of digits after the point; `sign` `+` is for changes."""

    places: int
    unit: str = ""
    sign: Literal["", "+"] = ""

    def __call__(self, value: float) -> Shown:
        """The number in this form."""
        rounded = round(value, self.places) + 0.0  # no -0
        return Shown(f"{rounded:{self.sign},.{self.places}f}", self.unit)


Form = str | Fixed


def show(value: float, form: Form) -> Shown:
    """Rounds a number.

    Args:
      value: finite.
      form: `share` (of accuracies and losses, too), `change` (with its sign), `count`, `id`,
          `bytes`, `thousands`, `ms`, `rate` (per second), `ratio`, `near_one` (a ratio that
          should be 1), `small` (of any magnitude), `percent`, `value` (of a feature or
          a regression), `signed` (a change of such values), `plain`
          (of an unknown kind), or a `Fixed` number of digits.
    """
    return (_FORMS[form] if isinstance(form, str) else form)(value)


def text(value: float | None, form: Form, missing: str = "-") -> str:
    """The rounded number with its unit in ASCII, for a terminal, or what stands for none."""
    return missing if value is None else str(show(value, form))


def typeset(value: float | None, form: Form, missing: str = "\N{EN DASH}") -> str:
    """The same for a page, with a true minus and multiplication sign."""
    return missing if value is None else str(show(value, form).typeset())


def slice_name(values: Mapping[str, str]) -> str:
    """The examples of a slice: `class_name=3, night=yes`."""
    return ", ".join(f"{feature}={value}" for feature, value in values.items())


def _significant(value: float, digits: int = 3) -> str:
    """Without an exponent; whole numbers keep all their digits."""
    if value == 0:
        return "0"
    # The exponent of the rounded number: 9.996 has two decimals less than 9.994.
    exponent = int(f"{abs(value):.{digits - 1}e}".partition("e")[2])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def _scaled(value: float, units: Sequence[str]) -> Shown:
    """In powers of 1000, with three significant digits."""
    power = 0
    while power < len(units) - 1 and value >= 0.9995 * 1000 ** (power + 1):
        power += 1
    scale = 1000.0**power
    digits = _significant(value / scale) if power else f"{value:.0f}"
    return Shown(digits, units[power], scale)


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
    power = f"{_TIMES}10{str(exponent).translate(_SUPERSCRIPTS)}"
    return Shown(f"{value / 10.0**exponent:.1f}", power, 10.0**exponent)


def _value(value: float) -> Shown:
    return Shown(f"{value:,.0f}" if float(value).is_integer() else _significant(value, 4))


_FORMS: dict[str, Callable[[float], Shown]] = {
    "share": Fixed(4),
    "change": Fixed(4, sign="+"),
    "count": Fixed(0),
    "id": lambda value: Shown(f"{value:.0f}"),
    "bytes": lambda value: _scaled(value, (" B", " kB", " MB", " GB")),
    "thousands": lambda value: _scaled(value, ("", "k", "M", "G")),
    "ms": lambda value: Shown(_significant(value), " ms"),
    "rate": lambda value: Shown(_significant(value), "/s"),
    "ratio": Fixed(2, "x"),
    "near_one": Fixed(4, "x"),
    "small": _small,
    "percent": lambda value: Shown(f"{100 * value:.10g}", "%", 0.01),
    "value": _value,
    "signed": lambda value: Shown(("+" if value > 0 else "") + _value(value).digits),
    "plain": _plain,
}
