"""The test metric has the error of its samples and of its seeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.held_out import held_out, wilson
from energyopt.core.metric import ACCURACY, Monitor

LOSS = Monitor("val_loss", "min")


def test_one_training_has_the_binomial_error_of_its_test_samples():
    test = held_out([0.9], 100, ACCURACY, 0.9)
    assert test is not None
    assert test.error == pytest.approx(math.sqrt(0.9 * 0.1 / 100))
    assert (test.low, test.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)  # Wilson, tables
    assert (test.reached, test.seeds) == (1, 1)


def test_more_seeds_do_not_reduce_the_error_of_the_same_test_samples():
    test = held_out([0.9] * 50, 100, ACCURACY, 0.95)
    assert test is not None
    assert test.error == pytest.approx(math.sqrt(0.9 * 0.1 / 100))
    assert test.reached == 0
    spread = held_out([0.85, 0.95] * 5, 100, ACCURACY, 0.95)
    assert spread is not None
    assert (spread.error or 0.0) > (test.error or 0.0)
    assert spread.reached == 5


def test_another_metric_has_the_error_over_its_seeds():
    test = held_out([1.0, 2.0, 3.0], None, LOSS, 2.0)
    assert test is not None
    assert test.error == pytest.approx(1 / math.sqrt(3))
    assert (test.low, test.high) == pytest.approx((2 - 4.303 / math.sqrt(3), 2 + 2.484), abs=1e-3)
    assert test.reached == 2
    single = held_out([1.0], None, LOSS, 2.0)
    assert single is not None
    assert (single.error, single.low) == (None, None)
    assert held_out([], 10, ACCURACY, 0.9) is None


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_the_interval_of_a_share_stays_within_it(share: float, samples: int):
    low, high = wilson(share, samples)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
