from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyopt.records import Metric, TrialRecord
from energyopt.report.front import (
    at_target,
    curve_front,
    final_front,
    front_of,
    join_overrides,
    non_dominated,
    undominated,
)
from tests.toys import EPOCH_SAMPLES, result, study, trial

Point = tuple[float, float]
Direction = Literal["minimize", "maximize"]

# Few distinct values make ties in one or both coordinates common.
TIED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30)
ANY = st.lists(
    st.tuples(
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=30,
)
CURVES = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8)), min_size=1, max_size=6), max_size=6
)


def brute_force(points: list[Point]) -> list[int]:
    """Positions of the first of all points that no other one dominates."""

    def beaten(at: int) -> bool:
        energy, accuracy = points[at]
        return any(
            (e <= energy and a >= accuracy and (e, a) != (energy, accuracy))
            or ((e, a) == (energy, accuracy) and other < at)
            for other, (e, a) in enumerate(points)
        )

    front = [at for at in range(len(points)) if not beaten(at)]
    return sorted(front, key=lambda at: points[at])


@given(st.one_of(TIED, ANY))
def test_front_is_that_of_brute_force(points: list[Point]):
    numbered = list(enumerate(points))
    front = non_dominated(numbered, values=lambda item: item[1])
    assert [at for at, _ in front] == brute_force(points)


@given(TIED)
def test_energy_and_accuracy_rise_strictly_along_a_front(points: list[Point]):
    front = non_dominated(points, values=lambda point: point)
    for before, after in itertools.pairwise(front):
        assert before[0] < after[0]
        assert before[1] < after[1]


@pytest.mark.parametrize("point", [(math.nan, 0.5), (math.inf, 0.5), (1.0, math.nan)])
def test_points_without_order_are_refused(point: Point):
    with pytest.raises(ValueError, match="not finite"):
        non_dominated([(1.0, 0.5), point], values=lambda item: item)


def curved(curves: list[list[tuple[int, int]]]) -> list[TrialRecord]:
    """Trials from the joules of each step and the accuracy after it, in eighths."""
    trials = []
    for number, curve in enumerate(curves):
        energy_j = 0
        points = []
        for at, (step_j, eighths) in enumerate(curve, start=1):
            energy_j += step_j
            points.append((at * EPOCH_SAMPLES, float(energy_j), eighths / 8))
        trials.append(trial(number, result(points)))
    return trials


@given(CURVES)
def test_repeating_a_front_point_stops_at_that_point(curves: list[list[tuple[int, int]]]):
    trials = curved(curves)
    toy = study(trials)
    for point in curve_front(toy):
        end = next(word for word in point.overrides if word.startswith("max_samples="))
        record = trials[point.trial].result
        assert record is not None
        (stop,) = (at for at in record.curve if at.samples == int(end.partition("=")[2]))
        assert (stop.training_j, stop.accuracy) == (point.energy_j, point.accuracy)


def test_curve_front_takes_missed_and_stopped_trials_but_no_broken_ones():
    toy = study(
        [
            trial(0, result([(100, 4, 0.6), (200, 8, 0.9)])),
            trial(1, result([(100, 2, 0.5)], end="stopped")),
            trial(2, result([(100, 3, 0.55)])),
            trial(3, result([(100, 1, 0.99)], end="failed")),
            trial(4),
        ]
    )
    front = [(p.energy_j, p.accuracy, p.trial) for p in curve_front(toy)]
    assert front == [(2, 0.5, 1), (3, 0.55, 2), (4, 0.6, 0), (8, 0.9, 0)]
    assert "all checkpoints of 3 trials" in front_of(curve_front(toy), toy)


def test_an_accuracy_that_is_no_number_is_left_out():
    toy = study([trial(0, result([(100, 1, math.nan), (200, 2, 0.5)]))])
    assert [point.energy_j for point in curve_front(toy)] == [2]


def test_a_point_knows_where_it_is_and_how_to_get_there():
    (point,) = curve_front(
        study(
            [trial(3, result([(150, 4, 1 / 3)]), params={"lr": 0.01}, default=True)],
            overrides=("task=digits", "target=0.9", "objective=weighted", "objective.weight=2"),
        )
    )
    assert (point.time_s, point.samples, point.epoch) == (2.0, 150, 1.5)
    assert point.default
    assert point.provenance.kind == "estimated"
    assert point.overrides == (
        "task=digits",
        "target=0.9",
        "objective=weighted",
        "objective.weight=2",
        "lr=0.01",
        "max_samples=150",
    )


