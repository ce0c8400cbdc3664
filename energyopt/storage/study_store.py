"""A study in its storage, as the runs that share it use it.

One statement on a trial's row in energyopt's table decides which run owns the trial and how it
ended. Optuna's tables are updated from there, and the next run finishes what a crashed one began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn, Self

from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection

from energyopt.core.default_setup import DEFAULT, DefaultSetup
from energyopt.core.outcome import outcome_of_stopped
from energyopt.core.report_settings import NONE, ReportSettings
from energyopt.core.study_record import Outcome, StudyRecord
from energyopt.core.trial_result import End, Provenance, TrialResult
from energyopt.errors import LeaseLostError, StudyError
from energyopt.hardware.command_meter import CommandMeters
from energyopt.search.guarded_sampler import GuardedSampler
from energyopt.search.quiet import quiet_optuna
from energyopt.search.schedule import DEFAULT_SETUP, TrialSnapshot
from energyopt.storage import run_leases as runs
from energyopt.storage.command_account import CommandAccount, booked_by_number
from energyopt.storage.commands import Commands, commands_of
from energyopt.storage.database import lock_in_transaction, storage_errors
from energyopt.storage.identity import BASELINE, PLANS, Identity
from energyopt.storage.optuna_tables import State, count_trials, running_trials
from energyopt.storage.paused_trials import PausedTrials, Waiting
from energyopt.storage.reader import record_of
from energyopt.storage.reconciliation import Point, Reconciler, TrialRemnant
from energyopt.storage.run_leases import Run
from energyopt.storage.search_energy import SearchEnergy
from energyopt.storage.study_opening import GRACE_S, OpenStudy, open_study
from energyopt.storage.trial_reports import TrialReports
from energyopt.storage.trial_rows import TrialRows, ended_row, paused_row
from energyopt.utils import failpoints
from energyopt.utils.process import Process

_BINDING = "energyopt_provenance"


class StudyStore:
    """One study, as one of the runs that share it sees it.

    Args:
        opened: The study, and the run that opened it.
        remains: Returns what a crashed run left of a trial outside of the database.

    Attributes:
        note: A sentence about an upgrade of the tables; None if there was none.
        reports: What its running trials report, for a pruner.
    """

    def __init__(self, opened: OpenStudy, remains: Callable[[FrozenTrial], TrialRemnant]) -> None:
        self._study = opened.study
        self._sampler = opened.sampler
        self._storage, self._url = opened.storage, opened.url
        self._run = opened.run
        self.note = opened.note
        self.reports = TrialReports(opened.study, opened.url)
        engine, study_id = self._storage.engine, self._run.study_id
        self._rows = TrialRows(engine, study_id, self._run.ordinal)
        self._reconciler = Reconciler(self._study, self._rows, remains)
        self._paused = PausedTrials(self._study, self._rows, self._reconciler)
        self._energy = SearchEnergy(engine, self._rows, study_id)
        self._has_trials = False
        self._open: set[int] = set()  # numbers of this run's trials that did not end

    @classmethod
    def open(
        cls,
        location: str,
        name: str,
        identity: Identity,
        make_sampler: Callable[[int], BaseSampler],
        *,
        remains: Callable[[FrozenTrial], TrialRemnant] = lambda _: TrialRemnant(),
        process: Process | None = None,
        grace_s: float = GRACE_S,
        sole: bool = False,
    ) -> Self:
        """Open a study as `open_study` does; `remains` returns what a crashed run left behind."""
        with open_study(
            location, name, identity, make_sampler, process=process, grace_s=grace_s, sole=sole
        ) as opened:
            return cls(opened, remains)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def sampler(self) -> GuardedSampler:
        """The sampler, which suggests parameters."""
        return self._sampler

    @property
    def is_shared(self) -> bool:
        """True if other runs may add to it at the same time."""
        return self._storage.engine.dialect.name == "postgresql"

    # Trials ----------------------------------------------------------------------------------

    def ask(
        self,
        n_trials: int | None = None,
        next_point: Callable[[Sequence[Point]], Point | None] | None = None,
    ) -> Trial | None:
        """Return a new trial or the next queued one; None if the study has all its trials.

        Trials of crashed runs are ended first. Runs do this one at a time: the total is exact.

        Args:
            n_trials: The study's total; None for any.
            next_point: Returns the next parameters, given those that exist; None asks the sampler.
        """
        with self._locked() as connection:
            self._reap(is_strict=False)  # this run's other trials continue
            if n_trials is not None and not self.can_begin(n_trials):
                return None
            if next_point is not None and not self._trials(TrialState.WAITING):
                point = next_point(self.seen())
                if point is None:
                    return None
                self._study.enqueue_trial(dict(point))
            trial = self._study.ask()
            failpoints.hit("asked")
            # In the transaction of the lock: it commits only if the lock was held.
            self._reconciler.insert(trial, connection=connection)
            self._has_trials = True
        self._open.add(trial.number)
        failpoints.hit("claimed")
        return trial

    @contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Turn errors of suggestions, which write to the database, into `StorageError`."""
        with storage_errors(self._url), quiet_optuna():
            try:
                yield
            except UpdateFinishedTrialError as error:
                raise self._lease_lost() from error

    def plan(self, params: Point, *, default: bool = False) -> None:
        """Queue parameters, the default ones or others: the next `ask` takes them."""
        with storage_errors(self._url), quiet_optuna():
            self._reconciler.enqueue(params, {DEFAULT_SETUP: True} if default else {})

    def plan_first(self, params: Point, default: DefaultSetup = DEFAULT) -> bool:
        """Queue the default parameters, or the nearest ones, if the study has no trial yet."""
        with self._locked():
            is_first = not self._trials()
            if is_first:
                if default.is_nearest:
                    self._study.set_user_attr(BASELINE, default.to_dict())
                self._reconciler.enqueue(params, {DEFAULT_SETUP: True})
        return is_first

    def beat(self, progress: Mapping[int, TrialResult]) -> None:
        """Store a heartbeat, and the energy that this run's trials have used so far, by number.

        Raises:
            LeaseLostError: If another run took this one for dead.
        """
        with storage_errors(self._url), self._storage.engine.begin() as connection:
            runs.beat(connection, self._run)
            for number, result in progress.items():
                if not self._rows.keep_progress(connection, number, result):
                    raise self._lease_lost()

    def tell(self, trial: Trial, outcome: Outcome, overrides: Sequence[str]) -> None:
        """Store how a trial ended: its row first, Optuna's state last.

        Repeat it after an error to finish what was begun.

        Raises:
            LeaseLostError: If another run took this one for dead; the trial's energy is kept, its
                outcome is not.
        """
        with storage_errors(self._url), quiet_optuna():
            if not self._rows.finish(trial.number, ended_row(overrides, outcome)):
                self._keep_energy(trial.number, outcome.result)
            failpoints.hit("kept")
            self._reconciler.report(trial, outcome)
            self._open.discard(trial.number)
            failpoints.hit("told")

    def keep_overrides(self, trial: Trial, overrides: Sequence[str]) -> None:
        """Store the overrides of a trial that may pause: it is resumed with the same ones."""
        with storage_errors(self._url):
            self._rows.keep_overrides(trial.number, overrides)

    def pause(self, trial: Trial, outcome: Outcome, overrides: Sequence[str]) -> None:
        """Leave a trial open in the study, for any run to resume.

        Repeat it after an error to finish what was begun.

        Raises:
            LeaseLostError: If another run took this one for dead; the trial's energy is kept.
        """
        with storage_errors(self._url), quiet_optuna():
            if not self._rows.pause(trial.number, paused_row(overrides, outcome)):
                self._keep_energy(trial.number, outcome.result)
            failpoints.hit("paused")
            self._reconciler.report(trial, outcome)
            self._open.discard(trial.number)

    def resume(self, number: int) -> Waiting | None:
        """Claim a paused trial for this run; None if another run was first."""
        with self._locked():
            waiting = self._paused.take(number)
        if waiting is not None:
            self._has_trials = True
            self._open.add(number)
        return waiting

    def conclude_paused(self, numbers: Iterable[int]) -> list[int]:
        """End paused trials that will not be resumed, before or after their target.

        Returns:
            The numbers of those that no other run claimed first.
        """
        concluded = []
        for number in numbers:
            waiting = self.resume(number)
            if waiting is not None:
                self.tell(waiting.trial, outcome_of_stopped(waiting.outcome), waiting.overrides)
                concluded.append(number)
        return concluded

    def account(
        self, meters: CommandMeters, *, are_jobs_here: bool = True, sole: bool = False
    ) -> CommandAccount:
        """Return the account of this run's command, and close those of dead commands.

        Args:
            meters: Counts the energy of the command.
            are_jobs_here: Whether its trials run in processes of this command.
            sole: See `open`.
        """
        with storage_errors(self._url):
            commands = Commands(self._storage.engine, self._run.study_id, "search")
            energy = self._energy
            commands.settle(energy.trials(), energy.confirmations(), sole=sole)
        return CommandAccount(meters, commands, are_jobs_here=are_jobs_here)

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
        """Abandon a trial of this run: keep its energy and queue its parameters again.

        A trial that can be resumed from a pause is left open instead.

        Args:
            trial: The trial.
            overrides: Its overrides.
            end: "interrupted" by the user, or "lost" if the process that ran it died.
            reason: The reason, in words.
            result: The record of its energy.
            paused: The outcome at the pause that it can be resumed from.

        Raises:
            LeaseLostError: If another run took this one for dead; the energy is kept.
        """
        with self._locked():
            remnant = TrialRemnant(tuple(overrides), None, result, paused)
            if not self._reconciler.abandon(trial, remnant, reason, died=end == "lost"):
                self._keep_energy(trial.number, result)

    def reap(self) -> int:
        """End the trials of crashed runs: store their outcomes and energy, queue lost ones again.

        Returns:
            The number of trials that were ended; repeated, also at the same time, it is 0.

        Raises:
            JournalError: If a newer energyopt wrote the journal of one, which is left unchanged.
        """
        with self._locked():
            self._paused.catch_up()
            return self._reap(is_strict=True)

    def close(self) -> None:
        """End this run; trials that it still has are left without an owner."""
        try:
            with storage_errors(self._url), self._storage.engine.begin() as connection:
                runs.end(connection, self._run, has_trials=self._has_trials)
        finally:
            self._storage.engine.dispose()

    # The study -------------------------------------------------------------------------------

    def n_finished(self) -> int:
        """Return the number of trials that count towards `n_trials`: those that ended, not lost."""
        with storage_errors(self._url):
            counts = self._counts()
            ended = counts.total() - counts["waiting"] - counts["running"]
            return ended - len(self._rows.lost())

    def paused(self) -> int:
        """Return the number of paused trials."""
        with storage_errors(self._url):
            return len(self._rows.paused())

    def can_begin(self, n_trials: int) -> bool:
        """Return True if fewer trials were started, lost ones aside, than the study may have."""
        with storage_errors(self._url):
            counts = self._counts()
            return counts.total() - counts["waiting"] - len(self._rows.lost()) < n_trials

    def observed(self) -> list[TrialSnapshot]:
        """Return what a search may use of the trials that were started."""
        with storage_errors(self._url):
            return self._paused.observed(self._trials())

    def spent_j(self, progress: Mapping[int, TrialResult] | None = None) -> float:
        """Return the energy that the study has used so far, including confirmations, in J."""
        with storage_errors(self._url):
            return self._energy.total_j(progress or {})

    def wall_time_s(self) -> float:
        """Return the time in which at least one run worked on the study, in s."""
        with storage_errors(self._url), self._storage.engine.connect() as connection:
            return runs.wall_time_s(connection, self._run)

    def seen(self) -> list[Point]:
        """Return the parameters of all trials that were not lost, including queued ones."""
        with storage_errors(self._url):
            lost_numbers = self._rows.lost()
            return [
                trial.params or dict(trial.system_attrs.get("fixed_params", {}))
                for trial in self._trials()
                if trial.number not in lost_numbers
            ]

    def others(self) -> list[Run]:
        """Return the other living runs of this study."""
        with storage_errors(self._url):
            living = [run for run in self._runs() if not run.is_dead]
        return [run for run in living if run.ordinal != self._run.ordinal]

    def bind(self, provenance: Provenance) -> None:
        """Bind the study to one provenance and device model.

        Raises:
            StudyError: If it is bound to another.
        """
        stored = self._binding()
        if stored is None:
            with self._locked():
                stored = self._binding()
                if stored is None:
                    self._study.set_user_attr(_BINDING, list(provenance.binding))
                    return
        if tuple(stored) != provenance.binding:
            raise StudyError(
                f"study {self.name} holds joules {' / '.join(stored)}, this machine gives "
                f"{' / '.join(provenance.binding)}; joules of two kinds do not mix: give the new "
                "measurements their own study=name"
            )

    def keep_plans(self, plans: ReportSettings) -> None:
        """Store this run's report settings, which replace those of earlier runs."""
        with storage_errors(self._url):
            if self._study.user_attrs.get(PLANS, NONE.to_dict()) != plans.to_dict():
                self._study.set_user_attr(PLANS, plans.to_dict())

    def read(self) -> StudyRecord:
        """Return the study as a record."""
        with storage_errors(self._url), quiet_optuna():
            return record_of(self._study, self._storage, self._run.study_id)

    def recounted(self, study: StudyRecord) -> StudyRecord:
        """Return a record of the study with the energy of its commands until now."""
        booked = booked_by_number(study.trials), booked_by_number(study.confirmations)
        with storage_errors(self._url), self._storage.engine.connect() as connection:
            commands = commands_of(connection, self._run.study_id, *booked)
        return replace(study, commands=commands)

    # Statements ------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[Connection | None]:
        """Exclude decisions of other runs; an SQLite file has only one run at a time."""
        with (
            storage_errors(self._url),
            quiet_optuna(),
            lock_in_transaction(self._storage.engine, self._run.study_id) as connection,
        ):
            yield connection

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        with storage_errors(self._url):
            return self._study.get_trials(deepcopy=False, states=states or None)

    def _runs(self) -> list[Run]:
        with self._storage.engine.connect() as connection:
            return runs.runs_of(connection, self._run.study_id)

    def _keep_energy(self, number: int, result: TrialResult | None) -> NoReturn:
        """Store the energy of a trial that another run abandoned, and raise LeaseLostError."""
        if result is not None:
            self._rows.keep_energy(number, result)
        raise self._lease_lost()

    def _lease_lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"this run of study {self.name} was silent for more than {self._run.grace_s:g} s and "
            "taken for dead by another, which runs its trials again; their energy until now is "
            "kept, and the same command resumes the study"
        )

    def _reap(self, *, is_strict: bool) -> int:
        with self._storage.engine.connect() as connection:
            running = running_trials(connection, self._run.study_id)
        # Usually all are this run's own: then no trial needs to be read.
        paused = set() if running <= self._open else self._rows.paused()
        if running - paused <= self._open:
            return self._reconciler.reconcile([], set())
        runs = self._runs()
        living = {run.ordinal for run in runs if not run.is_dead}
        silent = {run.ordinal for run in runs if run.is_dead and run.process.lives() is None}
        open_trials = [t for t in self._trials(TrialState.RUNNING) if t.number not in paused]
        return self._reconciler.reconcile(open_trials, living, silent, is_strict=is_strict)

    def _counts(self) -> Counter[State]:
        with self._storage.engine.connect() as connection:
            return Counter(count_trials(connection, self._run.study_id))

    def _binding(self) -> Any:
        with storage_errors(self._url):
            return self._study.user_attrs.get(_BINDING)
