"""Tests of modules.judge.formats: known roundings, and that no digit shown is wrong."""

from __future__ import annotations

import math

import pytest

from modules.judge.formats import Fixed, show, slice_name, text, typeset


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
        (0.95, "percent", "95%"),
        (0.999, "percent", "99.9%"),
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
    assert typeset(value, form) == expected


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (4_950_000, "4.95 MB"),
        (2_000_000_000_000, "2,000 GB"),
    ],
)
def test_sizes_have_three_digits(count: int, shown: str) -> None:
    assert text(count, "bytes") == shown
    thousands = shown.replace(" ", "").removesuffix("B")
    assert text(count, "thousands") == thousands


def test_a_terminal_gets_ascii() -> None:
    shown = [text(-0.0087, "change"), text(24.114, "ratio"), text(-0.0, "share"), text(0, "change")]
    assert shown == ["-0.0087", "24.11x", "0.0000", "+0.0000"]
    assert text(1234.5678, Fixed(2, " ms")) == "1,234.57 ms"


def test_a_missing_number_is_a_dash_or_what_the_caller_says() -> None:
    assert text(None, "share") == "-"
    assert typeset(None, "share") == "\N{EN DASH}"
    assert typeset(None, "share", "not measured") == "not measured"


def test_a_slice_is_called_by_its_values() -> None:
    assert slice_name({"class_name": "3", "night": "yes"}) == "class_name=3, night=yes"


@pytest.mark.parametrize("form", ["bytes", "thousands", "ms", "rate", "small", "plain", "value"])
def test_what_is_shown_is_the_number_to_its_last_digit(form: str) -> None:
    for exponent in range(-40, 60):
        for mantissa in (1.0, 2.4999, 4.995, 9.9949, 9.995, 9.99951):
            value = mantissa * 10 ** (exponent / 5)
            if form in ("bytes", "thousands"):
                value = math.ceil(value)
            shown = show(value, form)
            digits = shown.digits.replace(",", "")
            last = 10.0 ** -len(digits.partition(".")[2])
            assert abs(float(digits) * shown.scale - value) <= 0.5001 * last * shown.scale, value
