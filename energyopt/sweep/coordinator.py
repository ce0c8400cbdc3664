"""The one process that touches study and sampler: ask, launch, tell, without a barrier.

It knows parameters and outcomes only. Training, launching and configs belong to the adapter.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from energyopt.core.calibration import Calibration
from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import End, TrialResult
from energyopt.errors import (
    DamagedFileError,
    DiskFullError,
    EnergyoptError,
    LauncherError,
    StorageUnavailableError,
    StudyError,
)
from energyopt.jobs.job_result import failed
from energyopt.report.live import LiveStudy
from energyopt.search.budget import Budget
from energyopt.search.history_builder import HistoryBuilder
from energyopt.search.schedule import Schedule
from energyopt.search.space import Space
from energyopt.storage.command_account import NO_ACCOUNT, CommandAccount, NoAccount
from energyopt.storage.reconciliation import Point
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.adapter import Adapter
from energyopt.sweep.outbox import Outbox
from energyopt.sweep.running_trial import RunningTrial
from energyopt.sweep.stored_overrides import refuse_planted
from energyopt.sweep.suggestion import suggest
from energyopt.sweep.trial_queue import QueuedTrial, TrialQueue
from energyopt.utils import failpoints
from energyopt.utils.signals import Interrupted, deferring, interrupting

_Done = TypeVar("_Done")
_DIED: tuple[End, str] = ("lost", "what ran it died")
_INTERRUPTED: tuple[End, str] = ("interrupted", "interrupted")
_RETRY_S = (0.1, 2.0)  # first and longest pause between two tries of a storage


@dataclass(frozen=True, slots=True)
class Limits:
    """Failures that end a run of a study early, and its patience.

    Attributes:
        n_trials: The study's total.
        max_failures: Number of failed trials that ends the run; None for no limit.
        max_failure_rate: Share of n_trials that may fail; None for any.
        heartbeat_s: Time between heartbeats, in s.
        storage_wait_s: Time for which a storage that does not answer is retried, in s.
    """

    n_trials: int
    max_failures: int | None = None
    max_failure_rate: float | None = None
    heartbeat_s: float = 60.0
    storage_wait_s: float = 300.0


_NotItsFault = LauncherError | DamagedFileError | DiskFullError
_Answer = Outcome | _NotItsFault


class Coordinator:
    """Runs what is missing of a study.

    Args:
        store: The study.
        space: The search space.
        adapter: Runs the trials.
        limits: When the run ends early.
        calibration: Hardware measurements of the study's trials; passed to jobs.
        outbox: Keeps outcomes that the storage cannot take.
        schedule: Chooses which trial trains next, and for how long; None begins one after the
            other, each to its end.
        history_builder: Builds the history that stopping rules see; None without rules.
        budget: Limits of the study's energy and time.
        account: Records the energy of this command.
        suggests_more: Whether a `custom_search_space` sets keys that the space lacks.

    Attributes:
        failure: Why the run was ended early; None if it was not.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        space: Space,
        adapter: Adapter,
        limits: Limits,
        calibration: Calibration,
        outbox: Outbox,
        schedule: Schedule | None = None,
        history_builder: HistoryBuilder | None = None,
        budget: Budget = Budget(),  # noqa: B008  # frozen
        account: CommandAccount | NoAccount = NO_ACCOUNT,
        suggests_more: bool = False,
    ) -> None:
        self._store = store
        self._space = space
        self._adapter = adapter
        self._limits = limits
        self._calibration = calibration
        self._outbox = outbox
        self._schedule = schedule
        self._history_builder = history_builder
        self._budget = budget
        self._account = account
        self._suggests_more = suggests_more
        # Answers of jobs, and interrupts: nothing else ends a wait.
        self._answers: queue.SimpleQueue[tuple[RunningTrial, _Answer] | Interrupted]
        self._answers = queue.SimpleQueue()
        self._running: dict[int, RunningTrial] = {}
        self._failures = 0
        self._interrupt: Interrupted | None = None
        self._storage_error: StorageUnavailableError | None = None
        self._last_beat_s = time.monotonic()
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
            next_point: Returns the next point, given the existing ones; None asks the sampler.
            live: Shows what happens.

        Raises:
            Interrupted: By a signal, once the energy used so far is stored.
            LauncherError: If the launcher died; its trials are run again by the next run.
            StorageError: If the storage stayed unavailable; outcomes are kept in the outbox.
            StudyError: If a trial's energy comes from another meter than the study's, another run
                took over this run's trials, or the schedule returns an impossible step.
        """
        trial_queue = TrialQueue(
            self._store,
            self._schedule,
            self._outbox,
            n_trials=n_trials,
            next_point=next_point,
            say=live.note,
            budget=self._budget,
            progress=self._recorded_progress,
        )
        self._outbox.begin()
        with deferring(self._on_interrupt):
            try:
                self._loop(trial_queue, live)
            except BaseException as error:
                self._adapter.stop()  # first: the energy that trials used until then is stored
                is_dead = isinstance(error, LauncherError)
                for running in list(self._running.values()):
                    with contextlib.suppress(EnergyoptError):  # the next run reconciles it
                        self._release(running, *(_DIED if is_dead else _INTERRUPTED))
                raise
            finally:
                self._outbox.end()
        if self._storage_error is not None:
            raise self._storage_error

    def _on_interrupt(self, interrupt: Interrupted) -> None:
        self._interrupt = interrupt  # ends a wait for the storage
        self._answers.put(interrupt)

    def _loop(self, trial_queue: TrialQueue, live: LiveStudy) -> None:
        while True:
            while self._has_room() and self._begin(trial_queue, live):
                pass
            if not self._running:
                self._conclude(trial_queue, live)
                return
            running, answer = self._wait(live)
            if isinstance(answer, Outcome):
                self._tell(running, answer, live)
            else:
                self._train_again(running, answer, live)

    def _begin(self, trial_queue: TrialQueue, live: LiveStudy) -> bool:
        """Start one more trial. Returns False if there is none, or no storage."""
        try:
            queued = self._retry(trial_queue.next, live)
            if queued is None:
                return False
            running = self._retry(lambda: self._prepare(queued), live)
        except StorageUnavailableError as error:
            self._storage_error = error  # running trials continue: their outcomes go to the outbox
            return False
        failpoints.hit("suggested")
        self._start(running, live)
        return True

    def _conclude(self, trial_queue: TrialQueue, live: LiveStudy) -> None:
        """End paused trials if the study is complete; report a spent budget."""
        if self.failure is not None or self._storage_error is not None:
            return
        if trial_queue.over is not None:
            live.note(f"the study ends here: {trial_queue.over}")
        try:
            concluded = self._retry(trial_queue.conclude, live)
        except StorageUnavailableError as error:
            self._storage_error = error  # the next run does it
            return
        if concluded:
            trials = "1 paused trial" if concluded == 1 else f"{concluded} paused trials"
            live.note(f"{trials} will not resume: others are better with the same joules")

    def _has_room(self) -> bool:
        is_open = self.failure is None and self._storage_error is None
        return is_open and len(self._running) < self._adapter.n_slots

    def _wait(self, live: LiveStudy) -> tuple[RunningTrial, _Answer]:
        """Return the next answer, and send heartbeats until it comes."""
        while True:
            due_s = self._last_beat_s + self._limits.heartbeat_s - time.monotonic()
            if due_s <= 0:
                self._beat(live)
                continue
            if self._account.due_s <= 0:
                self._recorded_progress()
            due_s = min(due_s, max(self._account.due_s, 0.0))
            try:
                answer = self._answers.get(timeout=due_s)
            except queue.Empty:
                continue
            if isinstance(answer, Interrupted):
                raise answer
            return answer

    def _beat(self, live: LiveStudy) -> None:
        self._last_beat_s = time.monotonic()
        try:
            self._store.beat(self._progress())
        except StorageUnavailableError as error:
            live.note(f"mind: {error}; trials go on")

    def _progress(self) -> dict[int, TrialResult]:
        """Return the records so far of the running trials, by number."""
        records = {number: self._outbox.progress(number) for number in self._running}
        return {number: record for number, record in records.items() if record is not None}

    def _recorded_progress(self) -> dict[int, TrialResult]:
        """Record the energy of this command. Returns the records so far of the running trials."""
        progress = self._progress()
        self._account.record(progress)
        return progress

    def _retry(self, work: Callable[[], _Done], live: LiveStudy) -> _Done:
        """Call `work`, and retry it while the storage does not answer.

        Raises:
            StorageUnavailableError: If it stayed unavailable for too long.
            Interrupted: If a signal came meanwhile.
        """
        wait_s = 0.0 if self._storage_error else self._limits.storage_wait_s
        deadline_s, pause_s = time.monotonic() + wait_s, 0.0
        while True:
            try:
                return work()
            except StorageUnavailableError as error:
                if time.monotonic() >= deadline_s:
                    raise
                if not pause_s:
                    live.note(f"mind: {error}; it is tried again for {wait_s:g} s")
            pause_s = min(max(2 * pause_s, _RETRY_S[0]), _RETRY_S[1])
            time.sleep(pause_s)
            if self._interrupt is not None:
                raise self._interrupt

    def _prepare(self, queued: QueuedTrial) -> RunningTrial:
        """Choose a trial's parameters; a retry chooses only those that are still missing."""
        trial, pause_at_j = queued.trial, queued.pause_at_j
        if queued.overrides is not None:
            suggested = trial.params if self._suggests_more else ()
            refuse_planted(trial.number, queued.overrides, self._space.dimensions, suggested)
            context = RunContext(params=trial.params, pause_at_j=pause_at_j, resume=True)
            return RunningTrial(trial, queued.overrides, context)
        with self._store.storage_errors():
            params = suggest(trial, self._space, self._adapter)
        recipe = self._adapter.recipe(params, n_repeats=queued.n_repeats)
        if pause_at_j is not None:
            self._store.keep_overrides(trial, recipe)
        return RunningTrial(trial, recipe, RunContext(params=params, pause_at_j=pause_at_j))

    def _start(self, running: RunningTrial, live: LiveStudy) -> None:
        number = running.trial.number
        self._running[number] = running
        if not running.context.resume and not self._adapter.has_run(number):
            self._outbox.clear(number)
        resumed = self._outbox.progress(number) if running.context.resume else None
        self._account.began(number, resumed)
        live.started(number, running.trial.params, self._adapter.folder(number) / JOURNAL)
        context = replace(
            running.context,
            calibration=self._calibration,
            history=None if self._history_builder is None else self._history_builder.history,
        )

        def run() -> None:
            self._answers.put((running, self._run_trial(number, running.recipe, context)))

        if not self._adapter.in_process:
            threading.Thread(target=run, daemon=True).start()
            return
        with interrupting():  # the job itself must get the signal
            run()

    def _run_trial(self, number: int, recipe: Sequence[str], context: RunContext) -> _Answer:
        try:
            return self._adapter.run(number, recipe, context)
        except (LauncherError, DamagedFileError, DiskFullError) as error:
            return error
        except EnergyoptError as error:
            return failed(str(error))

    def _tell(self, running: RunningTrial, answer: Outcome, live: LiveStudy) -> None:
        failpoints.hit("answered")
        number, outcome = running.trial.number, self._with_record(running, answer)
        refusal = None
        try:
            refusal = self._retry(lambda: self._bind(outcome), live)
            if refusal is not None:
                outcome = failed(str(refusal))
            self._retry(lambda: self._store_outcome(running, outcome), live)
        except StorageUnavailableError as error:
            self._keep(running, outcome, error, live)
        del self._running[number]
        self._account.ended(number, outcome.result)
        if self._storage_error is None:
            record = running.record(outcome)
            if outcome.state == "paused":
                live.paused(record)
            else:
                live.ended(record, self._n_finished())
        live.raised(number, answer.traceback)
        if refusal is not None:
            raise refusal
        if outcome.result is not None and outcome.result.valid:
            self._calibration = self._calibration.updated_with(outcome.result)
            if self._history_builder is not None:
                self._history_builder.add(number, running.trial.params, outcome.result)
        if outcome.state == "failed":
            self._adapter.clean_up()
            self._count_failure(outcome.reason)

    def _train_again(self, running: RunningTrial, error: _NotItsFault, live: LiveStudy) -> None:
        """Give up a trial that the machine ended: its energy counts, its parameters are queued."""
        if isinstance(error, LauncherError):
            raise error
        number = running.trial.number
        text = f"trial {number} is trained again: {error}"
        live.lost(number, text)
        if isinstance(error, DiskFullError):  # which the next would meet as well
            self._storage_error = StorageUnavailableError(text)
        else:
            self._outbox.forget_pause(number)
        try:
            self._retry(lambda: self._release(running, "interrupted", str(error)), live)
        except StorageUnavailableError as unavailable:
            self._storage_error = unavailable  # the next run does it
        del self._running[number]

    def _store_outcome(self, running: RunningTrial, outcome: Outcome) -> None:
        if outcome.state == "paused":
            self._store.pause(running.trial, outcome, running.recipe)
        else:
            self._store.tell(running.trial, outcome, running.recipe)
            self._outbox.forget_pause(running.trial.number)

    def _n_finished(self) -> int | None:
        """Return the number of finished trials where other runs add some; else None."""
        if not self._store.is_shared:
            return None
        with contextlib.suppress(StorageUnavailableError):
            return self._store.n_finished()
        return None

    def _keep(
        self,
        running: RunningTrial,
        outcome: Outcome,
        error: StorageUnavailableError,
        live: LiveStudy,
    ) -> None:
        """Keep an outcome in the outbox, and ask the storage for no more trials."""
        path = self._outbox.keep(running.trial, running.recipe, outcome)
        text = f"{error}; trial {running.trial.number} is kept in {path}, the same command tells it"
        live.note(text)
        self._storage_error = StorageUnavailableError(text)

    def _with_record(self, running: RunningTrial, outcome: Outcome) -> Outcome:
        """Add the record of the trial's journal to a failure."""
        if outcome.state != "failed" or not self._adapter.keeps_journals:
            return outcome
        result = self._outbox.result(running.trial.number, "failed", outcome.reason)
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
        rate, max_failures = self._limits.max_failure_rate, self._limits.max_failures
        if rate is not None and self._failures > rate * self._limits.n_trials:
            self.failure = f"max_failure_rate={rate} is passed; the last trial failed: {reason}"
        elif max_failures is not None and self._failures >= max_failures:
            self.failure = (
                f"max_failures={max_failures} is reached; the last trial failed: {reason}"
            )

    def _release(self, running: RunningTrial, end: End, reason: str) -> None:
        """Give up a running trial: store its energy, and queue its parameters again."""
        result = self._outbox.result(running.trial.number, end, reason)
        self._account.ended(running.trial.number, result)
        pause = self._outbox.pause(running.trial.number)
        self._store.lose(running.trial, running.recipe, end, reason, result, paused=pause)
