"""The front so far, and the expected gain of another point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyopt.core.metric import Scale
from energyopt.search.expected_hypervolume import Front, ahead, evaluations, on_front
from energyopt.search.schedule import TrialSnapshot
from tests.trained import trained

AT_64, AT_8 = {"batch_size": 64}, {"batch_size": 8}


def front(*observed: TrialSnapshot, worst_j: float = 1e4) -> Front:
    made = Front.of(observed, Scale(), worst_j)
    assert made is not None
    return made


def area(points: list[tuple[float, float]], of: Front, worst: float) -> float:
    """How far the front of points lies below the worst log energy, over the levels."""
    lows = [min([log_j for at, log_j in points if at >= level] + [worst]) for level in of.places]
    return float(np.mean([worst - low for low in lows]))


def test_a_level_costs_what_its_cheapest_training_burnt_up_to_it():
    cheap, expensive = trained(0, AT_64, 4), trained(1, AT_8, 4)
    alone, both = front(expensive), front(expensive, cheap)
    assert (both.log_j <= alone.log_j).all()
    assert (both.log_j < alone.log_j).any()
    assert (np.diff(both.log_j) >= 0).all()
    assert both.log_j[-1] == pytest.approx(math.log(1e4))  # no point there yet


def test_where_no_accuracy_can_be_gained_there_is_none():
    assert Front.of([TrialSnapshot(0, AT_64, (1.0,), (1.0,), (1.0,), 1.0)], Scale(), 10.0) is None


points = st.tuples(st.floats(0.0, 1.0), st.floats(-2.0, 8.0))


@given(st.lists(points, min_size=1, max_size=6), points)
@settings(max_examples=100, deadline=None)
def test_a_sure_point_adds_what_it_adds_to_the_hypervolume(known, new):
    """Checked against areas that are counted anew, with and without the point."""
    first = TrialSnapshot(0, AT_8, (1.0,), (math.exp(9.0),), (0.0,), 1.0)  # levels begin at 0
    trials = [
        TrialSnapshot(index, AT_8, (1.0,), (math.exp(log_j),), (accuracy,), 1.0)
        for index, (accuracy, log_j) in enumerate(known, start=1)
    ]
    of = front(first, *trials, worst_j=math.exp(8.0))
    grown = of.improvement(*(np.array([x]) for x in (Scale().place(new[0]), 1e-9, new[1], 1e-9)))
    placed = [(Scale().place(accuracy), log_j) for accuracy, log_j in [*known, new]]
    expected = area(placed, of, 8.0) - area(placed[:-1], of, 8.0)
    assert grown[0] == pytest.approx(expected, abs=1e-6)


def test_the_expected_growth_is_that_of_drawn_points():
    pareto = front(trained(0, AT_64, 4), worst_j=1e3)
    at, sd, log_j, log_j_sd = 1.5, 0.5, 4.0, 0.6
    rng = np.random.default_rng(0)
    reached, used = rng.normal(at, sd, 200_000), rng.normal(log_j, log_j_sd, 200_000)
    drawn = pareto.improvement(reached, np.full(1, 1e-9), used, np.full(1, 1e-9)).mean()
    exact = pareto.improvement(*(np.array([x]) for x in (at, sd, log_j, log_j_sd)))
    assert exact[0] == pytest.approx(drawn, rel=0.02)


def test_evaluations_are_those_that_were_seen_and_go_on_to_the_end():
    marks = evaluations([trained(0, AT_64, 2), trained(1, AT_8, 1)], 4.0)
    assert marks.tolist() == pytest.approx([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4])
    rough = TrialSnapshot(0, AT_64, (0.26, 0.51, 1.01), (1.0, 2.0, 3.0), (0.1, 0.2, 0.3), 1.0)
    again = TrialSnapshot(1, AT_8, (0.2601, 0.502, 1.0), (1.0, 2.0, 3.0), (0.1, 0.2, 0.3), 1.0)
    assert evaluations([rough, again], 1.0).tolist() == pytest.approx([0.26, 0.502, 1.0, 1.0])


def test_some_evaluations_lie_ahead_the_next_and_the_last_among_them():
    marks = np.arange(1.0, 31.0)
    for begun in (0.0, 5.0, 29.0):
        picked = ahead(marks, begun)
        assert picked[0] == begun + 1
        assert picked[-1] == 30
        assert (np.diff(picked) >= 0).all()
    assert ahead(marks, 30.0).tolist() == [31.0] * 10


def test_setups_on_the_front_come_from_the_most_accurate_on():
    def one(number: int, size: int, joules: float, accuracy: float) -> TrialSnapshot:
        return TrialSnapshot(number, {"batch_size": size}, (1.0,), (joules,), (accuracy,), 1.0)

    runs = [one(0, 8, 1.0, 0.5), one(1, 16, 2.0, 0.4), one(2, 32, 2.0, 0.9), one(3, 64, 3.0, 0.9)]
    assert on_front([*runs, one(4, 128, 0.5, math.nan)]) == [runs[2].params, runs[0].params]
