"""Predictions of a training's accuracy, after curves that follow laws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyopt.core.metric import Scale
from energyopt.search.learning_curve_model import LearningCurveModel
from energyopt.search.schedule import TrialSnapshot
from tests.trained import SIZES, SPACE, accuracy, trained

AT_64 = {"batch_size": 64}
NEW = np.array([-1])


def expected(
    of: LearningCurveModel, size: int, epochs: float, trial: int = -1
) -> tuple[float, float]:
    mean, sd = of.at([{"batch_size": size}], np.array([[epochs]]), np.array([trial]))
    return float(mean[0, 0]), float(sd[0, 0])


def test_a_trained_curve_is_what_it_was():
    fitted = LearningCurveModel([trained(0, AT_64, 8)], SPACE)
    for epochs in (1.0, 4.0, 8.0):
        mean, sd = expected(fitted, 64, epochs, trial=0)
        assert mean == pytest.approx(Scale().place(accuracy(AT_64, epochs)), abs=0.1)
        assert sd < 0.3


def test_the_further_ahead_the_less_is_known():
    fitted = LearningCurveModel([trained(0, AT_64, 4)], SPACE)
    spreads = [expected(fitted, 64, epochs, trial=0)[1] for epochs in (4.0, 8.0, 16.0, 60.0)]
    assert spreads == sorted(spreads)


def test_a_trial_knows_its_own_luck_and_a_new_one_does_not():
    fitted = LearningCurveModel([trained(0, AT_64, 4, luck=1.5)], SPACE)
    assert expected(fitted, 64, 6.0, trial=0)[1] < expected(fitted, 64, 6.0)[1]


def test_curves_of_neighbours_go_on_alike():
    runs = [
        trained(index, {"batch_size": size}, 30) for index, size in enumerate(SIZES) if size != 64
    ]
    short = trained(9, AT_64, 2)
    mean, _ = expected(LearningCurveModel([*runs, short], SPACE), 64, 30.0, trial=len(runs))
    assert mean == pytest.approx(Scale().place(accuracy(AT_64, 30.0)), abs=0.3)


def test_an_evaluation_that_is_no_number_says_nothing():
    epochs = (1.0, 2.0, 3.0)
    whole = TrialSnapshot(0, AT_64, epochs, epochs, (0.3, 0.5, 0.6), 1.0)
    holed = TrialSnapshot(0, AT_64, epochs, epochs, (0.3, math.nan, 0.6), 1.0)
    assert expected(LearningCurveModel([holed], SPACE), 64, 3.0, 0)[0] == pytest.approx(
        expected(LearningCurveModel([whole], SPACE), 64, 3.0, 0)[0], abs=0.1
    )
    nothing = TrialSnapshot(0, AT_64, epochs, epochs, (math.nan,) * 3, 1.0)
    assert all(map(math.isfinite, expected(LearningCurveModel([nothing], SPACE), 64, 3.0)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SIZES),
            st.lists(st.floats(0, 1) | st.just(math.nan), min_size=0, max_size=12),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_was_read_what_is_expected_is_finite(curves: Sequence[tuple[int, list[float]]]):
    runs = [
        TrialSnapshot(
            index,
            {"batch_size": size},
            tuple(0.25 * (i + 1) for i in range(len(read))),
            tuple(1.0 * (i + 1) for i in range(len(read))),
            tuple(read),
            4.0,
        )
        for index, (size, read) in enumerate(curves)
    ]
    fitted = LearningCurveModel(runs, SPACE)
    horizons = np.geomspace(0.25, 60, 5)
    mean, sd = fitted.at(
        [{"batch_size": size} for size in SIZES], np.tile(horizons, (7, 1)), NEW.repeat(7)
    )
    assert np.isfinite(mean).all()
    assert (sd > 0).all()
    again = LearningCurveModel(runs, SPACE, hyper=fitted.hyper, refine=False)
    assert again.at([AT_64], horizons[None], NEW)[0] == pytest.approx(mean[SIZES.index(64)][None])
