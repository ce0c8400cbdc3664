"""Numbers are written with no more digits than their interval carries."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.estimate import (
    Estimate,
    carried_digits,
    rounded,
    times_less,
    trainings,
    trainings_of,
)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(5.073, 3.6, 7.1), "5.1 J"),
        (Estimate(5.073, 5.05, 5.1), "5.07 J"),
        (Estimate(5073.0, 2000.0, 9000.0), "5 kJ"),
        (Estimate(0.0268, 0.0262, 0.0274), "26.8 mJ"),
        (Estimate(5.073, 5.073, 5.073), "5.07 J"),  # nothing is known of its doubt
        (Estimate(0.0, -1.0, 1.0), "0 J"),
    ],
)
def test_joules_have_the_digits_of_their_interval(estimate: Estimate, text: str):
    assert estimate.joules == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (Estimate(1 / 8.13, 1 / 20, 1 / 3), "~8x less"),
        (Estimate(1 / 8.13, 1 / 8.2, 1 / 8.06), "~8.13x less"),
        (Estimate(1.284, 0.9, 1.7), "~1.3x more"),
        (Estimate(1 / 240, 0.0, 1 / 10), "~200x less"),
    ],
)
def test_a_factor_is_as_rough_as_it_is_known(ratio: Estimate, text: str):
    assert times_less(ratio) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (13.2, 12, 18, "14"),
        (13.2, 6, math.inf, "14"),
        (437, 100, math.inf, "about 400"),
        (0.2, 0.1, 0.4, "1"),
        (437, 430, 445, "437"),
    ],
)
def test_trainings_are_whole(value: float, low: float, high: float, text: str):
    assert trainings(value, low, high) == text


def test_ends_are_whole_too():
    assert [trainings_of(end) for end in (0.4, 3.2, 187.0)] == ["1", "4", "190"]


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 0.9), st.floats(1e-3, 9.0))
def test_rounding_stays_well_inside_the_interval(value: float, below: float, above: float):
    low, high = value * (1 - below), value * (1 + above)
    digits = carried_digits(value, low, high)
    assert 1 <= digits <= 3
    if digits < 3 and min(below, above) < 0.5:
        assert abs(float(rounded(value, digits)) - value) <= min(value - low, high - value) / 3.9
