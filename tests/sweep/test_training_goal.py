"""The goal of another app's study: stated, declared or stored, and never two of them."""

from __future__ import annotations

import dataclasses

import pytest

from energyopt.core.metric import Monitor
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialStart
from energyopt.errors import ConfigError
from energyopt.sweep.options import Options
from energyopt.sweep.training_goal import TrainingGoal
from tests.toys import ESTIMATED

LOSS = Monitor("loss", "min")
GOAL = TrainingGoal(LOSS, 0.3, 20.0)
START = TrialStart(target=0.3, epochs=20, seed=0, provenance=ESTIMATED, monitor=LOSS)


def test_it_is_stated_by_all_keys_or_not_at_all() -> None:
    assert TrainingGoal.stated(Options(monitor="loss", mode="min", target=0.3, epochs=20)) == GOAL
    assert TrainingGoal.stated(Options(monitor="loss", target=0.3, epochs=20)) is None
    assert TrainingGoal.stated(Options()) is None


def test_a_run_declares_it_and_its_study_keeps_it() -> None:
    assert TrainingGoal.declared(START, Options()) == GOAL
    assert TrainingGoal.declared(START, Options(epochs=9)).epochs == 9
    assert TrainingGoal.stored({"config": GOAL.to_config()}) == GOAL
    assert TrainingGoal.stored({"config": None}) is None
    assert TrainingGoal.stored({}) is None
    context = GOAL.give(RunContext(pause_at_j=1.0))
    assert context == RunContext(metric="loss", mode="min", target=0.3, epochs=20, pause_at_j=1.0)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"target": 0.5}, "target=0.5, but the Run of the job declares target=0.3"),
        ({"mode": "max"}, "mode=max, but the Run of the job declares mode=min"),
        ({"monitor": "f1"}, "monitor=f1, but the Run of the job declares monitor=loss"),
    ],
)
def test_a_run_that_declares_otherwise_is_refused(stated, says) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainingGoal.declared(START, Options(**stated))


def test_later_jobs_may_train_for_longer_but_to_no_other_target() -> None:
    assert GOAL.refusal(dataclasses.replace(START, epochs=40)) is None
    other = dataclasses.replace(START, target=0.2, monitor=Monitor("loss", "max"))
    refusal = GOAL.refusal(other)
    assert refusal is not None
    assert "mode=max, the study mode=min; target=0.2, the study target=0.3" in refusal
