"""The one process that touches study and sampler: ask, launch, tell, without a barrier.

It knows parameters and outcomes. What a training is, how it is launched, and what its configs are
is the adapter's business.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from energyopt.core.calibration import Calibration
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome, TrialRecord
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import EnergyoptError, LauncherError, StorageUnavailableError, StudyError
from energyopt.jobs.job_result import failed
from energyopt.report.live import LiveStudy
from energyopt.search.budget import Budget
from energyopt.search.history_builder import HistoryBuilder
from energyopt.search.schedule import DEFAULT_SETUP, Schedule
from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.reconciliation import Point
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.adapter import Adapter
from energyopt.sweep.outbox import Outbox
from energyopt.sweep.trial_queue import QueuedTrial, TrialQueue
from energyopt.utils import failpoints
from energyopt.utils.signals import Interrupted, deferring, interrupting

_Done = TypeVar("_Done")
_AGAIN_S = (0.1, 2.0)  # first and longest pause before a storage is running again


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run of a study ends before its time, and how patient it is.

    Attributes:
        n_trials: The study's total.
        max_failures: Failed trials that end the run; None never.
        max_failure_rate: Share of n_trials that may fail; None any.
        heartbeat_s: Time between signs of life, in s.
        storage_wait_s: How long a storage that does not answer is tried again, in s.
    """

    n_trials: int
    max_failures: int | None = None
    max_failure_rate: float | None = None
    heartbeat_s: float = 60.0
    storage_wait_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _RunningTrial:
    """A trial on its way: what reproduces it, and what it is told for this part of it."""

    trial: Trial
    recipe: tuple[str, ...]
    context: RunContext = field(default_factory=RunContext)


_Answer = Outcome | LauncherError


