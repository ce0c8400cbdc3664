"""Quantities for people: three digits, an SI prefix, and nothing that cannot be read back."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.units import (
    duration,
    energy_span,
    joules,
    percent,
    quantity,
    roughly,
    time_left,
)

PREFIXES = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (-0.0, "0 J"),
        (1, "1 J"),
        (12.34, "12.3 J"),
        (123.4, "123 J"),
        (999.4, "999 J"),
        (999.6, "1 kJ"),
        (12345, "12.3 kJ"),
        (-12345, "-12.3 kJ"),
        (3.6e6, "3.6 MJ"),
        (0.05, "50 mJ"),
        (2.5e-6, "2.5 µJ"),
        (7e-9, "7 nJ"),
        (1e-12, "1e-12 J"),
        (1.5e20, "1.5e+20 J"),
        (math.inf, "inf J"),
        (math.nan, "nan J"),
        (None, "-"),
    ],
)
def test_joules(value: float | None, text: str):
    assert joules(value) == text


@given(st.floats(1e-9, 1e14) | st.floats(-1e14, -1e-9))
def test_three_digits_are_kept(value: float):
    match = re.fullmatch(r"(-?[\d.]+) ([nµmkMGT]?)W", quantity(value, "W"))
    assert match is not None
    number, prefix = match.groups()
    assert float(number) * PREFIXES[prefix] == pytest.approx(value, rel=0.00501)
    assert 1 <= abs(float(number)) < 1000


@given(st.floats())
def test_any_float_has_a_short_text(value: float):
    assert len(quantity(value, "J")) <= 12
    assert len(duration(value)) < 330
    assert percent(value).endswith(" %")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.85, "850 ms"),
        (12.34, "12.3 s"),
        (60, "1 min 00 s"),
        (245.4, "4 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (7199.9, "2 h 00 min"),
        (math.inf, "inf s"),
        (None, "-"),
    ],
)
def test_duration(value: float | None, text: str):
    assert duration(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.956, "95.6 %"), (1, "100.0 %"), (None, "-")])
def test_percent(value: float | None, text: str):
    assert percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (41.7, "42 s"),
        (59.6, "1 min"),
        (754, "13 min"),
        (3590, "1 h 00 min"),
        (11_940, "3 h 20 min"),
        (86_300, "24 h 00 min"),
        (86_400, "1 day"),
        (200_000, "2 days"),
    ],
)
def test_a_guessed_duration_has_no_more_digits_than_are_known(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


def test_the_time_left_is_said_where_it_is_known() -> None:
    assert time_left(60, 2, 4) == ", about 2 min left"
    assert time_left(60, 0, 4) == ""
    assert time_left(60, 4, 0) == ""


@pytest.mark.parametrize(
    ("low_j", "high_j", "text"),
    [(0.2431, 0.3, "243 to 300 mJ"), (0.95, 1.2, "0.95 to 1.2 J"), (30.0, 3e3, "0.03 to 3 kJ")],
)
def test_an_interval_has_the_unit_of_its_upper_end(low_j: float, high_j: float, text: str):
    assert energy_span(low_j, high_j) == text
