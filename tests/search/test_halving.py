"""Halving by energy, on given curves: which trials resume, how far, and that it ends."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energyopt.errors import ConfigError
from energyopt.search.halving import Halving, ranked
from energyopt.search.schedule import Schedule, Step, TrialSnapshot
from energyopt.testing.pytest import ScheduleContract


def trial(number: int, *points: tuple[float, float], state: str = "paused") -> TrialSnapshot:
    """A trial from (joules, accuracy) of each evaluation."""
    return TrialSnapshot(
        number,
        {},
        epochs=tuple(float(index + 1) for index in range(len(points))),
        joules=tuple(energy_j for energy_j, _ in points),
        accuracy=tuple(accuracy for _, accuracy in points),
        spent_j=points[-1][0] if points else 0.0,
        state=state,  # type: ignore[arg-type]
    )


FIRST = trial(0, (27, 0.6), (81, 0.7), state="ended")
"""With eta=3 and three rungs: 3, 9 and 27 J."""


class TestHalving(ScheduleContract):
    make = Halving


def test_it_is_a_schedule():
    assert isinstance(Halving(), Schedule)


def test_the_first_trial_trains_to_its_end_and_others_begin_as_low_as_they_can_meanwhile():
    assert Halving().next_step([], can_begin=True) == Step(None, None)
    begun = [trial(0, state="running")]
    assert Halving().next_step(begun, can_begin=True) == Step(None, 0.0)
    assert Halving().next_step(begun, can_begin=False) is None


def test_a_first_trial_that_failed_is_followed_by_another():
    failed = [trial(0, state="ended")]
    assert Halving().next_step(failed, can_begin=True) == Step(None, None)
    waits = [*failed, trial(1, (2, 0.3))]
    assert Halving().next_step(waits, can_begin=False) == Step(1, None)


def test_its_energy_or_a_given_one_tells_the_rungs():
    assert Halving().next_step([FIRST], can_begin=True) == Step(None, 3.0)
    assert Halving(eta=2, rungs=2).next_step([FIRST], can_begin=True) == Step(None, 81 / 4)
    assert Halving(min_j=5).next_step([FIRST], can_begin=True) == Step(None, 5)


def test_one_of_eta_of_a_rung_goes_on_to_the_next():
    rung = [FIRST, trial(1, (3, 0.8)), trial(2, (3, 0.9))]
    assert Halving().next_step(rung, can_begin=True) == Step(2, 9.0)
    gone_on = [FIRST, rung[1], trial(2, (3, 0.9), state="running")]
    assert Halving().next_step(gone_on, can_begin=True) == Step(None, 3.0)
    more = [*gone_on, trial(3, (3, 0.5)), trial(4, (3, 0.4)), trial(5, (3, 0.3))]
    assert Halving().next_step(more, can_begin=True) == Step(1, 9.0)


def test_what_passed_the_last_rung_trains_to_its_end():
    top = [FIRST, *(trial(number, (27, 0.9 - number / 100)) for number in (1, 2))]
    assert Halving().next_step(top, can_begin=True) == Step(1, None)


def test_the_highest_rung_comes_first():
    low = [trial(number, (3, 0.99)) for number in range(1, 4)]
    high = [trial(number, (3, 0.5), (9, 0.6)) for number in range(4, 8)]
    step = Halving().next_step([FIRST, *low, *high], can_begin=True)
    assert step == Step(4, 27.0)


def test_one_that_paused_before_the_first_rung_goes_on_to_it():
    assert Halving().next_step([FIRST, trial(1), trial(2, (1, 0.1))], can_begin=True) == Step(1, 3)


def test_an_evaluation_beyond_a_rung_counts_with_the_energy_that_it_took():
    """More accurate at thrice the energy is not better: neither dominates, the larger area wins."""
    cheap, expensive = trial(1, (3, 0.80)), trial(2, (8.9, 0.81))
    rung = [FIRST, cheap, expensive]
    assert Halving().next_step(rung, can_begin=True) == Step(1, 9.0)


def test_in_the_end_the_best_goes_on_even_where_few_are_left():
    pair = [trial(0, (27, 0.6), (81, 0.7), state="ended"), trial(1, (3, 0.9))]
    assert Halving().next_step(pair, can_begin=True) == Step(None, 3.0)
    assert Halving().next_step(pair, can_begin=False) == Step(1, 9.0)


def test_what_is_worse_than_what_ended_does_not_go_on():
    ended = trial(0, (3, 0.9), (81, 0.95), state="ended")
    worse = [ended, trial(1, (3, 0.5)), trial(2, (3, 0.4))]
    assert Halving().next_step(worse, can_begin=False) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eta": 1}, "eta=1: a number above 1"),
        ({"eta": math.inf}, "eta=inf: a number above 1"),
        ({"min_j": 0}, "min_j=0: joules above 0"),
        ({"rungs": 0}, "rungs=0: at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Halving(**options)


POINTS = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75]), st.sampled_from([1.0, 2.0, 3.5, 8.0])),
    min_size=1,
)


@given(POINTS)
def test_no_dominated_one_comes_before_its_dominator(points):
    order = ranked(points, 10.0)
    assert sorted(order) == sorted(points)
    for place, number in enumerate(order):
        error, energy_j = points[number]
        for earlier in order[:place]:
            its_error, its_j = points[earlier]
            beaten = error <= its_error and energy_j <= its_j
            assert not beaten or (error, energy_j) == (its_error, its_j)


@given(POINTS, st.randoms())
def test_the_order_of_the_trials_is_no_matter(points, dice):
    shuffled = list(points.items())
    dice.shuffle(shuffled)
    assert ranked(dict(shuffled), 10.0) == ranked(points, 10.0)


class Game:
    """Trials with given curves, trained as a schedule says, some at a time."""

    def __init__(self, curves: list[list[float]], steps_j: list[float], slots: int) -> None:
        self.curves, self.steps_j, self.slots = curves, steps_j, slots
        self.trials: list[TrialSnapshot] = []
        self.until: dict[int, float | None] = {}
        self.burnt_j = 0.0
        self.promotions: list[tuple[int, list[TrialSnapshot]]] = []

    def play(self, schedule: Halving, dice: random.Random) -> None:
        for _ in range(1000):
            while len(self.until) < self.slots and self.begin(schedule):
                pass
            if not self.until:
                return
            self.finish(dice.choice(sorted(self.until)))
        raise AssertionError("it does not come to an end")

    def begin(self, schedule: Halving) -> bool:
        can_begin = len(self.trials) < len(self.curves)
        step = schedule.next_step(self.trials, can_begin=can_begin)
        if step is None:
            return False
        if step.resume is None:
            assert can_begin
            number = len(self.trials)
            self.trials.append(trial(number, state="running"))
        else:
            number = step.resume
            assert self.trials[number].state == "paused"
            self.promotions.append((number, list(self.trials)))
            self.trials[number] = dataclasses.replace(self.trials[number], state="running")
        self.until[number] = step.until_j
        return True

    def finish(self, number: int) -> None:
        until_j, curve = self.until.pop(number), self.curves[number]
        before = self.trials[number]
        count = len(before.joules)
        while count < len(curve):
            count += 1
            if until_j is not None and count * self.steps_j[number] >= until_j:
                break
        points = [(self.steps_j[number] * (index + 1), curve[index]) for index in range(count)]
        self.burnt_j += (count - len(before.joules)) * self.steps_j[number]
        over = count == len(curve)
        self.trials[number] = trial(number, *points, state="ended" if over else "paused")


CURVES = st.lists(
    st.tuples(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9]), min_size=1, max_size=12),
              st.sampled_from([0.25, 1.0, 3.0])),
    min_size=1, max_size=12,
)  # fmt: skip


@given(CURVES, st.integers(1, 4), st.sampled_from([2, 3, 4]), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_it_comes_to_an_end_and_pays_for_nothing_twice(curves, slots, eta, dice):
    game = Game([curve for curve, _ in curves], [step for _, step in curves], slots)
    game.play(Halving(eta=eta), dice)
    assert len(game.trials) == len(curves)
    assert all(trial.state in ("ended", "paused") for trial in game.trials)
    assert any(trial.state == "ended" for trial in game.trials)
    assert game.burnt_j == sum(trial.joules[-1] for trial in game.trials)


@given(CURVES, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_of_those_that_wait_at_a_rung_none_goes_on_before_one_that_beats_it(curves, slots, dice):
    game = Game([curve for curve, _ in curves], [step for _, step in curves], slots)
    schedule = Halving()
    game.play(schedule, dice)
    for number, seen in game.promotions:
        whole_j = next((t.joules[-1] for t in seen if t.state == "ended"), None)
        promoted = seen[number]
        if whole_j is None or not promoted.joules:
            continue
        rungs = [whole_j / 27, whole_j / 9, whole_j / 3]
        rung = sum(promoted.joules[-1] >= level * (1 - 1e-9) for level in rungs)
        for other in seen:
            waits = other.state == "paused" and other.joules
            if (
                waits
                and rung
                and rung == sum(other.joules[-1] >= level * (1 - 1e-9) for level in rungs)
            ):
                better = max(other.accuracy) > max(promoted.accuracy)
                assert not (better and other.joules[-1] <= promoted.joules[-1])


def test_it_spends_less_than_training_all_to_the_end_and_finds_the_same():
    dice = random.Random(1)
    curves = []
    for _ in range(40):
        best, speed = dice.uniform(0.3, 0.99), dice.uniform(0.05, 0.5)
        curves.append([best * (1 - math.exp(-speed * (index + 1))) for index in range(81)])
    game = Game(curves, [1.0] * 40, 1)
    game.play(Halving(), dice)
    assert game.burnt_j < 40 * 81 / 4
    found = max(max(trial.accuracy) for trial in game.trials if trial.state == "ended")
    assert found > max(map(max, curves)) - 0.05
