"""The one process that touches study and sampler: ask, launch, tell, without a barrier."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from energyopt.core.calibration import Known
from energyopt.core.journal import NAME
from energyopt.core.trial_result import End, Metric, Outcome, TrialRecord, TrialResult
from energyopt.errors import EnergyoptError, LauncherError, StorageAway, StudyError
from energyopt.jobs.job_result import failed, outcome_of, outcome_of_error
from energyopt.report.live import LiveStudy
from energyopt.search.budget import Budget
from energyopt.search.history_builder import Standing
from energyopt.search.schedule import DEFAULT_SETUP, Schedule
from energyopt.search.space import Dimension, Space, Value
from energyopt.storage.reconciliation import Point
from energyopt.storage.study_store import StudyStore
from energyopt.sweep.composer import Composer
from energyopt.sweep.options import Options
from energyopt.sweep.outbox import Spool
from energyopt.sweep.trial_queue import Steps, Taken
from energyopt.utils import failpoints
from energyopt.utils.signals import Interrupted, deferring, interrupting

_Done = TypeVar("_Done")
_AGAIN_S = (0.1, 2.0)  # first and longest pause before a storage is asked again


@dataclass(frozen=True, slots=True)
class Jobs:
    """How trials become jobs.

    Attributes:
        launcher: Runs them.
        folder: Where each has a folder, named by its number.
        extra: Words that each job gets beside its own.
        in_process: Whether they run in this process, one at a time, for debugging.
        journals: Whether they are our own app's, which keep a journal.
        clean_up: Run after one failed: its process may have been killed.
        most_at_a_time: How many can run at the same time, whatever is asked for.
        stop: Ends those that run.
        seed: Of the trainings; one of a setup that was trained before takes a later one.
    """

    launcher: Launcher
    folder: Path
    extra: tuple[str, ...]
    in_process: bool
    journals: bool
    stop: Callable[[], None]
    clean_up: Callable[[], object] = lambda: None
    most_at_a_time: int = sys.maxsize
    seed: int = 0

    def journal(self, number: int) -> Path:
        """The journal of a trial."""
        return self.folder / str(number) / NAME


@dataclass(frozen=True, slots=True)
class _Asked:
    """A trial on its way: its words, and those of this step of it."""

    trial: Trial
    words: tuple[str, ...]
    step: tuple[str, ...] = ()
    resumed: bool = False


class Coordinator:
    """Runs what is missing of a study.

    Args:
        store: The study.
        space: What is searched.
        composer: Says which axes exist under a choice of groups.
        options: How many trials, at a time, and failures.
        metrics: The objectives.
        jobs: How trials become jobs.
        known: What the study's trials have found out about the hardware; jobs are told.
        spool: Keeps what cannot be told.
        schedule: Says which trial trains next, and for how long; None begins one after the
            other, each to its end.
        standing: What the study's trials did, for rules that stop the next; None without rules.
        suggest_more: A user's function that suggests values beyond the space; None for none.
        budget: What the study may spend.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        space: Space,
        composer: Composer,
        options: Options,
        metrics: Sequence[Metric],
        jobs: Jobs,
        known: Known,
        spool: Spool,
        schedule: Schedule | None = None,
        standing: Standing | None = None,
        suggest_more: Callable[[Trial], None] | None = None,
        budget: Budget = Budget(),  # noqa: B008  # frozen
    ) -> None:
        self._store = store
        self._space = space
        self._composer = composer
        self._options = options
        self._metrics = metrics
        self._jobs = jobs
        self._known = known
        self._spool = spool
        self._schedule = schedule
        self._standing = standing
        self._suggest_more = suggest_more
        self._budget = budget
        self._slots = 1 if jobs.in_process else min(options.n_jobs, jobs.most_at_a_time)
        # Answers of jobs, and the news of a signal: nothing else ends a wait.
        self._answers: queue.SimpleQueue[tuple[_Asked, JobReturn] | Interrupted]
        self._answers = queue.SimpleQueue()
        self._running: dict[int, _Asked] = {}
        self._failures = 0
        self._interrupt: Interrupted | None = None
        self._away: StorageAway | None = None
        self._beat_s = time.monotonic()
        self.failure: str | None = None
        """Why the run was ended before its time."""

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
        steps = Steps(
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
                self._jobs.stop()  # first: what they burnt until then belongs into the books
                died = isinstance(error, LauncherError)
                for asked in list(self._running.values()):
                    with contextlib.suppress(EnergyoptError):  # the next run reaps it
                        self._lose(asked, died=died)
                raise
            finally:
                self._spool.end()
        if self._away is not None:
            raise self._away

    def _hear(self, interrupt: Interrupted) -> None:
        self._interrupt = interrupt  # for a wait for the storage
        self._answers.put(interrupt)

    def _loop(self, steps: Steps, live: LiveStudy) -> None:
        while True:
            while self._has_room() and self._begin(steps, live):
                pass
            if not self._running:
                self._conclude(steps, live)
                return
            self._tell(*self._wait(live), live)

    def _begin(self, steps: Steps, live: LiveStudy) -> bool:
        """Start one more trial; False if there is none, or no storage to ask for it."""
        try:
            taken = self._patiently(steps.next, live)
            if taken is None:
                return False
            asked = self._patiently(lambda: self._setup(taken), live)
        except StorageAway as away:
            self._away = away  # trials that run go on: what they find is kept beside
            return False
        failpoints.at("suggested")
        self._start(asked, live)
        return True

    def _conclude(self, steps: Steps, live: LiveStudy) -> None:
        """End what is paused, if the study is complete; say so if its budget is spent."""
        if self.failure is not None or self._away is not None:
            return
        if steps.over is not None:
            live.note(f"the study ends here: {steps.over}")
        try:
            concluded = self._patiently(steps.conclude, live)
        except StorageAway as away:
            self._away = away  # the next run does it
            return
        if concluded:
            trials = "1 paused trial" if concluded == 1 else f"{concluded} paused trials"
            live.note(f"{trials} will not go on: others are better with the same joules")

    def _has_room(self) -> bool:
        is_open = self.failure is None and self._away is None
        return is_open and len(self._running) < self._slots

    def _wait(self, live: LiveStudy) -> tuple[_Asked, JobReturn]:
        """The next answer; until then, say that this run lives."""
        while True:
            due_s = self._beat_s + self._options.heartbeat_s - time.monotonic()
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
        except StorageAway as away:
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
        wait_s = 0.0 if self._away else self._options.storage_wait_s
        until_s, pause_s = time.monotonic() + wait_s, 0.0
        while True:
            try:
                return work()
            except StorageAway as away:
                if time.monotonic() >= until_s:
                    raise
                if not pause_s:
                    live.note(f"mind: {away}; it is tried again for {wait_s:g} s")
            pause_s = min(max(2 * pause_s, _AGAIN_S[0]), _AGAIN_S[1])
            time.sleep(pause_s)
            if self._interrupt is not None:
                raise self._interrupt

    def _setup(self, taken: Taken) -> _Asked:
        """Choose a trial's setup; done again, it chooses what is not chosen yet."""
        trial, until_j = taken.trial, taken.until_j
        until = () if until_j is None else (Dimension.plain("++stopping.pause_at_j", until_j),)
        if taken.words is not None:
            step = (*until, Dimension.plain("++stopping.resume", True))
            return _Asked(trial, taken.words, step, resumed=True)
        with self._store.speaking():
            params = {d.key: _suggest(trial, d) for d in self._space.groups}
            for dimension in self._composer.present(params):
                params[dimension.key] = _suggest(trial, dimension)
            words = self._space.words(params) + self._custom_words(trial)
            if taken.again:
                words = (*words, Dimension.plain("seed", self._jobs.seed + taken.again))
        if until:
            self._store.keep_words(trial, words)
        return _Asked(trial, words, until)

    def _custom_words(self, trial: Trial) -> tuple[str, ...]:
        """What a user's own function suggested beyond the words."""
        if self._suggest_more is None:
            return ()
        known = set(trial.params)
        self._suggest_more(trial)
        new = {key: value for key, value in trial.params.items() if key not in known}
        return tuple(Dimension.plain(key, value) for key, value in new.items())

    def _start(self, asked: _Asked, live: LiveStudy) -> None:
        number = asked.trial.number
        self._running[number] = asked
        if not asked.resumed:
            self._spool.clear(number)
        journal = self._jobs.journal(number)
        live.started(number, asked.trial.params, journal)

        def run() -> None:
            self._answers.put((asked, self._launch(asked)))

        if not self._jobs.in_process:
            threading.Thread(target=run, daemon=True).start()
            return
        with interrupting():  # the job itself must hear it
            run()

    def _launch(self, asked: _Asked) -> JobReturn:
        setup = (*self._space.fixed, *asked.words)
        words = [*setup, *asked.step, *self._jobs.extra, *self._known_words()]
        try:
            (returned,) = self._jobs.launcher.launch([words], initial_job_idx=asked.trial.number)
        # The one place that catches all: a launcher raises whatever its cluster does, and a job
        # in this process may call sys.exit.
        except (Exception, SystemExit) as error:
            return JobReturn(status=JobStatus.FAILED, _return_value=error)
        return returned

    def _known_words(self) -> tuple[str, ...]:
        if not self._jobs.journals:
            return ()
        words = (Dimension.plain("++hardware.known", self._known.to_json()),)
        if self._standing is None:
            return words
        return (*words, Dimension.plain("++stopping.known", self._standing.rivals.to_json()))

    def _tell(self, asked: _Asked, returned: JobReturn, live: LiveStudy) -> None:
        if isinstance(returned._return_value, LauncherError):  # noqa: SLF001
            raise returned._return_value  # noqa: SLF001
        failpoints.at("answered")
        outcome = self._outcome(asked, returned)
        refusal = None
        try:
            refusal = self._patiently(lambda: self._bind(outcome), live)
            if refusal is not None:
                outcome = failed(str(refusal))
            self._patiently(lambda: self._keep_or_tell(asked, outcome), live)
        except StorageAway as away:
            self._keep(asked, outcome, away, live)
        del self._running[asked.trial.number]
        if self._away is None:
            record = _as_record(asked, outcome)
            if outcome.state == "paused":
                live.paused(record)
            else:
                live.ended(record, self._counted())
        if refusal is not None:
            raise refusal
        if outcome.result is not None and outcome.result.valid:
            self._known = self._known.learn(outcome.result)
            if self._standing is not None:
                self._standing.add(asked.trial.number, asked.trial.params, outcome.result)
        if outcome.state == "failed":
            self._jobs.clean_up()
            self._count_failure(outcome.reason)

    def _keep_or_tell(self, asked: _Asked, outcome: Outcome) -> None:
        if outcome.state == "paused":
            self._store.pause(asked.trial, outcome, asked.words)
        else:
            self._store.tell(asked.trial, outcome, asked.words)
            self._spool.forget_pause(asked.trial.number)

    def _counted(self) -> int | None:
        """How many trials the study has, where others add to them."""
        if not self._store.is_shared:
            return None
        with contextlib.suppress(StorageAway):
            return self._store.counted()
        return None

    def _keep(self, asked: _Asked, outcome: Outcome, away: StorageAway, live: LiveStudy) -> None:
        """Keep beside what the storage cannot be told, and ask it for no more trials."""
        path = self._spool.keep(asked.trial, asked.words, outcome)
        text = f"{away}; trial {asked.trial.number} is kept in {path}, the same command tells it"
        live.note(text)
        self._away = StorageAway(text)

    def _outcome(self, asked: _Asked, returned: JobReturn) -> Outcome:
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if returned.status == JobStatus.COMPLETED:
            return outcome_of(value, self._metrics)
        outcome = outcome_of_error(value)
        if outcome.state != "failed" or not self._jobs.journals:
            return outcome
        result = self._spool.result(asked.trial.number, "failed", outcome.reason)
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
        rate, most = self._options.max_failure_rate, self._options.max_failures
        if rate is not None and self._failures > rate * self._options.n_trials:
            self.failure = f"max_failure_rate={rate} is passed; the last trial failed: {reason}"
        elif most is not None and self._failures >= most:
            self.failure = f"max_failures={most} is reached; the last trial failed: {reason}"

    def _lose(self, asked: _Asked, *, died: bool) -> None:
        """Give up a trial that runs: its joules are kept, its setup is queued again."""
        end: End = "lost" if died else "interrupted"
        reason = "what ran it died" if died else "interrupted"
        result = self._spool.result(asked.trial.number, end, reason)
        pause = self._spool.pause(asked.trial.number)
        self._store.lose(asked.trial, asked.words, end, reason, result, paused=pause)


def _suggest(trial: Trial, dimension: Dimension) -> Value:
    at = dimension.distribution
    if isinstance(at, CategoricalDistribution):
        chosen: Value = trial.suggest_categorical(dimension.key, at.choices)
        return chosen
    if isinstance(at, IntDistribution):
        return trial.suggest_int(dimension.key, at.low, at.high, step=at.step, log=at.log)
    assert isinstance(at, FloatDistribution)  # noqa: S101  # for the type checker
    return trial.suggest_float(dimension.key, at.low, at.high, step=at.step, log=at.log)


def _as_record(asked: _Asked, outcome: Outcome) -> TrialRecord:
    return TrialRecord(
        number=asked.trial.number,
        state=outcome.state,
        params=asked.trial.params,
        overrides=asked.words,
        values=outcome.values,
        feasible=all(violation <= 0 for violation in outcome.constraints.values()),
        reason=outcome.reason,
        default=bool(asked.trial.user_attrs.get(DEFAULT_SETUP)),
        result=outcome.result,
    )
