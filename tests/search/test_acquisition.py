"""The next training and the recommendation, after trainings that follow a law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from energyopt.search.acquisition import Acquisition, Proposal, SearchGoal
from energyopt.search.energy_model import EnergyModel
from energyopt.search.learning_curve_model import LearningCurveModel
from energyopt.search.schedule import TrialSnapshot
from tests.trained import EPOCHS, LIMITS, SIZES, SPACE, TARGET, to_target, trained

few = settings(max_examples=25, deadline=None)
AT_64 = {"batch_size": 64}
AT_8 = {"batch_size": 8}


def outlook(
    observed: Sequence[TrialSnapshot],
    space: Mapping[str, BaseDistribution] = SPACE,
    *,
    target: float | None = TARGET,
    planned_trainings: float = 300.0,
    present: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> Acquisition:
    model = EnergyModel([trial for trial in observed if trial.epoch_j], space, target)
    goal = SearchGoal(target, EPOCHS, planned_trainings=planned_trainings)
    return Acquisition(observed, goal, model, np.random.default_rng(0), present)


def to_front(of: Acquisition, *, can_begin: bool) -> Proposal | None:
    model = LearningCurveModel(of._observed, of._model.encoding.space)
    return of.to_front(model, can_begin=can_begin)


def recommended(of: Acquisition) -> Mapping[str, Any]:
    return of.candidates[of.recommended]


def choices(of: Acquisition, *, can_begin: bool) -> list[Proposal]:
    """Of both questions."""
    both = (of.to_target(can_begin=can_begin), to_front(of, can_begin=can_begin))
    return [choice for choice in both if choice is not None]


def chosen(choice: Proposal | None) -> Proposal:
    assert choice is not None
    return choice


# --- which setup reaches the target with the least energy


def test_the_default_setup_trains_alone_until_it_is_known():
    first = trained(0, AT_8, 0.5, default=True)
    choice = chosen(outlook([first]).to_target(can_begin=True))
    assert choice.step.resume == 0
    assert choice.step.until_j is not None
    assert choice.step.until_j > first.spent_j


def test_then_others_begin_for_a_look():
    first = to_target(0, AT_8, default=True)
    choice = chosen(outlook([first]).to_target(can_begin=True))
    assert choice.step.resume is None
    assert choice.step.again == 0
    assert choice.params != AT_8
    assert choice.step.until_j == 0
    assert choice.saving_j >= choice.cost_j > 0


def test_a_look_costs_at_least_twice_what_loading_costs():
    first = dataclasses.replace(to_target(0, AT_8, default=True), spent_j=1e4)
    loading_j = 1e4 - first.joules[-1]
    choice = chosen(outlook([first], planned_trainings=1e6).to_target(can_begin=True))
    assert choice.step.until_j == pytest.approx(2 * loading_j)
    assert choice.cost_j > loading_j


def test_a_promising_trial_goes_on():
    first = to_target(0, AT_8, default=True)
    begun = trained(1, AT_64, 4)
    choice = chosen(outlook([first, begun]).to_target(can_begin=False))
    assert choice.step.resume == 1
    assert choice.step.until_j is not None
    assert choice.step.until_j > begun.joules[-1]


def test_the_default_setup_is_recommended_until_another_is_better_beyond_doubt():
    first = to_target(0, {"batch_size": 32}, default=True)
    assert recommended(outlook([first])) == {"batch_size": 32}
    alike = to_target(1, {"batch_size": 128}, luck=0.99)
    assert recommended(outlook([first, alike])) == {"batch_size": 32}


def test_a_setup_that_reached_the_target_with_far_less_is_recommended():
    runs = [to_target(0, AT_8, default=True), to_target(1, AT_64)]
    assert recommended(outlook(runs)) == AT_64


def test_without_a_default_setup_the_first_trial_takes_its_place():
    assert recommended(outlook([to_target(3, AT_64), to_target(7, AT_8)])) == AT_64


def test_what_is_to_be_recommended_reaches_the_target_twice():
    runs = [to_target(0, AT_8, default=True), to_target(1, AT_64)]
    choice = chosen(outlook(runs, planned_trainings=1e-6).to_target(can_begin=True))
    assert choice.params == AT_64
    assert choice.step.resume is None
    assert choice.step.again == 1
    twice = [*runs, to_target(2, AT_64, luck=1.03)]
    assert outlook(twice, planned_trainings=1e-6).to_target(can_begin=True) is None


def test_nothing_is_worth_it_where_nobody_trains_again():
    runs = [to_target(0, AT_64, default=True), trained(1, AT_8, 2)]
    prospects = outlook(runs, planned_trainings=1e-6)
    assert prospects.to_target(can_begin=True) is None
    assert to_front(prospects, can_begin=True) is None


def test_the_more_trainings_are_planned_the_longer_it_is_worth_it():
    runs = [to_target(0, AT_8, default=True), *(to_target(at, AT_64) for at in (1, 2))]
    worth = [
        outlook(runs, planned_trainings=planned_trainings).to_target(can_begin=True) is not None
        for planned_trainings in (1e-3, 1e-1, 1e1, 1e3, 1e5)
    ]
    assert worth == sorted(worth)
    assert not worth[0]
    assert worth[-1]


# --- who may train


@st.composite
def studies(draw: st.DrawFn) -> list[TrialSnapshot]:
    trials = []
    for number in range(draw(st.integers(1, 6))):
        setup = {"batch_size": draw(st.sampled_from(SIZES))}
        state = draw(st.sampled_from(["running", "paused", "ended"]))
        if draw(st.booleans()):
            trial = to_target(number, setup, luck=draw(st.floats(0.9, 1.1)), state=state)
        else:
            trial = trained(number, setup, draw(st.floats(0.5, 5)), state=state)
        loading_j = draw(st.sampled_from([0.0, 3.0]))
        trial = dataclasses.replace(trial, spent_j=trial.spent_j + loading_j, default=not number)
        if number and draw(st.booleans()):
            trial = TrialSnapshot(number, setup, state="running" if state == "paused" else state)  # type: ignore[arg-type]
        trials.append(trial)
    return trials


@given(studies(), st.booleans(), st.sampled_from([1e-3, 10.0, 1e5]))
@few
def test_only_what_waits_goes_on_and_only_what_may_begins(trials, can_begin, planned_trainings):
    prospects = outlook(trials, planned_trainings=planned_trainings)
    assert recommended(prospects) in prospects.candidates
    for choice in choices(prospects, can_begin=can_begin):
        step = choice.step
        assert step.until_j is not None
        assert choice.cost_j >= 0
        assert math.isfinite(choice.cost_j)
        assert choice.saving_j >= choice.cost_j
        if step.resume is None:
            assert can_begin
            own = [trial for trial in trials if trial.params == choice.params]
            assert step.again == len(own)
            assert all(trial.reached for trial in own)
            assert choice.params["batch_size"] in SIZES
        else:
            assert trials[step.resume].state == "paused"
            assert step.until_j > trials[step.resume].joules[-1]


def test_running_trials_are_left_alone():
    runs = [trained(0, AT_8, 2, state="running", default=True)]
    prospects = outlook(runs)
    assert prospects.to_target(can_begin=False) is None
    assert to_front(prospects, can_begin=False) is None
    others = [choice.params for choice in choices(prospects, can_begin=True)]
    assert others
    assert AT_8 not in others


@pytest.mark.parametrize("state", ["running", "ended"])
def test_a_setup_that_failed_or_just_began_is_neither_begun_again_nor_recommended(state):
    first = to_target(0, AT_8, default=True)
    begun = [
        TrialSnapshot(index, {"batch_size": size}, state=state)
        for index, size in enumerate(SIZES[1:6], 1)
    ]
    prospects = outlook([first, *begun], planned_trainings=1e6)
    assert {setup["batch_size"] for setup in prospects.candidates} == {8, 512}
    assert all(
        choice.params == {"batch_size": 512} for choice in choices(prospects, can_begin=True)
    )


def test_a_second_training_that_just_began_is_not_begun_thrice():
    runs = [to_target(0, AT_8, default=True), to_target(1, AT_64)]
    again = TrialSnapshot(2, AT_64, state="running")
    choice = outlook([*runs, again], planned_trainings=1e-6).to_target(can_begin=True)
    assert choice is None


# --- what each further point of accuracy costs


def test_the_front_is_pushed_by_what_costs_less():
    whole = trained(0, AT_8, EPOCHS, state="ended", default=True)
    choice = chosen(to_front(outlook([whole], target=None), can_begin=True))
    assert choice.step.resume is None
    assert choice.params != AT_8
    assert choice.saving_j >= choice.cost_j > 0


def test_a_trial_that_would_push_the_front_goes_on():
    runs = [trained(0, AT_8, EPOCHS, state="ended", default=True), trained(1, AT_64, 3)]
    choice = chosen(to_front(outlook(runs, target=None), can_begin=False))
    assert choice.step.resume == 1


def test_beside_a_target_few_trainings_go_elsewhere():
    runs = [trained(0, AT_8, EPOCHS, state="ended", default=True), trained(1, AT_64, 3)]
    alone = chosen(to_front(outlook(runs, target=None), can_begin=False))
    together = chosen(to_front(outlook(runs), can_begin=False))
    assert together.saving_j < alone.saving_j


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("target", [None, TARGET, 1.0])
def test_accuracies_that_never_change(constant, target):
    epochs = (1.0, 2.0, 3.0)
    runs = [
        TrialSnapshot(
            0, AT_64, epochs, epochs, (constant,) * 3, 1.0, 3.0, "paused", constant >= (target or 2)
        ),
        TrialSnapshot(
            1, AT_8, epochs, epochs, (constant,) * 3, 1.0, 3.0, "paused", constant >= (target or 2)
        ),
    ]
    prospects = outlook(runs, target=target)
    assert recommended(prospects) in prospects.candidates
    for choice in choices(prospects, can_begin=True):
        assert not math.isnan(choice.saving_j)
    if constant == 1.0:
        assert to_front(prospects, can_begin=True) is None  # no accuracy is left to gain


def test_accuracies_that_are_no_number():
    epochs = (1.0, 2.0, 3.0)
    reads = [(math.nan, 0.3, 0.5), (0.3, math.nan, math.nan), (math.nan,) * 3]
    runs = [
        TrialSnapshot(at_, {"batch_size": 2**at_ * 8}, epochs, epochs, read, 1.0, 3.0, "paused")
        for at_, read in enumerate(reads)
    ]
    for count in (1, 2, 3):
        prospects = outlook(runs[:count])
        assert all(
            choice.saving_j >= choice.cost_j for choice in choices(prospects, can_begin=True)
        )
        assert choices(prospects, can_begin=True)


def test_a_meter_that_saw_no_energy_yet():
    runs = [TrialSnapshot(0, AT_64, (0.01,), (0.0,), (0.1,), 1e-3, 0.0, "paused", default=True)]
    for choice in choices(outlook(runs, target=None), can_begin=True):
        assert choice.cost_j > 0
        assert math.isfinite(choice.saving_j)


def test_one_trial_without_an_evaluation():
    prospects = outlook(
        [TrialSnapshot(0, AT_64, epoch_j=20.0, spent_j=5.0, state="paused", default=True)]
    )
    choice = chosen(prospects.to_target(can_begin=True))
    assert choice.step.resume == 0
    assert recommended(prospects) == AT_64
    assert choices(prospects, can_begin=False)


# --- setups


def test_keys_that_a_setup_has_not_are_taken_away():
    space = {
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
        "momentum": FloatDistribution(0.0, 0.99),
    }

    def present(setup: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in setup.items() if k != "momentum" or setup["optimizer"] == "sgd"}

    runs = [
        dataclasses.replace(to_target(0, AT_8, default=True), params={"optimizer": "adam"}),
        dataclasses.replace(to_target(1, AT_64), params={"optimizer": "sgd", "momentum": 0.9}),
    ]
    prospects = outlook(runs, space, present=present)
    assert all(
        ("momentum" in setup) == (setup["optimizer"] == "sgd") for setup in prospects.candidates
    )
    assert sum(setup["optimizer"] == "adam" for setup in prospects.candidates) == 1
    assert chosen(prospects.to_target(can_begin=True)).params["optimizer"] == "sgd"


def test_each_setup_is_looked_at_once():
    runs = [to_target(index, AT_64) for index in range(3)]
    assert len(outlook(runs).candidates) == len(SIZES)
    assert len(outlook(runs, LIMITS).candidates) == 4 * len(SIZES) + 1  # without a limit
