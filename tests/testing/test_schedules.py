"""Each check of an objective, a rule or a schedule finds what it is for, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from energyopt import testing
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import TrialResult
from energyopt.objectives import EnergyToTarget
from energyopt.search.halving import Halving
from energyopt.search.schedule import Step, TrialSnapshot
from energyopt.stopping.energy_cap import EnergyCap
from energyopt.testing import (
    check_objective,
    check_schedule,
    check_stopping_rule,
)
from tests.violations import caught

# --- objectives


class Joules:
    """An objective that is right, but for what a subclass does."""

    metrics: Sequence[Metric] = (Metric("spent_j", "minimize"),)
    stops_at_target: Any = False

    def __call__(self, result: TrialResult) -> Sequence[float]:
        return (result.spent_j,)


class Undecided(Joules):
    stops_at_target = None


class Anonymous(Joules):
    metrics = ()


class Twice(Joules):
    metrics = (*Joules.metrics, *Joules.metrics)


class Downward(Joules):
    metrics = (Metric("spent_j", "down"),)  # type: ignore[arg-type]


class InfiniteIfMissed(Joules):
    def __call__(self, result: TrialResult) -> Sequence[float]:
        return (result.energy_to_target_j or math.inf,)


class OneTooMany(Joules):
    def __call__(self, result: TrialResult) -> Sequence[float]:
        return (1.0, 2.0)


class Counting(Joules):
    calls = 0

    def __call__(self, result: TrialResult) -> Sequence[float]:
        self.calls += 1
        return (float(self.calls),)


@pytest.mark.parametrize(
    ("objective", "check", "says"),
    [
        (SimpleNamespace(metrics=()), "is_an_objective", "without __call__ and stops_at_target"),
        (Undecided(), "is_an_objective", "stops_at_target to be True or False, got None"),
        (Anonymous(), "names_its_metrics", "at least one metric"),
        (Twice(), "names_its_metrics", "spent_j, spent_j"),
        (Downward(), "names_its_metrics", "minimize or maximize, got 'down'"),
        (InfiniteIfMissed(), "gives_a_finite_number_for_each_metric", "trial that missed, got inf"),
        (OneTooMany(), "gives_a_finite_number_for_each_metric", "1 values for the trial"),
        (Counting(), "is_a_pure_function", "from the record alone"),
    ],
)
def test_a_broken_objective_is_caught_by_the_check_that_is_for_it(
    objective: Any, check: str, says: str
):
    check_objective(Joules())
    check_objective(EnergyToTarget())
    violation = caught(check_objective, objective)
    assert violation.check == check
    assert says in str(violation)


# --- stopping rules


def rule(decide: Callable[[Any, TrialProgress, StudyHistory], str | None]) -> type[Any]:
    return type("Rule", (), {"decide": decide, "calls": 0})


def _counts(self: Any, progress: TrialProgress, rivals: StudyHistory) -> str | None:
    self.calls += 1
    right = EnergyCap().decide(progress, rivals)
    return right and f"{right} (call {self.calls})"


@pytest.mark.parametrize(
    ("make", "check", "says"),
    [
        (object, "is_a_stopping_rule", "object without decide"),
        (rule(lambda *_: None), "says_why_with_numbers", "after 9 J to be stopped, got None"),
        (rule(lambda *_: "too bad"), "says_why_with_numbers", "'too bad'"),
        (rule(lambda *_: "used 9 J."), "says_why_with_numbers", "without a full stop"),
        (
            rule(lambda *_: "used 9 J"),
            "stops_nothing_while_nothing_is_known",
            "return None where the history is empty",
        ),
        (
            rule(lambda _, progress, rivals: "not 1st" if rivals.curves else None),
            "never_stops_the_first_to_be_so_good_with_so_little",
            "compare trials at the same joules",
        ),
        (rule(_counts), "says_the_same_of_the_same", "keep nothing between calls"),
    ],
)
def test_a_broken_rule_is_caught_by_the_check_that_is_for_it(make: Any, check: str, says: str):
    violation = caught(check_stopping_rule, make)
    assert violation.check == check
    assert says in str(violation)


def test_a_rule_is_told_a_trial_that_it_stops():
    """One that is about the 100th joule stops no hopeless example of ours."""
    late = rule(
        lambda _, progress, rivals: (
            "used 100 J"
            if progress.spent_j >= 100 and (rivals.incumbent_j or math.inf) < 100
            else None
        )
    )
    assert "`hopeless`" in caught(check_stopping_rule, late).remedy
    expensive = testing.make_progress(testing.make_steady_curve([0.1] * 9, epoch_j=50), 9)
    good = testing.make_history([testing.make_curve((1, 0.5), (2, 0.95))])
    check_stopping_rule(late, hopeless=(expensive, good))


# --- schedules


def schedule(next_step: Callable[..., Any]) -> type[Any]:
    return type("Schedule", (), {"next_step": next_step, "calls": 0})


def _begins_always(self: Any, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
    return Step() if len(observed) < 20 else None


def _resumes_the_first(
    self: Any, observed: Sequence[TrialSnapshot], *, can_begin: bool
) -> Step | None:
    return Step() if not observed else Step(0)


def _begins_and_pauses(
    self: Any, observed: Sequence[TrialSnapshot], *, can_begin: bool
) -> Step | None:
    return Step(None, 0.0) if can_begin else None


def _asks_for_nan(self: Any, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
    return Step(None, math.nan) if can_begin else None


def _remembers(self: Any, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
    Memory.calls += 1
    return Halving(min_j=Memory.calls).next_step(observed, can_begin=can_begin)


class Memory:
    calls = 0


@pytest.mark.parametrize(
    ("next_step", "check", "says"),
    [
        (lambda self, observed, *, can_begin: None, "begins_with_a_new_trial", "got None"),
        (lambda self, observed, *, can_begin: Step(3), "begins_with_a_new_trial", "resume=3"),
        (_begins_always, "asks_for_nothing_impossible", "where can_begin is False"),
        (_resumes_the_first, "asks_for_nothing_impossible", "resume a paused trial"),
        (_asks_for_nan, "asks_for_nothing_impossible", "a finite until_j"),
        (_begins_and_pauses, "trains_something_to_its_end", "until_j=None in the end"),
        (_remembers, "says_the_same_of_the_same", "the same study each time"),
    ],
)
def test_a_broken_schedule_is_caught_by_the_check_that_is_for_it(
    next_step: Any, check: str, says: str
):
    violation = caught(check_schedule, schedule(next_step))
    assert violation.check == check
    assert says in str(violation)


def test_a_schedule_that_resumes_what_does_not_exist_is_caught():
    assert caught(check_schedule, object).check == "is_a_schedule"
    wrong = schedule(lambda self, observed, *, can_begin: Step(len(observed) or None))
    assert "take the number of a trial that it is told" in caught(check_schedule, wrong).remedy
