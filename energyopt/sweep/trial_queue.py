"""The queue of a run: new trials, and paused ones to resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.trial import Trial

from energyopt.core.trial_result import TrialResult
from energyopt.errors import StudyError
from energyopt.search.budget import Budget
from energyopt.search.guarded_sampler import blamed_on, name_of
from energyopt.search.schedule import Schedule, Step, TrialSnapshot
from energyopt.storage.reconciliation import Point
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.outbox import Outbox

NextPoint = Callable[[Sequence[Point]], Point | None]


@dataclass(frozen=True, slots=True)
class QueuedTrial:
    """A trial for this run to train.

    Attributes:
        trial: Optuna's.
        pause_at_j: Training energy at which it pauses, in J: see `Step`.
        overrides: Its overrides if it resumes; None for a new trial, which has no parameters yet.
        n_repeats: Number of earlier trainings of the same parameters, for a new trial.
    """

    trial: Trial
    pause_at_j: float | None = None
    overrides: tuple[str, ...] | None = None
    n_repeats: int = 0


class TrialQueue:
    """Takes one trial after the other for this run.

    Args:
        store: The study.
        schedule: Chooses the trial and how long it trains; None begins each and trains it to its
            end.
        outbox: Knows which paused trials can resume here.
        n_trials: The study's total.
        next_point: Returns the next point, given the existing ones; None asks the sampler.
        say: Called with lines for people.
        budget: Limits of the study's energy and time.
        progress: Returns the records so far of the trials that run here, by number.

    Attributes:
        over: Why no further trial is taken although the total is not reached; else None.
    """

    def __init__(
        self,
        store: StudyStore,
        schedule: Schedule | None,
        outbox: Outbox,
        *,
        n_trials: int,
        next_point: NextPoint | None,
        say: Callable[[str], None],
        budget: Budget = Budget(),  # noqa: B008  # frozen
        progress: Callable[[], Mapping[int, TrialResult]] = dict,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._outbox = outbox
        self._n_trials = n_trials
        self._next_point = next_point
        self._say = say
        self._budget = budget
        self._progress = progress
        self._reported: set[int] = set()  # already reported
        self._satisfied = False  # the schedule ended the study before its total
        self.over: str | None = None

    def next(self) -> QueuedTrial | None:
        """Return the next trial, or None if none can start now.

        Raises:
            StudyError: If the schedule resumes a trial that is not paused.
        """
        if self._is_over():
            return None
        if self._schedule is None:
            return self._begin(Step())
        can_begin = self._store.can_begin(self._n_trials)
        while True:
            observed = self._observed()
            with blamed_on(f"schedule {name_of(self._schedule)}"):
                step = self._schedule.next_step(observed, can_begin=can_begin)
            if step is None:
                if can_begin and not any(trial.state == "running" for trial in observed):
                    schedule = type(self._schedule).__name__
                    self.over = f"the next joule is not worth it, says {schedule}"
                    self._satisfied = getattr(self._schedule, "final", False)
                return None
            if step.resume is None:
                queued = self._begin(step) if can_begin else None
                if queued is not None or not can_begin:
                    return queued
                can_begin = False  # another run began the last one
            else:
                self._check_paused(step.resume, observed)
                resumed = self._store.resume(step.resume)
                if resumed is not None:  # else another run was first
                    return QueuedTrial(resumed.trial, step.until_j, resumed.overrides)

    def conclude(self) -> int:
        """End the paused trials of a complete study. Returns their number.

        A study is complete when all its trials have begun and none runs, here or elsewhere, once
        the schedule has nothing more to train; a schedule with `final` may say so before the
        total. When a budget is spent, paused trials stay: a larger budget resumes them.
        """
        if self._schedule is None:
            return 0
        if not self._satisfied and (self.over or self._store.can_begin(self._n_trials)):
            return 0
        observed = self._store.observed()
        if any(trial.state == "running" for trial in observed):
            return 0
        paused = [trial.number for trial in observed if trial.state == "paused"]
        concluded = self._store.conclude_paused(filter(self._outbox.can_resume, paused))
        ended = [trial.number for trial in observed if trial.state == "ended"]
        for number in (*concluded, *ended):  # also trials whose run died just after they ended
            self._outbox.forget_pause(number)
        return len(concluded)

    def spent_j(self) -> float:
        """Return all energy that the study has used so far, in J; see `Books`."""
        return self._store.spent_j(self._progress())

    def wall_time_s(self) -> float:
        """Return the time during which runs worked on the study, in s."""
        return self._store.wall_time_s()

    def observed(self) -> list[TrialSnapshot]:
        """Return snapshots of all trials of the study."""
        return self._store.observed()

    def _is_over(self) -> bool:
        """Return True if the budget is spent; it is only checked if a trial could start."""
        if self.over is None and self._budget != Budget():
            can_resume = self._schedule is not None and self._store.paused() > 0
            if can_resume or self._store.can_begin(self._n_trials):
                self.over = self._budget.over(self)
        return self.over is not None

    def _begin(self, step: Step) -> QueuedTrial | None:
        if self._store.sampler.is_exhausted and self._next_point is None:
            self.over = "the sampler has suggested all points of the space"
            return None
        trial = self._store.ask(self._n_trials, self._next_point)
        return None if trial is None else QueuedTrial(trial, step.until_j, n_repeats=step.again)

    def _observed(self) -> list[TrialSnapshot]:
        """Return all trials; one that only another host can resume counts as running."""
        observed = self._store.observed()
        paused = {trial.number for trial in observed if trial.state == "paused"}
        remote = {number for number in paused if not self._outbox.can_resume(number)}
        unreported = sorted(remote - self._reported)
        if unreported:
            self._reported |= remote
            trials = "trial " + ", ".join(map(str, unreported))
            self._say(f"{trials} paused in another folder or on another host, and stays so here")
        return [replace(t, state="running") if t.number in remote else t for t in observed]

    def _check_paused(self, number: int, observed: Sequence[TrialSnapshot]) -> None:
        if not any(trial.number == number and trial.state == "paused" for trial in observed):
            raise StudyError(
                f"{type(self._schedule).__name__} resumes trial {number}, which does not wait; a "
                "schedule resumes paused trials"
            )