def test_final_front_has_the_end_results_of_feasible_complete_trials():
    toy = study(
        [
            trial(0, result([(100, 4, 0.9), (200, 8, 0.95)])),
            trial(1, result([(100, 6, 0.92)])),
            trial(2, result([(100, 1, 0.5)])),
            trial(3, result([(100, 2, 0.91)]), state="pruned"),
            trial(4, result([(100, 8, 0.99)])),
        ],
        overrides=("task=digits",),
    )
    front = final_front(toy)
    assert [(p.energy_j, p.accuracy, p.trial) for p in front] == [(4, 0.95, 0), (8, 0.99, 4)]
    assert front[0].overrides == ("task=digits", "lr=0.01")
    told = "told values (energy_to_target_j, best_accuracy) of 3 feasible trials"
    assert front_of(front, toy) == told


def test_final_front_is_one_of_the_study_s_own_objectives():
    metrics = (Metric("time_to_target_s", "minimize"),)
    records = [result([(100, 4, 0.9)]), result([(100, 2, 0.95)])]
    told = [
        dataclasses.replace(trial(number, of), values=(float(number),))
        for number, of in enumerate(records)
    ]
    (point,) = final_front(study(told, metrics=metrics))
    assert point.trial == 0


@st.composite
def told_values(draw: st.DrawFn) -> tuple[list[Metric], list[tuple[float, ...]]]:
    """Objectives of any number and direction, and values with many ties."""
    directions = draw(st.lists(st.sampled_from(get_args(Direction)), min_size=1, max_size=4))
    metrics = [Metric(f"value_{at}", direction) for at, direction in enumerate(directions)]
    values = st.tuples(*(st.integers(0, 4).map(float) for _ in metrics))
    return metrics, draw(st.lists(values, max_size=15))


@given(told_values())
def test_undominated_trials_are_those_that_brute_force_finds(
    told: tuple[list[Metric], list[tuple[float, ...]]],
):
    metrics, values = told
    trials = [trial(at, state="complete", values=each) for at, each in enumerate(values)]

    def beats(a: TrialRecord, b: TrialRecord) -> bool:
        no_worse = all(
            x <= y if metric.direction == "minimize" else x >= y
            for x, y, metric in zip(a.values, b.values, metrics, strict=True)
        )
        return no_worse and (a.values != b.values or a.number < b.number)

    brute = [t for t in trials if not any(beats(other, t) for other in trials)]
    assert undominated(trials, metrics) == brute


@given(CURVES)
def test_the_front_of_curves_is_that_of_all_their_points(curves: list[list[tuple[int, int]]]):
    toy = study(curved(curves))
    everything = [(p.training_j, p.accuracy) for _, record in toy.results for p in record.curve]
    front = [(p.energy_j, p.accuracy) for p in curve_front(toy)]
    assert front == [everything[at] for at in brute_force(everything)]


def test_at_target_takes_any_target():
    toy = study(
        [
            trial(0, result([(100, 4, 0.6), (200, 8, 0.9)])),
            trial(1, result([(100, 2, 0.5), (200, 4, 0.7)])),
            trial(2, result([(100, 9, 0.95)], end="interrupted")),
        ]
    )
    assert [(t.number, p.training_j) for t, _, p in at_target(toy, 0.55)] == [(1, 4), (0, 4)]
    assert [(t.number, p.training_j) for t, _, p in at_target(toy, 0.9)] == [(0, 8)]
    assert at_target(toy, 0.99) == []


def test_the_front_of_nothing_is_empty():
    assert curve_front(study()) == final_front(study()) == ()
    assert front_of((), study()) == "no points"


def test_later_words_replace_earlier_ones_and_keep_what_adds_the_key():
    words = join_overrides(("+width=8", "lr=0.1", "~scheduler"), ("width=16", "lr=0.2"))
    assert words == ("~scheduler", "+width=16", "lr=0.2")
