"""Trials of a study, however they ended, become the curves that a search looks at."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from energyopt.core.energy import Energy
from energyopt.core.outcome import outcome_of
from energyopt.core.trial_result import TrialResult
from energyopt.core.upfront_cost import UpfrontCost
from energyopt.objectives import EnergyVsAccuracy
from energyopt.search.schedule import CURVE, DEFAULT_SETUP, PAUSED, TrialSnapshot, observed_of
from tests.toys import result


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(directions=["minimize", "maximize"])


def told(study: optuna.Study, of: TrialResult) -> TrialSnapshot:
    """A trial that is told as a coordinator tells it."""
    trial = study.ask()
    trial.suggest_float("lr", 0.5, 0.5)
    outcome = outcome_of(of, EnergyVsAccuracy())
    for key, value in outcome.attributes.items():
        trial.set_user_attr(key, value)
    values = outcome.values or None
    state = TrialState.COMPLETE if outcome.state == "complete" else TrialState.PRUNED
    study.tell(trial, values, state=state)
    return observed_of(study.trials[-1])


def test_a_trial_that_reached_the_target(study):
    observed = told(study, result([(100, 2, 0.5), (200, 4, 0.95)], evaluation_j=1))
    assert observed == TrialSnapshot(
        number=0,
        params={"lr": 0.5},
        epochs=(1, 2),
        joules=(2, 4),
        accuracy=(0.5, 0.95),
        epoch_j=2,
        spent_j=6,
        state="ended",
        reached=True,
    )
    assert observed.curve() == study.trials[0].user_attrs[CURVE]


def test_a_trial_that_was_stopped_keeps_its_curve(study):
    observed = told(study, result([(100, 2, 0.5)], end="stopped", reason="energy_cap: much"))
    assert (observed.joules, observed.state, observed.reached) == ((2,), "ended", False)
    assert study.trials[0].user_attrs["stopped_by"] == "energy_cap"


def test_a_trial_that_runs_or_waits_to_go_on(study):
    trial = study.ask()
    trial.set_user_attr(DEFAULT_SETUP, True)
    running = observed_of(study.trials[0])
    assert (running.state, running.joules, running.epoch_j, running.default) == (
        "running", (), None, True,
    )  # fmt: skip
    trial.set_user_attr(PAUSED, True)
    assert observed_of(study.trials[0]).state == "paused"
    trial.set_user_attr(PAUSED, False)
    assert observed_of(study.trials[0]).state == "running"
    study.tell(trial, state=TrialState.FAIL)
    assert observed_of(study.trials[0]).state == "ended"


def test_a_trial_of_another_app_has_no_curve(study):
    trial = study.ask()
    study.tell(trial, [1, 2])
    assert observed_of(study.trials[0]) == TrialSnapshot(number=0, params={})


def test_what_it_began_with_is_epochs_that_it_has_spent(study):
    source = UpfrontCost("source", "trained", Energy(3, cpu_j=9), reuse=3, fresh=False)
    plain = result([(100, 2, 0.5), (200, 4, 0.95)], evaluation_j=1)
    observed = told(study, replace(plain, upfront=(source,)))
    assert (observed.epochs, observed.joules, observed.epoch_j) == ((2.5, 3.5), (5, 7), 2)
    # The overhead of an execution does not depend on which trial trained the source.
    assert observed.spent_j - observed.joules[-1] == 2
    books = {**plain.books, "pretraining": Energy(5, cpu_j=10)}
    burnt = told(study, replace(plain, upfront=(replace(source, fresh=True),), books=books))
    assert burnt.spent_j == observed.spent_j
