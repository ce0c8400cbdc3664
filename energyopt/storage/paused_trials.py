"""Trials that are open in a study and nobody's: they wait to go on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
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
    """A paused trial that a run has taken.

    Attributes:
        trial: Optuna's.
        overrides: Its words.
        outcome: How far it came.
    """

    trial: Trial
    overrides: tuple[str, ...]
    outcome: Outcome


class PausedTrials:
    """The paused trials of a study, as one run sees them.

    Args:
        study: Optuna's.
        rows: Ours, as this run changes them.
        ends: Brings Optuna's side to where a row is.
    """

    def __init__(self, study: Study, rows: TrialRows, ends: Reconciler) -> None:
        self._study = study
        self._rows = rows
        self._ends = ends
        # A trial's object makes its study's sampler suggest: this one has suggested already.
        self._books = Study(study.study_name, study._storage, RandomSampler())  # noqa: SLF001

    def take(self, number: int) -> Waiting | None:
        """Take one for this run; None if another run was first, or it has ended."""
        row = self._rows.of(number)
        outcome = None if row is None else outcome_in(row)
        if row is None or outcome is None or not row.paused:
            return None
        trial = self._trial(number)
        if not self._rows.claim(number):
            return None
        failpoints.at("resumed")
        # Only for those who look: if the storage is gone now, the trial is this run's all the same.
        with contextlib.suppress(SQLAlchemyError, StorageInternalError):
            trial.set_user_attr(PAUSED, False)
        return Waiting(trial, tuple(json.loads(row.overrides)), outcome)

    def catch_up(self) -> None:
        """Bring Optuna's side of those that a run left half told to where their rows are."""
        paused = self._rows.paused()
        for trial in self._trials(TrialState.RUNNING) if paused else ():
            if trial.number in paused and not trial.user_attrs.get(PAUSED):
                self._ends.follow(self._trial(trial.number))

    def observed(self, trials: Iterable[FrozenTrial]) -> list[TrialSnapshot]:
        """What a search may look at; whose a trial is, our rows say."""
        paused = self._rows.paused()
        seen = [observed_of(trial) for trial in trials if trial.state != TrialState.WAITING]
        return [
            each
            if each.state == "ended"
            else replace(each, state="paused" if each.number in paused else "running")
            for each in seen
        ]

    def _trial(self, number: int) -> Trial:
        (found,) = (t for t in self._trials(TrialState.RUNNING) if t.number == number)
        return Trial(self._books, found._trial_id)  # noqa: SLF001  # no other way

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)
