"""A study whose trials are asked and told by a loop of the user's, such as `Study.optimize`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna
from optuna.storages import RDBStorage
from optuna.trial import Trial

from energyopt.core.study_record import Outcome
from energyopt.search.quiet import quiet_optuna
from energyopt.storage.database import storage_errors
from energyopt.storage.study_store import StudyStore
from energyopt.storage.trial_rows import ended_row


class UserLoopStore(StudyStore):
    """Keeps the records of trials; the loop tells Optuna their values."""

    @property
    def storage(self) -> RDBStorage:
        """Optuna's storage of the study."""
        return self._storage

    def claim(self, trial: Trial) -> None:
        """Insert the row of a trial that the loop has asked for."""
        with self._statements():
            self.beat({})
            self._reconciler.insert(trial)
        self._has_trials = True
        self._open.add(trial.number)

    def record(self, trial: Trial, outcome: Outcome, overrides: tuple[str, ...]) -> None:
        """Store how a trial ended, but for its state, which the loop tells.

        Raises:
            LeaseLostError: If another run took this one for dead; the energy is kept.
            StudyError: If its energy comes from another meter than the study's.
        """
        with self._statements():
            if outcome.result is not None and outcome.result.valid:
                self.bind(outcome.result.start.provenance)
            if not self._rows.finish(trial.number, ended_row(overrides, outcome)):
                self._keep_energy(trial.number, outcome.result)
            self._reconciler.describe(trial, outcome)
        self._open.discard(trial.number)

    @contextlib.contextmanager
    def _statements(self) -> Iterator[None]:
        """Be silent about choices that are ours; the loop is the user's, and logs as before."""
        with spoken_optuna(), storage_errors(self._url), quiet_optuna():
            yield


@contextlib.contextmanager
def spoken_optuna() -> Iterator[None]:
    """Leave the verbosity of Optuna as it was."""
    verbosity = optuna.logging.get_verbosity()
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
