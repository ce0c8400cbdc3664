"""The one process that touches study and sampler: ask, launch, tell, without a barrier."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial

from energyopt.composer import Composer
from energyopt.errors import EnergyoptError, LauncherError, StudyError
from energyopt.journal import NAME, JournalReader
from energyopt.known import Known
from energyopt.options import Options
from energyopt.outcome import failed, outcome_of, outcome_of_error
from energyopt.records import End, Metric, Outcome, TrialRecord
from energyopt.report.live import LiveStudy
from energyopt.search.space import Dimension, Space, Value
from energyopt.signals import Interrupted, deferring, interrupting
from energyopt.store.studies import DEFAULT_SETUP, StudyStore


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
    """

    launcher: Launcher
    folder: Path
    extra: tuple[str, ...]
    in_process: bool
    journals: bool
    stop: Callable[[], None]
    clean_up: Callable[[], object] = lambda: None
    most_at_a_time: int = sys.maxsize

    def journal(self, number: int) -> Path:
        """The journal of a trial."""
        return self.folder / str(number) / NAME

    def clear(self, number: int) -> None:
        """Remove what another study left in the folder of a new trial: its joules are not ours."""
        if self.journals:
            with contextlib.suppress(OSError):  # the job will say that it cannot write there
                self.journal(number).unlink()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A trial on its way."""

    trial: Trial
    words: tuple[str, ...]


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
        suggest_more: A user's function that suggests values beyond the space; None for none.
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
        suggest_more: Callable[[Trial], None] | None = None,
    ) -> None:
        self._store = store
        self._space = space
        self._composer = composer
        self._options = options
        self._metrics = metrics
        self._jobs = jobs
        self._known = known
        self._suggest_more = suggest_more
        self._slots = 1 if jobs.in_process else min(options.n_jobs, jobs.most_at_a_time)
        # Answers of jobs, and the news of a signal: nothing else ends a wait.
        self._answers: queue.SimpleQueue[tuple[_Asked, JobReturn] | Interrupted]
        self._answers = queue.SimpleQueue()
        self._running: dict[int, _Asked] = {}
        self._failures = 0
        self.failure: str | None = None
        """Why the run was ended before its time."""

    def reap(self) -> None:
        """Keep the joules of a dead run's trials, and plan their setups again."""
        for trial in self._store.running():
            self._lose(trial, "lost", "its run died")

    def run(self, n_trials: int, points: Iterator[Mapping[str, Value]], live: LiveStudy) -> None:
        """Run trials until the study has its total, or too many failed.

        Args:
            n_trials: The study's total.
            points: Setups to train before anything is suggested.
            live: Is told what happens.

        Raises:
            Interrupted: By a signal, after the books are in order.
            TrialError: If the launcher is gone; the trials it took with it run again next time.
            StudyError: If a trial's joules do not belong into this study.
        """
        with deferring(self._answers.put):
            try:
                self._loop(n_trials, points, live)
            except BaseException:
                self._jobs.stop()  # first: what they burnt until then belongs into the books
                with contextlib.suppress(EnergyoptError):  # the next run reaps what this cannot
                    for asked in list(self._running.values()):
                        self._lose(asked.trial, "interrupted", "interrupted")
                raise

    def _loop(self, n_trials: int, points: Iterator[Mapping[str, Value]], live: LiveStudy) -> None:
        counted = self._store.counted()
        while True:
            while self._has_room(n_trials - counted):
                self._start(self._ask(next(points, None)), live)
            if not self._running:
                return
            answer = self._answers.get()
            if isinstance(answer, Interrupted):
                raise answer
            self._tell(*answer, live)
            counted += 1

    def _has_room(self, missing: int) -> bool:
        return self.failure is None and len(self._running) < min(self._slots, missing)

    def _ask(self, point: Mapping[str, Value] | None) -> _Asked:
        if point is not None:
            self._store.plan(point)
        trial = self._store.ask()
        with self._store.speaking():
            params = {d.key: _suggest(trial, d) for d in self._space.groups}
            for dimension in self._composer.present(params):
                params[dimension.key] = _suggest(trial, dimension)
            return _Asked(trial, self._space.words(params) + self._custom_words(trial))

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
        self._jobs.clear(number)
        live.started(number, asked.trial.params, self._jobs.journal(number))

        def run() -> None:
            self._answers.put((asked, self._launch(asked)))

        if not self._jobs.in_process:
            threading.Thread(target=run, daemon=True).start()
            return
        with interrupting():  # the job itself must hear it
            run()

    def _launch(self, asked: _Asked) -> JobReturn:
        words = [*self._space.fixed, *asked.words, *self._jobs.extra, *self._known_words()]
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
        return (Dimension.plain("++hardware.known", self._known.to_json()),)

    def _tell(self, asked: _Asked, returned: JobReturn, live: LiveStudy) -> None:
        if isinstance(returned._return_value, LauncherError):  # noqa: SLF001
            raise returned._return_value  # noqa: SLF001
        outcome = self._outcome(asked, returned)
        refusal = self._bind(outcome)
        if refusal is not None:
            outcome = failed(str(refusal))
        self._store.tell(asked.trial, outcome, asked.words)
        del self._running[asked.trial.number]
        live.ended(_as_record(asked, outcome))
        if refusal is not None:
            raise refusal
        if outcome.result is not None and outcome.result.valid:
            self._known = self._known.learn(outcome.result)
        if outcome.state == "failed":
            self._jobs.clean_up()
            self._count_failure(outcome.reason)

    def _outcome(self, asked: _Asked, returned: JobReturn) -> Outcome:
        value = returned._return_value  # noqa: SLF001  # the property prints a traceback
        if returned.status == JobStatus.COMPLETED:
            return outcome_of(value, self._metrics)
        outcome = outcome_of_error(value)
        if outcome.state != "failed" or not self._jobs.journals:
            return outcome
        journal = JournalReader(self._jobs.journal(asked.trial.number)).read()
        return failed(outcome.reason, journal.result("failed", outcome.reason))

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

    def _lose(self, trial: Trial | FrozenTrial, end: End, reason: str) -> None:
        result = None
        if self._jobs.journals:
            result = JournalReader(self._jobs.journal(trial.number)).read().result(end, reason)
        self._store.tell(trial, failed(reason, result), self._space.words(trial.params), lost=True)
        self._store.retry(trial.number)


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
