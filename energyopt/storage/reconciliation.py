"""Update Optuna's tables from the rows of trials, and end the trials of crashed runs.

A row in energyopt's table says how a trial ended; Optuna's tables are updated from it, by the
trial's own run or by the next one. Repeating that, also at the same time, changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial
from sqlalchemy import Connection, Row

from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import JournalError
from energyopt.search.schedule import DEFAULT_SETUP, PAUSED
from energyopt.storage.optuna_tables import OPTUNA_STATES
from energyopt.storage.tables import result_from_json
from energyopt.storage.trial_reports import complete_reports
from energyopt.storage.trial_rows import TrialRows, ended_row, lost_row, outcome_in, paused_row
from energyopt.utils import failpoints

RETRY_OF = "retry_of"
"""Attribute of a trial that repeats a lost one: the lost trial's number."""

_DEATHS = "deaths"
_MAX_DEATHS = 2  # parameters whose run died so often may be the cause
_DIED = "its run died"

Point = Mapping[str, Any]
"""Hyperparameters: the values of searched keys."""


@dataclass(frozen=True, slots=True)
class TrialRemnant:
    """A trial that does not run any more, as its files and its run leave it."""

    overrides: tuple[str, ...] = ()
    outcome: Outcome | None = None  # if it ended and that could not be stored
    result: TrialResult | None = None  # the record in its journal
    paused: Outcome | None = None  # at a pause that it can be resumed from


