"""A metric is compared in its own direction, and its values stay as they were reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.errors import ConfigError

VALUES = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(VALUES, min_size=1), VALUES)
def test_less_is_better_where_the_mode_says_so(values: list[float], target: float) -> None:
    loss = Monitor("val_loss", "min")
    assert loss.best(values) == min(values)
    assert ACCURACY.best(values) == max(values)
    assert loss.reaches(values[0], target) == (values[0] <= target)
    assert ACCURACY.reaches(values[0], target) == (values[0] >= target)
    assert loss.is_better(values[0], target) == (values[0] < target)
    assert loss.value(loss.score(values[0])) == values[0]


def test_there_is_no_best_of_nothing() -> None:
    assert ACCURACY.best([]) is None


def test_a_mode_is_min_or_max() -> None:
    with pytest.raises(ConfigError, match="mode='maximise' is not allowed: choose min or max"):
        Monitor("accuracy", "maximise")  # type: ignore[arg-type]