class Coordinator:
    """Runs what is missing of a study.

    Args:
        store: The study.
        space: What is searched.
        adapter: Runs the trials.
        limits: When the run ends before its time.
        known: What the study's trials have found out about the hardware; jobs are told.
        spool: Keeps what cannot be told.
        schedule: Says which trial trains next, and for how long; None begins one after the
            other, each to its end.
        standing: What the study's trials did, for rules that stop the next; None without rules.
        budget: What the study may spend.

    Attributes:
        failure: Why the run was ended before its time; None if it was not.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        space: Space,
        adapter: Adapter,
        limits: Limits,
        known: Calibration,
        spool: Outbox,
        schedule: Schedule | None = None,
        standing: HistoryBuilder | None = None,
        budget: Budget = Budget(),  # noqa: B008  # frozen
    ) -> None:
        self._store = store
        self._space = space
        self._adapter = adapter
        self._limits = limits
        self._known = known
        self._spool = spool
        self._schedule = schedule
        self._standing = standing
        self._budget = budget
        # Answers of jobs, and the news of a signal: nothing else ends a wait.
        self._answers: queue.SimpleQueue[tuple[_RunningTrial, _Answer] | Interrupted]
        self._answers = queue.SimpleQueue()
        self._running: dict[int, _RunningTrial] = {}
        self._failures = 0
        self._interrupt: Interrupted | None = None
        self._away: StorageUnavailableError | None = None
        self._beat_s = time.monotonic()
        self.failure: str | None = None

    def run(
        self,
        n_trials: int,
        next_point: Callable[[Sequence[Point]], Point | None] | None,
        live: LiveStudy,
    ) -> None:
        """Run trials until the study has its total, or too many failed.

        Args:
            n_trials: The study's total.
            next_point: Given the setups that there are, the next one; None for suggestions.
            live: Is told what happens.

        Raises:
            Interrupted: By a signal, after the books are in order.
            LauncherError: If the launcher is gone; the trials it took with it run again next time.
            StorageError: If the storage stayed away; what it could not be told is kept beside.
            StudyError: If a trial's joules do not belong into this study, another run has taken
                this one for dead, or the schedule says what cannot be.
        """
        steps = TrialQueue(
            self._store,
            self._schedule,
            self._spool,
            n_trials=n_trials,
            next_point=next_point,
            say=live.note,
            budget=self._budget,
            progress=self._progress,
        )
        self._spool.begin()
        with deferring(self._hear):
            try:
                self._loop(steps, live)
            except BaseException as error:
                self._adapter.stop()  # first: what they burnt until then belongs into the books
                died = isinstance(error, LauncherError)
                for running in list(self._running.values()):
                    with contextlib.suppress(EnergyoptError):  # the next run reaps it
                        self._lose(running, died=died)
                raise
            finally:
                self._spool.end()
        if self._away is not None:
            raise self._away

    def _hear(self, interrupt: Interrupted) -> None:
        self._interrupt = interrupt  # for a wait for the storage
        self._answers.put(interrupt)

    def _loop(self, steps: TrialQueue, live: LiveStudy) -> None:
        while True:
            while self._has_room() and self._begin(steps, live):
                pass
            if not self._running:
                self._conclude(steps, live)
                return
            self._tell(*self._wait(live), live)

    def _begin(self, steps: TrialQueue, live: LiveStudy) -> bool:
        """Start one more trial; False if there is none, or no storage to ask for it."""
        try:
            taken = self._patiently(steps.next, live)
            if taken is None:
                return False
            running = self._patiently(lambda: self._setup(taken), live)
        except StorageUnavailableError as away:
            self._away = away  # trials that run go on: what they find is kept beside
            return False
        failpoints.at("suggested")
        self._start(running, live)
        return True

    def _conclude(self, steps: TrialQueue, live: LiveStudy) -> None:
        """End what is paused, if the study is complete; say so if its budget is spent."""
        if self.failure is not None or self._away is not None:
            return
        if steps.over is not None:
            live.note(f"the study ends here: {steps.over}")
        try:
            concluded = self._patiently(steps.conclude, live)
        except StorageUnavailableError as away:
            self._away = away  # the next run does it
            return
        if concluded:
            trials = "1 paused trial" if concluded == 1 else f"{concluded} paused trials"
            live.note(f"{trials} will not go on: others are better with the same joules")

    def _has_room(self) -> bool:
        is_open = self.failure is None and self._away is None
        return is_open and len(self._running) < self._adapter.n_slots

    def _wait(self, live: LiveStudy) -> tuple[_RunningTrial, _Answer]:
        """The next answer; until then, say that this run lives."""
        while True:
            due_s = self._beat_s + self._limits.heartbeat_s - time.monotonic()
            if due_s <= 0:
                self._beat(live)
                continue
            try:
                answer = self._answers.get(timeout=due_s)
            except queue.Empty:
                continue
            if isinstance(answer, Interrupted):
                raise answer
            return answer

    def _beat(self, live: LiveStudy) -> None:
        self._beat_s = time.monotonic()
        try:
            self._store.beat(self._progress())
        except StorageUnavailableError as away:
            live.note(f"mind: {away}; trials go on")

    def _progress(self) -> dict[int, TrialResult]:
        """What the trials that run have burnt until now."""
        found = {number: self._spool.progress(number) for number in self._running}
        return {number: result for number, result in found.items() if result is not None}

    def _patiently(self, work: Callable[[], _Done], live: LiveStudy) -> _Done:
        """Do what takes the storage, again and again while it does not answer.

        Raises:
            StorageAway: If it stayed away for too long.
            Interrupted: If a signal came meanwhile.
        """
        wait_s = 0.0 if self._away else self._limits.storage_wait_s
        until_s, pause_s = time.monotonic() + wait_s, 0.0
        while True:
            try:
                return work()
            except StorageUnavailableError as away:
                if time.monotonic() >= until_s:
                    raise
                if not pause_s:
                    live.note(f"mind: {away}; it is tried again for {wait_s:g} s")
            pause_s = min(max(2 * pause_s, _AGAIN_S[0]), _AGAIN_S[1])
            time.sleep(pause_s)
            if self._interrupt is not None:
                raise self._interrupt

    def _setup(self, taken: QueuedTrial) -> _RunningTrial:
        """Choose a trial's parameters; done again, it chooses what is not chosen yet."""
        trial, until_j = taken.trial, taken.until_j
        if taken.words is not None:
            context = RunContext(params=trial.params, pause_at_j=until_j, resume=True)
            return _RunningTrial(trial, taken.words, context)
        with self._store.storage_errors():
            params = {d.key: _suggest(trial, d) for d in self._space.groups}
            for dimension in self._adapter.dimensions(params):
                params[dimension.key] = _suggest(trial, dimension)
            params |= self._adapter.suggest_more(trial)
        recipe = self._adapter.recipe(params, n_repeats=taken.again)
        if until_j is not None:
            self._store.keep_overrides(trial, recipe)
        return _RunningTrial(trial, recipe, RunContext(params=params, pause_at_j=until_j))

    def _start(self, running: _RunningTrial, live: LiveStudy) -> None:
        number = running.trial.number
        self._running[number] = running
        if not running.context.resume:
            self._spool.clear(number)
        live.started(number, running.trial.params, self._adapter.folder(number) / JOURNAL)
        context = replace(
            running.context,
            calibration=self._known,
            history=None if self._standing is None else self._standing.rivals,
        )

        def run() -> None:
            self._answers.put((running, self._run_trial(number, running.recipe, context)))

        if not self._adapter.in_process:
            threading.Thread(target=run, daemon=True).start()
            return
        with interrupting():  # the job itself must hear it
            run()

    def _run_trial(self, number: int, recipe: Sequence[str], context: RunContext) -> _Answer:
        try:
            return self._adapter.run(number, recipe, context)
        except LauncherError as error:
            return error
        except EnergyoptError as error:
            return failed(str(error))

    def _tell(self, running: _RunningTrial, answer: _Answer, live: LiveStudy) -> None:
        if isinstance(answer, LauncherError):
            raise answer
        failpoints.at("answered")
        number, outcome = running.trial.number, self._with_record(running, answer)
        refusal = None
        try:
            refusal = self._patiently(lambda: self._bind(outcome), live)
            if refusal is not None:
                outcome = failed(str(refusal))
            self._patiently(lambda: self._keep_or_tell(running, outcome), live)
        except StorageUnavailableError as away:
            self._keep(running, outcome, away, live)
        del self._running[number]
        if self._away is None:
            record = _as_record(running, outcome)
            if outcome.state == "paused":
                live.paused(record)
            else:
                live.ended(record, self._counted())
        if refusal is not None:
            raise refusal
        if outcome.result is not None and outcome.result.valid:
            self._known = self._known.learn(outcome.result)
            if self._standing is not None:
                self._standing.add(number, running.trial.params, outcome.result)
        if outcome.state == "failed":
            self._adapter.clean_up()
            self._count_failure(outcome.reason)

    def _keep_or_tell(self, running: _RunningTrial, outcome: Outcome) -> None:
        if outcome.state == "paused":
            self._store.pause(running.trial, outcome, running.recipe)
        else:
            self._store.tell(running.trial, outcome, running.recipe)
            self._spool.forget_pause(running.trial.number)

    def _counted(self) -> int | None:
        """How many trials the study has, where others add to them."""
        if not self._store.is_shared:
            return None
        with contextlib.suppress(StorageUnavailableError):
            return self._store.counted()
        return None

    def _keep(
        self,
        running: _RunningTrial,
        outcome: Outcome,
        away: StorageUnavailableError,
        live: LiveStudy,
    ) -> None:
        """Keep beside what the storage cannot be told, and ask it for no more trials."""
        path = self._spool.keep(running.trial, running.recipe, outcome)
        text = f"{away}; trial {running.trial.number} is kept in {path}, the same command tells it"
        live.note(text)
        self._away = StorageUnavailableError(text)

    def _with_record(self, running: _RunningTrial, outcome: Outcome) -> Outcome:
        """Add to a failure what the trial's journal says of it."""
        if outcome.state != "failed" or not self._adapter.keeps_journals:
            return outcome
        result = self._spool.result(running.trial.number, "failed", outcome.reason)
        return failed(outcome.reason, result)

    def _bind(self, outcome: Outcome) -> StudyError | None:
        if outcome.result is None or not outcome.result.valid:
            return None
        try:
            self._store.bind(outcome.result.start.provenance)
        except StudyError as error:
            return error
        return None

    def _count_failure(self, reason: str) -> None:
        self._failures += 1
        rate, most = self._limits.max_failure_rate, self._limits.max_failures
        if rate is not None and self._failures > rate * self._limits.n_trials:
            self.failure = f"max_failure_rate={rate} is passed; the last trial failed: {reason}"
        elif most is not None and self._failures >= most:
            self.failure = f"max_failures={most} is reached; the last trial failed: {reason}"

    def _lose(self, running: _RunningTrial, *, died: bool) -> None:
        """Give up a trial that runs: its joules are kept, its setup is queued again."""
        end: End = "lost" if died else "interrupted"
        reason = "what ran it died" if died else "interrupted"
        result = self._spool.result(running.trial.number, end, reason)
        pause = self._spool.pause(running.trial.number)
        self._store.lose(running.trial, running.recipe, end, reason, result, paused=pause)


def _suggest(trial: Trial, dimension: Dimension) -> Value:
    at = dimension.distribution
    if isinstance(at, CategoricalDistribution):
        chosen: Value = trial.suggest_categorical(dimension.key, at.choices)
        return chosen
    if isinstance(at, IntDistribution):
        return trial.suggest_int(dimension.key, at.low, at.high, step=at.step, log=at.log)
    assert isinstance(at, FloatDistribution)  # noqa: S101  # for the type checker
    return trial.suggest_float(dimension.key, at.low, at.high, step=at.step, log=at.log)


def _as_record(running: _RunningTrial, outcome: Outcome) -> TrialRecord:
    return TrialRecord(
        number=running.trial.number,
        state=outcome.state,
        params=running.trial.params,
        overrides=running.recipe,
        values=outcome.values,
        feasible=all(violation <= 0 for violation in outcome.constraints.values()),
        reason=outcome.reason,
        default=bool(running.trial.user_attrs.get(DEFAULT_SETUP)),
        result=outcome.result,
    )
