from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.analysis.hypervolume import growth
from tests.toys import result, study, trial


def test_the_area_under_the_front_grows_with_what_was_burnt():
    first = trial(0, result([(100, 1, 0.5), (200, 4, 0.8)], evaluation_j=1.0))
    second = trial(1, result([(100, 2, 0.8)]))
    growths = growth(study([first, second]))
    assert [(step.trial, step.search_j) for step in growths] == [(0, 6.0), (1, 8.0)]
    # ln 4 at 0.5; then ln 2 at 0.5 and ln 2 at 0.8.
    assert growths[0].share == pytest.approx(1.0 / 1.3)
    assert growths[1].share == 1.0


def test_what_failed_is_burnt_and_adds_nothing():
    lost = trial(0, result([(100, 1, 0.9)], end="lost"))
    growths = growth(study([lost, trial(1, result([(100, 1, 0.9), (200, 2, 0.9)]))]))
    assert [(step.trial, step.search_j, step.share) for step in growths] == [(1, 3.0, 1.0)]


def test_a_study_without_curves_has_none():
    assert growth(study()) == ()
    assert growth(study([trial(0)])) == ()
    assert [step.share for step in growth(study([trial(0, result([(100, 1, 0.9)]))]))] == [0.0]


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 1)), min_size=1, max_size=3), max_size=4
    )
)
def test_it_never_shrinks(curves: list[list[tuple[float, float]]]):
    trials = []
    for number, steps in enumerate(curves):
        points = [
            (100 * (index + 1), sum(step for step, _ in steps[: index + 1]), steps[index][1])
            for index in range(len(steps))
        ]
        trials.append(trial(number, result(points)))
    shares = [step.share for step in growth(study(trials))]
    assert all(before <= after + 1e-12 for before, after in itertools.pairwise(shares))
    assert all(0 <= share <= 1 + 1e-12 for share in shares)
