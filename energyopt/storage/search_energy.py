"""The energy that a study has used so far, without reading each trial again."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from energyopt.core.energy import Energy, total
from energyopt.core.trial_result import TrialResult
from energyopt.storage.command_account import booked, booked_by_number
from energyopt.storage.commands import commands_of
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.trial_rows import TrialRows


class SearchEnergy:
    """The sum over a study's trials, confirmations and commands, updated from its tables."""

    def __init__(self, engine: Engine, rows: TrialRows, study_id: int) -> None:
        self._engine = engine
        self._rows = rows
        self._study_id = study_id
        self._trials: dict[int, Energy] = {}
        self._may_grow: set[int] = set()  # trials whose stored energy may change

    def total_j(self, progress: Mapping[int, TrialResult]) -> float:
        """Return the sum in J, with the records of trials that run here, newer than the tables."""
        trials = self.trials() | {number: booked(result) for number, result in progress.items()}
        confirmations = self.confirmations()
        with self._engine.connect() as connection:
            commands = commands_of(connection, self._study_id, trials, confirmations)
        parts = [command.other for command in commands if command.other is not None]
        return total((*trials.values(), *confirmations.values(), *parts)).total_j

    def trials(self) -> dict[int, Energy]:
        """Return what each trial has booked, by number, as stored."""
        begin = max(self._trials, default=-1) + 1
        for number, is_final, energy in self._rows.energies(begin, self._may_grow):
            self._trials[number] = energy
            (self._may_grow.discard if is_final else self._may_grow.add)(number)
        return self._trials

    def confirmations(self) -> dict[int, Energy]:
        """Return what each confirmation has booked, by number."""
        with self._engine.connect() as connection:
            return booked_by_number(confirmations_of(connection, self._study_id))
