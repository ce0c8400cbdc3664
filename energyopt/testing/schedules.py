"""Checks of schedules, on simulated studies with one to four trials at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from energyopt.core.curve import Curve
from energyopt.testing._check import (
    Check,
    ContractViolation,
    check,
    require,
    require_protocols,
    run_checks,
)
from energyopt.testing._curves import draw_curve

if TYPE_CHECKING:
    from energyopt.search.schedule import Schedule, Step, TrialSnapshot

_TRIALS = 8
_STUDIES = 12
_MAX_SLOTS = 4
_MAX_STEPS = 1000
_CALLS = "next_step() to "


def draw_studies(seed: int = 0) -> tuple[tuple[Curve, ...], ...]:
    """Draw random curves for the trials of some studies."""
    generator = random.Random(seed)  # noqa: S311  # examples, no secrets
    return tuple(tuple(draw_curve(generator) for _ in range(_TRIALS)) for _ in range(_STUDIES))


@dataclass(frozen=True, slots=True)
class ScheduleCase:
    """A schedule, and for each simulated study the curves of the trials that may begin."""

    make: Callable[[], Schedule]
    studies: Sequence[Sequence[Curve]] = field(default_factory=draw_studies)

    def play(self) -> list[_Study]:
        """Simulate all studies, with one to four trials at a time."""
        studies = []
        for number, curves in enumerate(self.studies):
            study = _Study(self.make(), curves, slots=1 + number % _MAX_SLOTS, seed=number)
            study.play()
            studies.append(study)
        return studies


class _Study:
    """Simulation of trials with given curves that train as a schedule decides."""

    def __init__(self, schedule: Schedule, curves: Sequence[Curve], slots: int, seed: int) -> None:
        self.trials: list[TrialSnapshot] = []
        self.used_j = 0.0
        self._schedule = schedule
        self._curves = curves
        self._slots = slots
        self._generator = random.Random(seed)  # noqa: S311  # examples, no secrets
        self._pause_at_j: dict[int, float | None] = {}

    def play(self) -> None:
        """Train until the schedule has nothing more to train."""
        for _ in range(_MAX_STEPS):
            while len(self._pause_at_j) < self._slots and self._start():
                pass
            if not self._pause_at_j:
                return
            self._finish(self._generator.choice(sorted(self._pause_at_j)))
        raise ContractViolation(
            f"a study of {len(self._curves)} trials to end",
            f"further steps after {_MAX_STEPS}",
            "return None when nothing is worth its joules any more, and let a trial that is "
            "resumed train further than before",
        )

    def _start(self) -> bool:
        can_begin = len(self.trials) < len(self._curves)
        step = self._schedule.next_step(tuple(self.trials), can_begin=can_begin)
        if step is None:
            return False
        _require_step(step, self.trials, can_begin=can_begin)
        if step.resume is None:
            number = len(self.trials)
            self.trials.append(_snapshot(number, state="running"))
        else:
            number = step.resume
            self.trials[number] = replace(self.trials[number], state="running")
        self._pause_at_j[number] = step.until_j
        return True

    def _finish(self, number: int) -> None:
        pause_at_j, curve = self._pause_at_j.pop(number), self._curves[number]
        evaluations_before = len(self.trials[number].joules)
        evaluations = evaluations_before
        while evaluations < len(curve):
            evaluations += 1
            if pause_at_j is not None and curve.training_j[evaluations - 1] >= pause_at_j:
                break
        energy_before_j = curve.training_j[evaluations_before - 1] if evaluations_before else 0.0
        energy_j = curve.training_j[evaluations - 1]
        self.used_j += energy_j - energy_before_j
        self.trials[number] = _snapshot(
            number,
            epochs=curve.epoch[:evaluations],
            joules=curve.training_j[:evaluations],
            accuracy=curve.accuracy[:evaluations],
            epoch_j=energy_j / curve.epoch[evaluations - 1],
            spent_j=energy_j,
            state="ended" if evaluations == len(curve) else "paused",
        )


@check
def is_a_schedule(case: ScheduleCase) -> None:
    """Check that it has `next_step`."""
    from energyopt.search.schedule import Schedule

    require_protocols(case.make(), [Schedule])


@check
def begins_with_a_new_trial(case: ScheduleCase) -> None:
    """Check that a study without trials begins one."""
    step = case.make().next_step((), can_begin=True)
    expected = f"{_CALLS}return a new trial where there is none yet"
    remedy = "return a Step() while nothing is known"
    require(step is not None, expected, step, remedy)
    assert step is not None  # noqa: S101  # for the type checker
    require(step.resume is None, expected, step, remedy)


@check
def asks_for_nothing_impossible(case: ScheduleCase) -> None:
    """Check that it begins trials only where it may, resumes paused ones, and comes to an end."""
    case.play()


@check
def trains_something_to_its_end(case: ScheduleCase) -> None:
    """Check that at least one trial of a study ends, and none is left running."""
    for study in case.play():
        states = [trial.state for trial in study.trials]
        require(
            "ended" in states and "running" not in states,
            "at least one trial of a study to train to its end",
            f"trials that are {', '.join(states)}",
            "return steps with until_j=None in the end",
        )


@check
def says_the_same_of_the_same(case: ScheduleCase) -> None:
    """Check that two schedules with the same inputs make the same study."""
    for first, second in zip(case.play(), case.play(), strict=True):
        require(
            first.trials == second.trials,
            f"the same study each time, which uses {first.used_j:g} J",
            f"another one, which uses {second.used_j:g} J",
            "decide by the trials that it is told, and draw at random from a seed alone",
        )


SCHEDULE_CHECKS: tuple[Check[ScheduleCase], ...] = (
    is_a_schedule,
    begins_with_a_new_trial,
    asks_for_nothing_impossible,
    trains_something_to_its_end,
    says_the_same_of_the_same,
)
"""Checks that every schedule must pass."""


def check_schedule(make: Callable[[], Schedule], *, skip: Collection[str] = ()) -> tuple[str, ...]:
    """Check a schedule.

    Args:
        make: Returns a fresh schedule.
        skip: Names of checks to leave out.
    """
    return run_checks(SCHEDULE_CHECKS, ScheduleCase(make), skip=skip)


def _snapshot(number: int, **columns: Any) -> TrialSnapshot:
    from energyopt.search.schedule import TrialSnapshot

    return TrialSnapshot(number, {}, default=number == 0, **columns)


def _require_step(step: Step, trials: Sequence[TrialSnapshot], *, can_begin: bool) -> None:
    if step.resume is None:
        require(
            can_begin,
            f"{_CALLS}resume a trial or return None where can_begin is False",
            step,
            "begin no trial then: the study has its total",
        )
    else:
        require(
            0 <= step.resume < len(trials),
            f"{_CALLS}resume one of {len(trials)} trials",
            step,
            "take the number of a trial that it is told",
        )
        state = trials[step.resume].state
        require(
            state == "paused",
            f"{_CALLS}resume a paused trial",
            f"{step}, which is {state}",
            "look at the state of the trials that it is told",
        )
    require(
        step.until_j is None or (math.isfinite(step.until_j) and step.until_j >= 0),
        f"{_CALLS}give a finite until_j of at least 0",
        step,
        "return None to train to the end",
    )
