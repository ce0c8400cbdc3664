"""Setups are compared by the seeds that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from energyopt.analysis.paired_ratio import quantile, ratio

energies = st.lists(st.floats(-2, 2).map(math.exp), min_size=2, max_size=10)


def by_seed(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_what_both_seeds_share_is_no_difference():
    comparison = ratio({0: 1.0, 1: 100.0, 2: 10_000.0}, {0: 2.0, 1: 200.0, 2: 20_000.0})
    assert comparison is not None
    assert (comparison.value, comparison.low, comparison.high) == pytest.approx((0.5, 0.5, 0.5))
    assert comparison.verdict == -1


def test_the_interval_is_students():
    one, other = [1.0, 2.0, 1.5, 1.2, 1.9], [2.0, 2.5, 2.0, 2.5, 2.1]
    logs = [math.log(a / b) for a, b in zip(one, other, strict=True)]
    comparison = ratio(by_seed(one), by_seed(other))
    assert comparison is not None
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (math.log(comparison.low), math.log(comparison.high)) == pytest.approx(tuple(interval))
    assert comparison.pairs == 5


def test_only_seeds_that_both_have_count():
    assert ratio({0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0}) is None
    comparison = ratio({0: 1.0, 1: 2.0, 2: 3.0}, {1: 2.0, 2: 3.0, 3: 4.0})
    assert comparison is not None
    assert comparison.pairs == 2


@given(energies, st.floats(-2, 2).map(math.exp))
def test_swapped_setups_swap_the_verdict(one, factor):
    other = [factor * each * (1 + index / 10) for index, each in enumerate(one)]
    there, back = ratio(by_seed(one), by_seed(other)), ratio(by_seed(other), by_seed(one))
    assert there is not None
    assert back is not None
    assert there.verdict == -back.verdict
    assert there.low <= there.value <= there.high
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


def test_few_seeds_say_little():
    assert quantile(1) == pytest.approx(12.706, abs=1e-3)
    assert quantile(4) == pytest.approx(2.776, abs=1e-3)
    far = ratio({0: 1e-300, 1: 1e300}, {0: 1e300, 1: 1e-300})
    assert far is not None
    assert (far.high, far.verdict) == (math.inf, 0)