class Reconciler:
    """Ends a study's trials; one run at a time does so for crashed runs.

    Args:
        study: Optuna's study.
        rows: The rows of its trials.
        remains: Returns what a crashed run left of a trial outside of the database.
    """

    def __init__(
        self, study: Study, rows: TrialRows, remains: Callable[[FrozenTrial], TrialRemnant]
    ) -> None:
        self._study = study
        self._rows = rows
        self._remains = remains
        # For trials of other runs: creating a Trial makes its study's sampler suggest.
        self._study_without_sampler = Study(study.study_name, study._storage, RandomSampler())  # noqa: SLF001

    def insert(
        self,
        trial: Trial | FrozenTrial,
        *,
        connection: Connection | None = None,
        ended: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert the row of a trial that this run owns. See `TrialRows.add`."""
        self._rows.add(
            trial.number,
            is_default=bool(trial.user_attrs.get(DEFAULT_SETUP)),
            deaths=_deaths(trial),
            connection=connection,
            ended=ended,
        )

    def abandon(self, trial: Trial, remnant: TrialRemnant, reason: str, *, died: bool) -> bool:
        """Abandon a trial of this run; return False if another run has done so.

        Args:
            trial: The trial.
            remnant: The rest of it.
            reason: The reason, in words.
            died: The process that ran it died.
        """
        row = self._row(trial.number)
        deaths = max(_deaths(trial), row.deaths) + died
        ended = _abandoned_row(_with_all_energy(remnant, row), reason, deaths)
        if not self._rows.abandon(trial.number, ended):
            return False
        failpoints.hit("lost")
        self.sync_optuna(trial)
        failpoints.hit("failed")
        self.retry_lost()
        return True

    def reconcile(
        self,
        open_trials: Sequence[FrozenTrial],
        living: Set[int],
        silent: Set[int] = frozenset(),
        *,
        is_strict: bool = True,
    ) -> int:
        """End the trials that no run owns any more, and queue the lost ones again.

        Args:
            open_trials: The study's running trials.
            living: Ordinals of the living runs.
            silent: Ordinals of the runs that count as dead only because they are silent: their
                jobs may still train, so their trials may not be resumed elsewhere.
            is_strict: Raise an error for a journal that a newer energyopt wrote; else leave that
                trial for a run of the newer one.

        Returns:
            The number of trials that were ended.

        Raises:
            JournalError: If a newer energyopt wrote the journal of one.
        """
        n_ended = 0
        for trial in open_trials:
            row = self._rows.get(trial.number)
            if row is None or (row.run not in living and not row.paused):
                try:
                    self._end(trial, row, silent)
                except JournalError:
                    if is_strict:
                        raise
                else:
                    n_ended += 1
        self.retry_lost()
        return n_ended

    def _end(self, trial: FrozenTrial, row: Row[Any] | None, silent: Set[int]) -> None:
        """End a trial that no run owns, from where its run left it."""
        if row is None or not row.ended:
            remnant = self._remains(trial)
            overrides = () if row is None else tuple(json.loads(row.overrides))
            if row is None or row.run in silent or not overrides:
                remnant = replace(remnant, paused=None)
            if remnant.paused is not None:
                remnant = replace(remnant, overrides=overrides)
            if remnant.result is not None:
                remnant = replace(remnant, result=replace(remnant.result, end="lost", reason=_DIED))
            # Without a row, nothing of it ran.
            deaths = _deaths(trial) if row is None else max(_deaths(trial), row.deaths) + 1
            ended = _abandoned_row(_with_all_energy(remnant, row), _DIED, deaths)
            if ended["result"] is None:
                del ended["result"]  # keep what was stored while it ran
            if row is None:
                self.insert(trial, ended=ended)
            else:
                self._rows.conclude(trial.number, row.run, ended)
            failpoints.hit("lost")
        self.sync_optuna(self.open_trial(trial))
        failpoints.hit("failed")

    def _row(self, number: int) -> Row[Any]:
        row = self._rows.get(number)
        assert row is not None  # noqa: S101  # rows are never deleted
        return row

    def open_trial(self, trial: FrozenTrial) -> Trial:
        """Return a running trial, in a form that can be changed."""
        return Trial(self._study_without_sampler, trial._trial_id)  # noqa: SLF001  # no other way

    def sync_optuna(self, trial: Trial) -> None:
        """Update Optuna's tables from the row of a trial."""
        self.report(trial, outcome_in(self._row(trial.number)) or Outcome("failed"))

    def retry_lost(self) -> None:
        """Queue the parameters of each lost_trials trial again, once."""
        lost_trials = self._rows.to_retry()
        if not lost_trials:
            return
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for number, deaths in lost_trials:
            if number not in retried:
                trial = next(trial for trial in trials if trial.number == number)
                params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                marks = {DEFAULT_SETUP: True} if trial.user_attrs.get(DEFAULT_SETUP) else {}
                if params:  # else it had none yet
                    self.enqueue(params, {**marks, RETRY_OF: number, _DEATHS: deaths})
                failpoints.hit("retried")
            self._rows.mark_retried(number)

    def enqueue(self, params: Point, marks: Mapping[str, Any]) -> None:
        """Queue parameters for the next trial."""
        self._study.enqueue_trial(dict(params), user_attrs=dict(marks) or None)

    def report(self, trial: Trial, outcome: Outcome) -> None:
        """Report to Optuna that a trial ended or paused, as far as that is not done yet."""
        values = list(outcome.values) if outcome.state == "complete" else None
        # Another run may end it at the same time; with the same outcome, since the row holds it.
        with contextlib.suppress(UpdateFinishedTrialError):
            self.describe(trial, outcome)
            if outcome.state == "paused":
                return
            complete_reports(trial, outcome.reports)
            state = OPTUNA_STATES[outcome.state]
            self._study.tell(trial.number, values, state=state, skip_if_finished=True)

    def describe(self, trial: Trial, outcome: Outcome) -> None:
        """Set the attributes and constraints of a trial that ended or paused.

        Raises:
            UpdateFinishedTrialError: If it has ended in Optuna's tables already.
        """
        attributes = dict(outcome.attributes)
        is_paused = outcome.state == "paused"
        if is_paused or trial.user_attrs.get(PAUSED):
            attributes[PAUSED] = is_paused
        if outcome.state != "complete" and outcome.reason:
            attributes["reason"] = outcome.reason
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        if is_paused:
            return
        existing = trial.constraints
        for key, violation in outcome.constraints.items():
            if key not in existing:
                trial.set_constraint(key, violation)


def _with_all_energy(remnant: TrialRemnant, row: Row[Any] | None) -> TrialRemnant:
    """Return the remnant with the energy that was stored, if its journal says less.

    A journal does so where lines of it were changed on the disk, or where it is gone.
    """
    stored = None if row is None or remnant.outcome is not None else result_from_json(row.result)
    read = remnant.result
    if stored is None or (read is not None and read.spent_j >= stored.spent_j):
        return remnant
    if read is None:
        return replace(remnant, result=replace(stored, end="lost"))
    return replace(remnant, result=replace(stored, end=read.end, reason=read.reason))


def _abandoned_row(remnant: TrialRemnant, reason: str, deaths: int) -> dict[str, Any]:
    """Return the columns of a trial that no run owns any more.

    An outcome that could not be stored is stored; a trial that can be resumed is paused; others are
    lost and their parameters are queued again. A trial whose runs died repeatedly has failed: its
    parameters may be the cause.
    """
    outcome = remnant.outcome
    if outcome is None and deaths >= _MAX_DEATHS:
        outcome = Outcome("failed", reason=f"{reason}, {deaths} times with this setup")
    if outcome is None and remnant.paused is not None:
        return paused_row(remnant.overrides, remnant.paused, deaths)
    if outcome is None:
        return lost_row(remnant.overrides, reason, remnant.result, deaths)
    if outcome.state == "paused":
        return paused_row(remnant.overrides, outcome)
    return ended_row(remnant.overrides, replace(outcome, result=outcome.result or remnant.result))


def _deaths(trial: Trial | FrozenTrial) -> int:
    return int(trial.user_attrs.get(_DEATHS, 0))
