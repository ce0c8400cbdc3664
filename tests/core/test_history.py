"""The history of a study is passed to the next trial as plain numbers, and stays short."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.core.curve import Curve
from energyopt.core.history import BestSoFarCurve, StudyHistory, TrialProgress, front_of
from energyopt.core.metric import Monitor
from tests.curves import CURVES, TARGET, curve, progress, rivals_of, steady


def test_nothing_is_known_of_no_trial_and_of_one_without_an_evaluation():
    assert rivals_of([]) == rivals_of([curve()]) == StudyHistory()
    assert StudyHistory.from_json(StudyHistory().to_json()) == StudyHistory()
    assert StudyHistory().best_with(1e9) == 0.0


def test_the_incumbent_is_the_trial_that_reached_the_target_with_the_least_energy():
    rivals = rivals_of(
        [steady([0.5, 0.95]), steady([0.5]), steady([0.9, 0.99], 1.5), steady([0.95], 3)]
    )
    assert (rivals.incumbent_j, rivals.incumbent) == (1.5, 2)


def test_a_better_accuracy_with_less_energy_is_the_front():
    rivals = rivals_of([curve((1, 0.3), (2, 0.2), (4, 0.8)), curve((2, 0.7), (3, 0.8), (9, 0.9))])
    assert rivals.front == ((1, 0.3), (2, 0.7), (3, 0.8), (9, 0.9))
    assert [rivals.best_with(j) for j in (0.5, 1, 2.9, 3, 100)] == [0, 0.3, 0.7, 0.8, 0.9]


def test_between_evaluations_accuracy_is_read_in_joules():
    rival = BestSoFarCurve.of(3, curve((10, 0.2), (20, 0.6), (40, 0.5), (80, 0.7)))
    assert rival.number == 3
    assert rival.at(9.9) == 0
    assert rival.at(10) == 0.2
    assert rival.at(15) == pytest.approx(0.4)
    assert rival.at(40) == 0.6  # the best so far
    assert rival.at(60) == pytest.approx(0.65)
    assert rival.at(1e9) == 0.7  # it had that with less


def test_what_rises_late_was_not_better_before():
    late = steady([0.1] * 200 + [0.9] * 20)
    rival = BestSoFarCurve.of(0, late)
    assert len(rival.joules) <= 16
    assert rival.at(100) == 0.1
    assert rival.at(220) == 0.9


def test_a_trial_that_went_on_replaces_itself():
    rivals = (
        StudyHistory().updated_with(0, steady([0.5]), TARGET).updated_with(1, steady([0.4]), TARGET)
    )
    gone_on = rivals.updated_with(0, steady([0.5, 0.95]), TARGET)
    assert {rival.number: rival.at(2) for rival in gone_on.curves} == {0: 0.95, 1: 0.4}
    assert gone_on.incumbent == 0


@given(st.lists(CURVES, max_size=6), st.none() | st.floats(0, 2))
def test_a_history_survives_json_and_carries_no_text(curves: list[Curve], luck: float | None):
    rivals = replace(rivals_of(curves), luck=luck)
    text = rivals.to_json()
    assert StudyHistory.from_json(text) == rivals
    words = {"incumbent_j", "incumbent", "curves", "front", "luck", "worst", "null", "e"}
    assert set(re.findall(r"[^\W\d_]\w*", text)) <= words


@given(st.lists(CURVES, max_size=6), st.floats(0, 400))
def test_a_metric_and_its_mirror_image_have_one_history(curves: list[Curve], energy_j: float):
    more, less = Monitor("gain", "max"), Monitor("loss", "min")
    of_gain, of_loss = StudyHistory(), StudyHistory()
    for number, gain in enumerate(replace(one, monitor=more) for one in curves):
        mirrored = tuple(-value for value in gain.accuracy)
        loss = replace(gain, accuracy=mirrored, monitor=less)
        of_gain, of_loss = (
            of_gain.updated_with(number, gain, 0.9),
            of_loss.updated_with(number, loss, -0.9),
        )
    assert of_gain == of_loss == StudyHistory.from_json(of_loss.to_json())
    assert of_gain.best_with(energy_j) == of_loss.best_with(energy_j)


def test_it_stays_short_and_keeps_the_best():
    poor = [steady([0.1 + i * 1e-4] * 30, 1.1**i) for i in range(60)]
    good = steady([0.5, 0.8, 0.95])
    rivals = rivals_of([good, *poor])
    assert len(rivals.curves) == 50
    assert rivals.curves[0].number == 0
    many = rivals_of(
        steady([1 - 0.9 * (index + 1 + 0.01 * i) ** -0.3 for index in range(120)], 1.05**-i)
        for i in range(80)
    )
    assert len(many.front) <= 50
    assert len(many.to_json()) < 15_000


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), max_size=30))
def test_no_point_of_a_front_beats_another_and_each_other_point_is_beaten(
    points: list[tuple[float, float]],
):
    front = front_of(points)
    assert front == sorted(front)
    assert all(a[1] < b[1] and a[0] < b[0] for a, b in itertools.pairwise(front))
    for energy_j, accuracy in points:
        assert any(at[0] <= energy_j and at[1] >= accuracy for at in front)


@given(CURVES, st.floats(0, 2000), st.floats(0, 2000))
def test_a_rivals_accuracy_never_falls_with_energy(of: Curve, a: float, b: float):
    rival = BestSoFarCurve.of(0, of)
    assert rival.at(min(a, b)) <= rival.at(max(a, b)) <= max(of.accuracy)


def test_progress_says_what_it_will_have_used():
    so_far = progress(steady([0.1, 0.95], 2.0), 2, last_epoch=10)
    assert (so_far.spent_j, so_far.best, so_far.reached, so_far.end_j) == (4, 0.95, True, 20)
    nothing = TrialProgress((), (), (), TARGET, 10)
    assert (nothing.spent_j, nothing.best, nothing.end_j) == (0, 0, 0)
    assert math.isfinite(nothing.end_j)
