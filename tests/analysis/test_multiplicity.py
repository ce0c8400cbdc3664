"""Correcting verdicts for the number of comparisons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.multiplicity import holm

p_values = st.lists(st.floats(0, 1), max_size=20)


def test_the_example_of_the_method() -> None:
    # n - i + 1 times the i-th smallest: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 is not below that.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


@given(p_values)
def test_it_lies_between_the_plain_and_the_bonferroni_correction(values: list[float]) -> None:
    adjusted = holm(values)
    for before, after in zip(values, adjusted, strict=True):
        assert before <= after <= min(1.0, len(values) * before) or after == pytest.approx(before)


@given(p_values)
def test_what_is_smaller_stays_smaller(values: list[float]) -> None:
    pairs = sorted(zip(values, holm(values), strict=True))
    assert [after for _, after in pairs] == sorted(after for _, after in pairs)
