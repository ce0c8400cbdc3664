"""A front is what no other evaluation beats, whatever curves it comes from."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.pareto import curve_front
from tests.toys import result, study, trial

SCORES = st.sampled_from([0.1, 0.2, 0.5, 0.5, 0.9, math.nan])
CURVES = st.lists(st.lists(SCORES, min_size=1, max_size=6), min_size=1, max_size=4)


@given(CURVES)
def test_a_front_is_that_of_all_evaluations(curves):
    results = [
        result([(100 * (i + 1), 1 + number, score) for i, score in enumerate(curve)])
        for number, curve in enumerate(curves)
    ]
    made = study([trial(number, trained) for number, trained in enumerate(results)])
    points = {
        (energy_j, score)
        for _, trained in made.results
        for energy_j, score in zip(trained.curve.training_j, trained.curve.accuracy, strict=True)
        if math.isfinite(score)
    }
    best = {
        point
        for point in points
        if not any(o[0] <= point[0] and o[1] >= point[1] for o in points - {point})
    }
    assert {(point.energy_j, point.accuracy) for point in curve_front(made)} == best
