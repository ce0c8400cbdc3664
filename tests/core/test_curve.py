"""A curve in few points keeps what searches learn from: its rises, its target, its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.curve import thin_indices
from tests.curves import curve, steady

LONG = st.lists(st.integers(0, 100).map(lambda at: at / 100), min_size=1, max_size=300)


def test_rises_are_the_points_better_than_all_before():
    assert curve().rises() == []
    assert steady([0.3, 0.3, 0.2, 0.5, 0.4, 0.6]).rises() == [0, 3, 5]


@given(LONG, st.integers(4, 80))
def test_a_thinned_curve_keeps_its_rises_its_target_and_its_end(accuracy: list[float], most: int):
    whole = steady(accuracy)
    thin = whole.thinned(most, target=0.9)
    assert len(thin) <= max(most, 1)
    assert set(thin) <= set(whole)
    assert list(thin.epoch) == sorted(thin.epoch)
    assert thin[len(thin) - 1] == whole[len(whole) - 1]
    assert thin.first_at(0.9) == whole.first_at(0.9)
    assert max(thin.accuracy) == max(whole.accuracy)
    if len(whole.rises()) <= most - 2:
        assert {whole[rise] for rise in whole.rises()} <= set(thin)


def test_a_curve_that_is_short_enough_stays_as_it_is():
    whole = steady([0.1, 0.9, 0.2])
    assert whole.thinned(3, target=0.9) is whole


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=200), st.integers(1, 50))
def test_points_are_spread_with_both_ends(steps: list[float], most: int):
    joules = [sum(steps[: index + 1]) for index in range(len(steps))]
    chosen = thin_indices(range(len(joules)), joules, most)
    assert len(chosen) == min(len(set(chosen)), most) >= 1
    assert chosen == sorted(chosen)
    assert chosen[-1] == len(joules) - 1
    assert most == 1 or chosen[0] == 0


def test_points_are_spread_over_the_log_of_energy():
    joules = [float(j) for j in range(1, 1001)]
    chosen = [joules[index] for index in thin_indices(range(1000), joules, 4)]
    assert chosen == pytest.approx([1, 10, 100, 1000])
