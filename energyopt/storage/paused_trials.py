"""Paused trials: open in a study, owned by no run, ready to be resumed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from energyopt.core.study_record import Outcome
from energyopt.search.schedule import PAUSED, TrialSnapshot, observed_of
from energyopt.storage.reconciliation import Reconciler
from energyopt.storage.trial_rows import TrialRows, outcome_in
from energyopt.utils import failpoints


@dataclass(frozen=True, slots=True)
class Waiting:
    """A paused trial that a run has claimed, with its outcome at the pause."""

    trial: Trial
    overrides: tuple[str, ...]
    outcome: Outcome


class PausedTrials:
    """The paused trials of a study, as one run sees them."""

    def __init__(self, study: Study, rows: TrialRows, reconciler: Reconciler) -> None:
        self._study = study
        self._rows = rows
        self._reconciler = reconciler

    def take(self, number: int) -> Waiting | None:
        """Claim a paused trial for this run; None if another run was first, or it has ended."""
        row = self._rows.get(number)
        outcome = None if row is None else outcome_in(row)
        if row is None or outcome is None or not row.paused:
            return None
        trial = self._trial(number)
        if not self._rows.claim(number):
            return None
        failpoints.hit("resumed")
        # Only for readers: if the storage fails now, this run owns the trial all the same.
        with contextlib.suppress(SQLAlchemyError, StorageInternalError):
            trial.set_user_attr(PAUSED, False)
        return Waiting(trial, tuple(json.loads(row.overrides)), outcome)

    def catch_up(self) -> None:
        """Finish in Optuna's tables what a run that died while pausing began."""
        paused = self._rows.paused()
        for trial in self._trials(TrialState.RUNNING) if paused else ():
            if trial.number in paused and not trial.user_attrs.get(PAUSED):
                self._reconciler.sync_optuna(self._trial(trial.number))

    def observed(self, trials: Iterable[FrozenTrial]) -> list[TrialSnapshot]:
        """Return what a search may use of trials; whether one is paused, its row says."""
        paused = self._rows.paused()
        snapshots = [observed_of(trial) for trial in trials if trial.state != TrialState.WAITING]
        return [
            snapshot
            if snapshot.state == "ended"
            else replace(snapshot, state="paused" if snapshot.number in paused else "running")
            for snapshot in snapshots
        ]

    def _trial(self, number: int) -> Trial:
        (trial,) = (t for t in self._trials(TrialState.RUNNING) if t.number == number)
        return self._reconciler.open_trial(trial)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)
