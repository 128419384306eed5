"""Tests of modules.report.numbers: known roundings, and that no digit shown is wrong."""

from __future__ import annotations

import math

import pytest

from modules.report.numbers import show, text


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (0.95942, "share", "0.9594"),
        (1.0, "share", "1.0000"),
        (-0.0087, "change", "\N{MINUS SIGN}0.0087"),
        (0.0087, "change", "+0.0087"),
        (0.0, "change", "0.0000"),
        (-1e-9, "change", "0.0000"),
        (171_434, "count", "171,434"),
        (999, "bytes", "999 B"),
        (9_996, "bytes", "10.0 kB"),
        (999_499, "bytes", "999 kB"),
        (999_500, "bytes", "1.00 MB"),
        (402_653_184, "bytes", "403 MB"),
        (0.004281, "ms", "0.00428 ms"),
        (0.1, "ms", "0.100 ms"),
        (9.996, "ms", "10.0 ms"),
        (1234.5, "ms", "1,234 ms"),
        (232_223.4, "rate", "232,223/s"),
        (24.114, "ratio", "24.11\N{MULTIPLICATION SIGN}"),
        (1.0004, "near_one", "1.0004\N{MULTIPLICATION SIGN}"),
        (0.95, "percent", "95 %"),
        (0.999, "percent", "99.9 %"),
        (1.9e-6, "small", "1.9\N{MULTIPLICATION SIGN}10⁻⁶"),
        (0.0, "small", "0"),
        (0.0913, "small", "0.0913"),
        (9.0, "value", "9"),
        (4.49052, "value", "4.491"),
        (8008, "plain", "8,008"),
        (0.00012, "plain", "0.00012"),
        (24.114, "plain", "24.11"),
    ],
)
def test_known_roundings(value: float, form: str, expected: str) -> None:
    assert text(value, form) == expected


def test_a_missing_number_is_a_dash_or_what_the_caller_says() -> None:
    assert text(None, "share") == "\N{EN DASH}"
    assert text(None, "share", "not measured") == "not measured"


@pytest.mark.parametrize("form", ["bytes", "ms", "rate", "small", "plain", "value"])
def test_what_is_shown_is_the_number_to_its_last_digit(form: str) -> None:
    for exponent in range(-40, 60):
        for mantissa in (1.0, 2.4999, 4.995, 9.9949, 9.995, 9.99951):
            value = mantissa * 10 ** (exponent / 5)
            if form == "bytes":
                value = math.ceil(value)
            shown = show(value, form)
            digits = shown.digits.replace(",", "")
            last = 10.0 ** -len(digits.partition(".")[2])
            assert abs(float(digits) * shown.scale - value) <= 0.5001 * last * shown.scale, value
