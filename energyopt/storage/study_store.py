"""A study in its storage, asked and told by the runs that share it.

Whose a trial is and how it ended is decided by one statement on its row in our table; what
Optuna is told follows from there, and whoever comes next finishes what a dead run left half done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection

from energyopt.core.outcome import not_promoted
from energyopt.core.report_settings import NONE, ReportSettings
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import End, Provenance, TrialResult
from energyopt.errors import LeaseLostError, StudyError
from energyopt.search.quiet import quiet_optuna
from energyopt.search.schedule import DEFAULT_SETUP, TrialSnapshot
from energyopt.storage import run_leases as runs
from energyopt.storage.database import lock_in_transaction, speaking
from energyopt.storage.identity import PLANS, Identity
from energyopt.storage.optuna_tables import State, count_trials, running_trials
from energyopt.storage.paused_trials import PausedTrials, Waiting
from energyopt.storage.reader import record_of
from energyopt.storage.reconciliation import Point, Reconciler, TrialRemnant
from energyopt.storage.run_leases import Run
from energyopt.storage.search_energy import SearchEnergy
from energyopt.storage.study_opening import GRACE_S, OpenStudy, open_study
from energyopt.storage.trial_rows import TrialRows, ended_row, paused_row
from energyopt.utils import failpoints
from energyopt.utils.process import Process

_BINDING = "energyopt_provenance"


class StudyStore:
    """One study, as one of the runs that share it sees it.

    Args:
        opened: The study, and the run that entered it.
        remains: What a dead run left of a trial.

    Attributes:
        note: What opening it did, in a sentence; None where that is nothing.
    """

    def __init__(self, opened: OpenStudy, remains: Callable[[FrozenTrial], TrialRemnant]) -> None:
        self._study = opened.study
        self._storage = opened.storage
        self._url = opened.url
        self._run = opened.run
        self.note = opened.note
        engine, study_id = self._storage.engine, self._run.study_id
        self._rows = TrialRows(engine, study_id, self._run.ordinal)
        self._ends = Reconciler(self._study, self._rows, remains)
        self._paused = PausedTrials(self._study, self._rows, self._ends)
        self._energy = SearchEnergy(engine, self._rows, study_id)
        self._asked = False
        self._mine: set[int] = set()  # asked for, and not ended

    @classmethod
    def open(
        cls,
        where: str,
        name: str,
        identity: Identity,
        make_sampler: Callable[[int], BaseSampler],
        *,
        remains: Callable[[FrozenTrial], TrialRemnant] = lambda _: TrialRemnant(),
        process: Process | None = None,
        grace_s: float = GRACE_S,
        sole: bool = False,
    ) -> StudyStore:
        """Create a study, or take up one that asks the same, as a new run of it.

        Arguments and errors are those of `open_study`; `remains` says what a dead run left of a
        trial.
        """
        with open_study(
            where, name, identity, make_sampler, process=process, grace_s=grace_s, sole=sole
        ) as opened:
            return cls(opened, remains)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def sampler(self) -> BaseSampler:
        """What suggests setups."""
        return self._study.sampler

    @property
    def is_shared(self) -> bool:
        """Whether other runs may add to it at the same time."""
        return self._storage.engine.dialect.name == "postgresql"

    # Trials on their way ---------------------------------------------------------------------

    def ask(
        self,
        n_trials: int | None = None,
        next_point: Callable[[Sequence[Point]], Point | None] | None = None,
    ) -> Trial | None:
        """A new trial, or the next planned one; none where all that there may be are taken.

        Trials that dead runs left are settled first. Runs do this one at a time, so that their
        sum is exact.

        Args:
            n_trials: The study's total; None for any.
            next_point: Given all setups that were trained or planned, the next one if nothing
                is suggested; None where suggestions are.
        """
        with self._held() as lock:
            self._reap(all_of_them=False)  # this run's other trials go on
            if n_trials is not None and self._taken() >= n_trials:
                return None
            if next_point is not None and not self._trials(TrialState.WAITING):
                point = next_point(self.seen())
                if point is None:
                    return None
                self._study.enqueue_trial(dict(point))
            trial = self._study.ask()
            failpoints.at("asked")
            # In the transaction of the lock: what is written counts if it was held.
            self._ends.enter(trial, connection=lock)
            self._asked = True
        self._mine.add(trial.number)
        failpoints.at("claimed")
        return trial

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """For suggestions, which write to the database: say its errors in a sentence."""
        with speaking(self._url), quiet_optuna():
            try:
                yield
            except UpdateFinishedTrialError as error:
                raise self._lease_lost() from error

    def plan(self, params: Point, *, default: bool = False) -> None:
        """Queue a setup, the default one or another: the next `ask` takes it."""
        with speaking(self._url), quiet_optuna():
            self._ends.enqueue(params, {DEFAULT_SETUP: True} if default else {})

    def plan_first(self, params: Point) -> bool:
        """Queue the default setup, if the study has no trial yet; whether it had none."""
        with self._held():
            is_first = not self._trials()
            if is_first:
                self._ends.enqueue(params, {DEFAULT_SETUP: True})
        return is_first

    def beat(self, progress: Mapping[int, TrialResult]) -> None:
        """Say that this run lives, and keep what its trials have burnt until now.

        Args:
            progress: The records of trials that run, by number.

        Raises:
            LeaseLost: If it was taken for dead.
        """
        with speaking(self._url), self._storage.engine.begin() as connection:
            runs.beat(connection, self._run)
            for number, result in progress.items():
                if not self._rows.keep_progress(connection, number, result):
                    raise self._lease_lost()

    def tell(self, trial: Trial, outcome: Outcome, overrides: Sequence[str]) -> None:
        """Store how a trial ended, whole: our record first, Optuna's state last.

        It may be told again after an error, and finishes what was begun.

        Raises:
            LeaseLost: If the run was taken for dead; the trial's joules are kept, its end is not.
        """
        with speaking(self._url), quiet_optuna():
            if not self._rows.tell(trial.number, ended_row(overrides, outcome)):
                self._account(trial.number, outcome.result)
            failpoints.at("kept")
            self._ends.tell(trial, outcome)
            self._mine.discard(trial.number)
            failpoints.at("told")

    def keep_words(self, trial: Trial, overrides: Sequence[str]) -> None:
        """Keep the words of a trial that may pause: with others it could not go on."""
        with speaking(self._url):
            self._rows.keep_words(trial.number, overrides)

    def pause(self, trial: Trial, outcome: Outcome, overrides: Sequence[str]) -> None:
        """Leave a trial open in the study, for any run to go on with.

        It may be said again after an error, and finishes what was begun.

        Raises:
            LeaseLost: If the run was taken for dead; the trial's joules are kept.
        """
        with speaking(self._url), quiet_optuna():
            if not self._rows.pause(trial.number, paused_row(overrides, outcome)):
                self._account(trial.number, outcome.result)
            failpoints.at("paused")
            self._ends.tell(trial, outcome)
            self._mine.discard(trial.number)

    def resume(self, number: int) -> Waiting | None:
        """Take a paused trial for this run; None if another one was first."""
        with self._held():
            waiting = self._paused.take(number)
        if waiting is not None:
            self._asked = True
            self._mine.add(number)
        return waiting

    def conclude_paused(self, numbers: Iterable[int]) -> list[int]:
        """End paused trials, which will not go on, be it before the target or after it.

        Returns:
            Those that another run did not take before.
        """
        concluded = []
        for number in numbers:
            waiting = self.resume(number)
            if waiting is not None:
                self.tell(waiting.trial, not_promoted(waiting.outcome), waiting.overrides)
                concluded.append(number)
        return concluded

    def lose(
        self,
        trial: Trial,
        overrides: Sequence[str],
        end: End,
        reason: str,
        result: TrialResult | None,
        *,
        paused: Outcome | None = None,
    ) -> None:
        """Give up a trial of this run: its joules are kept, its setup is queued again.

        One that can go on from a pause is left open instead.

        Args:
            trial: The trial.
            overrides: Its words.
            end: "interrupted" by a person, or "lost" where what ran it died.
            reason: The same in words.
            result: What it burnt.
            paused: The pause that it can go on from.

        Raises:
            LeaseLost: If the run was taken for dead; its joules are kept then, too.
        """
        with self._held():
            left = TrialRemnant(tuple(overrides), None, result, paused)
            if not self._ends.give_up(trial, left, reason, died=end == "lost"):
                self._account(trial.number, result)

    def reap(self) -> int:
        """Settle what dead runs left: tell what they could not, keep joules, queue setups again.

        Returns:
            How many trials were settled. Doing it again, or at the same time, changes nothing.

        Raises:
            JournalError: If a newer energyopt wrote the journal of one, which is left as it is.
        """
        with self._held():
            self._paused.catch_up()
            return self._reap(all_of_them=True)

    def close(self) -> None:
        """Say that this run is over; trials that it still has are nobody's."""
        try:
            with speaking(self._url), self._storage.engine.begin() as connection:
                runs.end(connection, self._run, asked=self._asked)
        finally:
            self._storage.engine.dispose()

    # The study -------------------------------------------------------------------------------

    def counted(self) -> int:
        """Trials that count towards `n_trials`: all that ended, but for the lost."""
        with speaking(self._url):
            counts = self._counts()
            ended = counts.total() - counts["waiting"] - counts["running"]
            return ended - len(self._rows.lost())

    def paused(self) -> int:
        """Trials that are open, and wait to go on."""
        with speaking(self._url):
            return len(self._rows.paused())

    def can_begin(self, n_trials: int) -> bool:
        """Whether there may be more trials than began until now."""
        with speaking(self._url):
            return self._taken() < n_trials

    def observed(self) -> list[TrialSnapshot]:
        """All trials that began, as a search may look at them."""
        return self._paused.observed(self._trials())

    def spent_j(self, progress: Mapping[int, TrialResult] | None = None) -> float:
        """All energy that the study burnt until now, confirming its setups included, in J.

        Args:
            progress: The records of trials that run here, by number.
        """
        with speaking(self._url):
            return self._energy.total_j(progress or {})

    def took_s(self) -> float:
        """The time in which runs were at work on the study, in s."""
        with speaking(self._url), self._storage.engine.connect() as connection:
            return runs.took_s(connection, self._run)

    def seen(self) -> list[Point]:
        """Parameters of all trials that were not lost, the planned ones included."""
        with speaking(self._url):
            lost = self._rows.lost()
            return [
                trial.params or dict(trial.system_attrs.get("fixed_params", {}))
                for trial in self._trials()
                if trial.number not in lost
            ]

    def others(self) -> list[Run]:
        """Other runs of this study that live."""
        with speaking(self._url):
            return [
                run for run in self._runs() if run.ordinal != self._run.ordinal and not run.is_dead
            ]

    def bind(self, provenance: Provenance) -> None:
        """Bind the study to one provenance and device model.

        Raises:
            StudyError: If it is bound to another.
        """
        known = self._bound()
        if known is None:
            with self._held():
                known = self._bound()
                if known is None:
                    self._study.set_user_attr(_BINDING, list(provenance.binding))
                    return
        if tuple(known) != provenance.binding:
            raise StudyError(
                f"study {self.name} holds joules {' / '.join(known)}, this machine gives "
                f"{' / '.join(provenance.binding)}; joules of two kinds do not mix: give the new "
                "measurements their own study=name"
            )

    def keep_plans(self, plans: ReportSettings) -> None:
        """Keep what this run was told of the time after the search; the last run's word counts."""
        with speaking(self._url):
            if self._study.user_attrs.get(PLANS, NONE.to_dict()) != plans.to_dict():
                self._study.set_user_attr(PLANS, plans.to_dict())

    def read(self) -> StudyRecord:
        """The whole study as a record."""
        with speaking(self._url), quiet_optuna():
            return record_of(self._study, self._storage, self._run.study_id)

    # Statements ------------------------------------------------------------------------------

    @contextmanager
    def _held(self) -> Iterator[Connection | None]:
        """Be the only run that decides; where a file is the database, this is the only one."""
        with (
            speaking(self._url),
            quiet_optuna(),
            lock_in_transaction(self._storage.engine, self._run.study_id) as lock,
        ):
            yield lock

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        with speaking(self._url):
            return self._study.get_trials(deepcopy=False, states=states or None)

    def _runs(self) -> list[Run]:
        with self._storage.engine.connect() as connection:
            return runs.runs_of(connection, self._run.study_id)

    def _account(self, number: int, result: TrialResult | None) -> NoReturn:
        """Keep the joules of a trial that somebody else has given up for this run, and say so."""
        if result is not None:
            self._rows.account(number, result)
        raise self._lease_lost()

    def _lease_lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"this run of study {self.name} was silent for more than {self._run.grace_s:g} s and "
            "taken for dead by another, which runs its trials again; their joules until now are "
            "kept, the same command goes on"
        )

    def _reap(self, *, all_of_them: bool) -> int:
        with self._storage.engine.connect() as connection:
            running = running_trials(connection, self._run.study_id)
        if running <= self._mine:  # the usual case, with no look at any trial
            return self._ends.settle([], set())
        paused = self._rows.paused()
        if running - paused <= self._mine:
            return self._ends.settle([], set())
        runs = self._runs()
        living = {run.ordinal for run in runs if not run.is_dead}
        silent = {run.ordinal for run in runs if run.is_dead and run.process.lives() is None}
        left = [t for t in self._trials(TrialState.RUNNING) if t.number not in paused]
        return self._ends.settle(left, living, silent, all_of_them=all_of_them)

    def _taken(self) -> int:
        """Trials that ended or run, but for the lost."""
        counts = self._counts()
        return counts.total() - counts["waiting"] - len(self._rows.lost())

    def _counts(self) -> Counter[State]:
        with self._storage.engine.connect() as connection:
            return Counter(count_trials(connection, self._run.study_id))

    def _bound(self) -> Any:
        with speaking(self._url):
            return self._study.user_attrs.get(_BINDING)
