"""Agreement of two machines on the ranks of configurations."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from energyopt.analysis.rank_agreement import rank_agreement

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


@given(pairs)
@pytest.mark.slow
def test_it_is_the_tau_of_statistics_with_ties(values: list[tuple[int, int]]) -> None:
    first, second = ([*map(float, column)] for column in zip(*values, strict=True))
    found = rank_agreement(first, second)
    expected = kendalltau(first, second).statistic
    if math.isnan(expected):
        assert found.tau is None
    else:
        assert found.tau == pytest.approx(expected)


@given(pairs)
@pytest.mark.slow
def test_the_interval_is_reproducible_and_within_its_range(values: list[tuple[int, int]]) -> None:
    first, second = ([*map(float, column)] for column in zip(*values, strict=True))
    found = rank_agreement(first, second)
    assert found == rank_agreement(first, second)
    if found.low is not None and found.high is not None:
        assert -1.000001 <= found.low <= found.high <= 1.000001


def test_cells_that_missed_on_both_are_tied_and_those_on_one_are_last() -> None:
    missed = math.inf
    assert rank_agreement([1, 2, missed, missed], [1, 2, missed, missed]).tau == pytest.approx(1)
    assert rank_agreement([1, 2, 3, missed], [4, 3, 2, 1]).tau == pytest.approx(-1)


def test_of_few_cells_no_interval_is_given_and_of_none_nothing() -> None:
    few = rank_agreement([1, 2, 3], [1, 2, 3])
    assert (few.tau, few.low, few.n) == (1, None, 3)
    assert rank_agreement([], []).tau is None


def test_the_interval_is_wide_where_the_orders_differ_and_narrow_where_they_do_not() -> None:
    order = [float(i) for i in range(16)]
    swapped = [order[i ^ 1] for i in range(16)]
    alike, unlike = rank_agreement(order, order), rank_agreement(order, swapped)
    assert alike.low == alike.high == 1
    assert unlike.low is not None
    assert unlike.high is not None
    assert unlike.low < unlike.tau < unlike.high  # type: ignore[operator]
