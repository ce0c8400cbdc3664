"""The energy that a study has used so far, without reading each trial again."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from energyopt.core.trial_result import TrialResult
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.trial_rows import TrialRows


class SearchEnergy:
    """The sum over a study's trials and confirmations, updated from its tables."""

    def __init__(self, engine: Engine, rows: TrialRows, study_id: int) -> None:
        self._engine = engine
        self._rows = rows
        self._study_id = study_id
        self._trials_j: dict[int, float] = {}
        self._may_grow: set[int] = set()  # trials whose stored energy may change

    def total_j(self, progress: Mapping[int, TrialResult]) -> float:
        """Return the sum in J, with the records of trials that run here, newer than the tables."""
        begin = max(self._trials_j, default=-1) + 1
        for number, is_final, energy_j in self._rows.energies_j(begin, self._may_grow):
            self._trials_j[number] = energy_j
            (self._may_grow.discard if is_final else self._may_grow.add)(number)
        with self._engine.connect() as connection:
            confirmations = confirmations_of(connection, self._study_id)
        running_j = {number: result.spent_j for number, result in progress.items()}
        confirmations_j = sum(c.result.spent_j for c in confirmations if c.result is not None)
        return sum((self._trials_j | running_j).values()) + confirmations_j
