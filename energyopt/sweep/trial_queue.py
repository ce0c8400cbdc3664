"""What a study trains next: trials that begin, and paused ones that go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.trial import Trial

from energyopt.core.trial_result import TrialResult
from energyopt.errors import StudyError
from energyopt.search.budget import Budget
from energyopt.search.schedule import Schedule, Step, TrialSnapshot
from energyopt.storage.reconciliation import Point
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.outbox import Outbox

NextPoint = Callable[[Sequence[Point]], Point | None]


@dataclass(frozen=True, slots=True)
class QueuedTrial:
    """A trial that this run is to train.

    Attributes:
        trial: Optuna's.
        until_j: Training energy at which it pauses, in J: see `Step`.
        words: Its words, where it goes on; None where it begins, and has no setup yet.
        again: How often its setup was trained before, where it begins.
    """

    trial: Trial
    until_j: float | None = None
    words: tuple[str, ...] | None = None
    again: int = 0


class TrialQueue:
    """Takes one trial after the other for this run.

    Args:
        store: The study.
        schedule: Says which, and for how long; None begins each and trains it to its end.
        spool: Knows what a paused trial goes on with.
        n_trials: The study's total.
        next_point: Given the setups that there are, the next one; None for suggestions.
        say: Is told what a person should know.
        budget: What the study may spend.
        progress: Says what the trials that run here have burnt until now, by number.

    Attributes:
        over: Why no further trial is taken, though there may be more; None if one may be.
    """

    def __init__(
        self,
        store: StudyStore,
        schedule: Schedule | None,
        spool: Outbox,
        *,
        n_trials: int,
        next_point: NextPoint | None,
        say: Callable[[str], None],
        budget: Budget = Budget(),  # noqa: B008  # frozen
        progress: Callable[[], Mapping[int, TrialResult]] = dict,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._spool = spool
        self._n_trials = n_trials
        self._next_point = next_point
        self._say = say
        self._budget = budget
        self._progress = progress
        self._elsewhere: set[int] = set()  # of which it was said
        self._satisfied = False  # the schedule, before the total
        self.over: str | None = None

    def next(self) -> QueuedTrial | None:
        """The next trial; None if there is none, be it for now.

        Raises:
            StudyError: If the schedule resumes what does not wait.
        """
        if self._is_over():
            return None
        if self._schedule is None:
            return self._begin(Step())
        can_begin = self._store.can_begin(self._n_trials)
        while True:
            observed = self._observed()
            step = self._schedule.next_step(observed, can_begin=can_begin)
            if step is None:
                if can_begin and not any(trial.state == "running" for trial in observed):
                    schedule = type(self._schedule).__name__
                    self.over = f"the next joule is not worth it, says {schedule}"
                    self._satisfied = getattr(self._schedule, "final", False)
                return None
            if step.resume is None:
                taken = self._begin(step) if can_begin else None
                if taken is not None or not can_begin:
                    return taken
                can_begin = False  # another run has begun the last
            else:
                self._check(step.resume, observed)
                waiting = self._store.resume(step.resume)
                if waiting is not None:  # else another run was first
                    return QueuedTrial(waiting.trial, step.until_j, waiting.overrides)

    def conclude(self) -> int:
        """End what waits in a study that is complete; how many did.

        It is where all its trials began, and none runs, here or elsewhere, after the schedule
        said that nothing is worth its joules; before its total, if that was its final word. Where
        a budget is spent they wait: a larger one goes on with them.
        """
        if self._schedule is None:
            return 0
        if not self._satisfied and (self.over or self._store.can_begin(self._n_trials)):
            return 0
        observed = self._store.observed()
        if any(trial.state == "running" for trial in observed):
            return 0
        waiting = [trial.number for trial in observed if trial.state == "paused"]
        concluded = self._store.conclude_paused(filter(self._spool.can_go_on, waiting))
        over = [trial.number for trial in observed if trial.state == "ended"]
        for number in (*concluded, *over):  # also of trials whose run died when they had ended
            self._spool.forget_pause(number)
        return len(concluded)

    def spent_j(self) -> float:
        """All energy that the study burnt until now, in J; see `Books`."""
        return self._store.spent_j(self._progress())

    def took_s(self) -> float:
        """The time in which runs were at work on it, in s."""
        return self._store.took_s()

    def observed(self) -> list[TrialSnapshot]:
        """Its trials."""
        return self._store.observed()

    def _is_over(self) -> bool:
        """Whether the budget is spent; it is not asked where nothing would begin or go on."""
        if self.over is None and self._budget != Budget():
            waits = self._schedule is not None and self._store.paused() > 0
            if waits or self._store.can_begin(self._n_trials):
                self.over = self._budget.over(self)
        return self.over is not None

    def _begin(self, step: Step) -> QueuedTrial | None:
        trial = self._store.ask(self._n_trials, self._next_point)
        return None if trial is None else QueuedTrial(trial, step.until_j, again=step.again)

    def _observed(self) -> list[TrialSnapshot]:
        """All trials; one that can go on elsewhere alone is nothing to resume here."""
        observed = self._store.observed()
        paused = {trial.number for trial in observed if trial.state == "paused"}
        elsewhere = {number for number in paused if not self._spool.can_go_on(number)}
        new = sorted(elsewhere - self._elsewhere)
        if new:
            self._elsewhere |= elsewhere
            trials = "trial " + ", ".join(map(str, new))
            self._say(f"{trials} paused in another folder or on another host, and stays so here")
        return [replace(t, state="running") if t.number in elsewhere else t for t in observed]

    def _check(self, number: int, observed: Sequence[TrialSnapshot]) -> None:
        if not any(trial.number == number and trial.state == "paused" for trial in observed):
            raise StudyError(
                f"{type(self._schedule).__name__} resumes trial {number}, which does not wait; a "
                "schedule resumes paused trials"
            )
